"""The Scanner contract, and clamd's protocol as clamd(8) has it, spoken by a daemon of ours."""

import asyncio

import pytest

from shared.adapters.clamav.scanner import ClamavScanner
from shared.adapters.local.scanner import NoScanner
from shared.domain.errors import Unavailable
from shared.ports.scanner import Clean, Infected, NotScanned
from shared.testing.contracts.object_store import in_blocks
from shared.testing.contracts.scanner import ScannerContract

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
LIMIT = 4 * 1024 * 1024


async def clamd(reader, writer):
    """INSTREAM: blocks after their lengths until an empty one; too many bytes are answered at once."""
    content = b""
    try:
        assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
        while length := int.from_bytes(await reader.readexactly(4), "big"):
            content += await reader.readexactly(length)
            if len(content) > LIMIT:
                writer.write(b"INSTREAM size limit exceeded. ERROR\0")
                return
            if content == b"hang up":
                return
        if content == b"overloaded":
            writer.write(b"Command read timed out ERROR\0")
        else:
            writer.write(b"stream: Eicar-Signature FOUND\0" if EICAR in content else b"stream: OK\0")
    finally:
        writer.close()


class TestNoScanner(ScannerContract):
    @pytest.fixture
    def scanner(self):
        return NoScanner()


class TestClamav(ScannerContract):
    @pytest.fixture
    async def scanner(self, tmp_path):
        async with await asyncio.start_unix_server(clamd, tmp_path / "clamd.sock"):
            yield ClamavScanner(f"unix://{tmp_path}/clamd.sock", timeout=5)

    async def test_what_is_found_is_named(self, scanner):
        assert await scanner.scan(in_blocks(b"x" * 1000 + EICAR, 700)) == Infected("Eicar-Signature")

    async def test_what_is_too_long_for_it_is_not_scanned(self, scanner):
        assert isinstance(await scanner.scan(in_blocks(bytes(2 * LIMIT))), NotScanned)

    @pytest.mark.parametrize("content", [b"overloaded", b"hang up"])
    async def test_an_error_of_its_own_is_asked_again(self, scanner, content):
        with pytest.raises(Unavailable):
            await scanner.scan(in_blocks(content))

    async def test_by_tcp(self):
        async with await asyncio.start_server(clamd, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            assert await ClamavScanner(f"tcp://127.0.0.1:{port}").scan(in_blocks(b"fine")) == Clean()

    async def test_nobody_there_is_unavailable(self, tmp_path):
        with pytest.raises(Unavailable):
            await ClamavScanner(f"unix://{tmp_path}/nobody").scan(in_blocks(b"fine"))

    @pytest.mark.parametrize("address", ["clamd", "tcp://clamd", "http://clamd:1", "unix:"])
    def test_an_address_that_is_none(self, address):
        with pytest.raises(ValueError, match="is no address of clamd"):
            ClamavScanner(address)

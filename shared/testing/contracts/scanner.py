"""What every Scanner must do (shared.ports.scanner). Subclass it and say how to open a ``scanner``."""

from collections.abc import AsyncIterator

import pytest

from shared.ports.scanner import Clean, Scanner
from shared.testing.contracts.object_store import in_blocks


class ScannerContract:
    @pytest.fixture
    async def scanner(self) -> AsyncIterator[Scanner]:
        raise NotImplementedError("say how to open a Scanner")
        yield

    @pytest.mark.parametrize("content", [b"", b"nothing bad", bytes(3 * 1024 * 1024)], ids=["empty", "short", "long"])
    async def test_what_is_harmless_is_clean(self, scanner: Scanner, content: bytes) -> None:
        assert await scanner.scan(in_blocks(content)) == Clean()

    async def test_one_scan_after_another(self, scanner: Scanner) -> None:
        for _ in range(3):
            assert await scanner.scan(in_blocks(b"nothing bad")) == Clean()

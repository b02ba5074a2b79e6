"""
ClamAV's daemon by its INSTREAM command (clamd(8)): the bytes go there in blocks, the daemon sees no path of ours.

What is longer than its ``StreamMaxLength`` it does not scan: raise that to what a file may have, or such files are
rejected.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from urllib.parse import urlsplit

from shared.domain.errors import Unavailable
from shared.ports.scanner import Clean, Finding, Infected, NotScanned

TIMEOUT = 120.0
"""Seconds for the daemon to take a block, or to answer: it unpacks archives before it does."""
_TOO_LONG = "INSTREAM size limit exceeded"
_LIMIT = "Limits.Exceeded"


class ClamavScanner:
    def __init__(self, address: str, *, timeout: float = TIMEOUT) -> None:
        """
        Args:
            address: tcp://HOST:PORT or unix:///PATH.

        Raises:
            ValueError: it is neither.
        """
        parts = urlsplit(address)
        if parts.scheme == "tcp" and parts.hostname and parts.port:
            self._host, self._port, self._path = parts.hostname, parts.port, ""
        elif parts.scheme == "unix" and parts.path:
            self._host, self._port, self._path = "", 0, parts.path
        else:
            raise ValueError(f"{address!r} is no address of clamd: tcp://HOST:PORT or unix:///PATH")
        self._timeout = timeout

    async def scan(self, blocks: AsyncIterator[bytes]) -> Finding:
        try:
            async with asyncio.timeout(self._timeout):
                reader, writer = await self._connect()
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"clamd cannot be reached ({type(error).__name__})") from None
        # Read while we write: who has read enough answers and hangs up, and a reset connection has no answer to read.
        answer = asyncio.create_task(reader.readuntil(b"\0"))
        try:
            await self._send(writer, blocks, answer)
            async with asyncio.timeout(self._timeout):
                reply = (await answer)[:-1].decode("utf-8", "replace")
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise Unavailable(f"clamd gave no answer ({type(error).__name__})") from None
        finally:
            answer.cancel()
            writer.close()
        return finding(reply)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._path:
            return await asyncio.open_unix_connection(self._path)
        return await asyncio.open_connection(self._host, self._port)

    async def _send(
        self, writer: asyncio.StreamWriter, blocks: AsyncIterator[bytes], answer: asyncio.Future[bytes]
    ) -> None:
        writer.write(b"zINSTREAM\0")
        async for block in blocks:
            writer.write(len(block).to_bytes(4, "big") + block)
            with suppress(ConnectionError):
                async with asyncio.timeout(self._timeout):
                    await writer.drain()
            if answer.done() or writer.is_closing():
                return
        writer.write(bytes(4))


def finding(reply: str) -> Finding:
    """
    What clamd's answer says.

    Raises:
        Unavailable: it is an error of the daemon's own.

    >>> finding("stream: OK"), finding("stream: Eicar-Signature FOUND")
    (Clean(), Infected(signature='Eicar-Signature'))
    """
    said = reply.removeprefix("stream: ")
    if said == "OK":
        return Clean()
    if said.endswith(" FOUND"):
        signature = said.removesuffix(" FOUND")
        return NotScanned(signature) if _LIMIT in signature else Infected(signature)
    if said.startswith(_TOO_LONG):
        return NotScanned("the file is longer than clamd's StreamMaxLength")
    raise Unavailable(f"clamd answered {said[:200]!r}")

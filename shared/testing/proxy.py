"""A TCP proxy before a real server that can be gone, or take everything and answer nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Proxy:
    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._answers = asyncio.Event()
        self._answers.set()
        self._server: asyncio.Server | None = None
        self._streams: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        """Also again after ``cut``, on the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def lead_to(self, host: str, port: int) -> None:
        """Connections from now on go there; those that are open stay where they are."""
        self._target = host, port

    async def cut(self) -> None:
        """Close every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for stream in self._streams:
            stream.transport.abort()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def hang(self) -> None:
        """Answers no longer come through; what is sent does."""
        self._answers.clear()

    def heal(self) -> None:
        self._answers.set()

    async def _serve(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        try:
            far_in, far_out = await asyncio.open_connection(*self._target)
        except OSError:
            near_out.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        self._streams |= {near_out, far_out}
        try:
            await asyncio.gather(self._pipe(near_in, far_out), self._pipe(far_in, near_out, self._answers))
        finally:
            self._streams -= {near_out, far_out}
            self._serving.discard(task)

    async def _pipe(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, gate: asyncio.Event | None = None
    ) -> None:
        with suppress(OSError):
            while data := await source.read(65_536):
                if gate is not None:
                    await gate.wait()
                target.write(data)
                await target.drain()
        target.transport.abort()


@asynccontextmanager
async def proxy(host: str, port: int) -> AsyncIterator[Proxy]:
    made = Proxy(host, port)
    await made.start()
    try:
        yield made
    finally:
        made.heal()
        await made.cut()

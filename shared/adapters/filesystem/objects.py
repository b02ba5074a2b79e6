"""
The object store of the embedded mode: files in a folder, and presigned URLs that this process serves itself.

File work runs in threads of its own, a block at a time: neither the event loop nor whoever hashes passwords waits.
"""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import ParamSpec, TypeVar

from shared.adapters.filesystem.drafts import Draft
from shared.adapters.filesystem.shelf import Shelf
from shared.adapters.filesystem.signatures import Signer
from shared.domain.errors import StorageFull, Unavailable
from shared.ports import Clock
from shared.ports.object_store import BLOCK, Part, Presigned, StoredObject, StoredPart, Upload

P = ParamSpec("P")
T = TypeVar("T")

PREFIX = "/objects/"
"""Where the presigned URLs are, below the platform's own."""
RESERVE = 256 * 1024**2
"""Bytes of the disk that are left to the database."""
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_THREADS = 8


class FilesystemObjects:
    def __init__(self, folder: Path, *, key: bytes, base_url: str, clock: Clock, reserve: int = RESERVE) -> None:
        """
        Args:
            key: signs the URLs; whoever has it can make some.
            base_url: how clients reach this process.

        Raises:
            OSError: the folder cannot be used.
        """
        self.shelf = Shelf(folder, reserve=reserve)
        self.signer = Signer(key)
        self.clock = clock
        self._base = base_url.rstrip("/")
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="objects")

    def close(self) -> None:
        self._threads.shutdown()

    async def create(self, key: str, *, content_type: str, hashed: bool = False) -> Upload:
        return await self._run(self.shelf.create, key, int(self.clock.now().timestamp()))

    async def presign_parts(self, upload: Upload, parts: Sequence[Part], *, expires_in: timedelta) -> list[Presigned]:
        until = self.clock.now() + expires_in
        return [Presigned(self._url("PUT", upload.key, _asked(upload, part), until)) for part in parts]

    async def put_part(self, upload: Upload, part: Part, blocks: AsyncIterator[bytes]) -> StoredPart:
        await self._run(self.shelf.check_open, upload)
        async with self._drafted(blocks, part.size) as draft:
            return await self._run(self.shelf.keep_part, upload, part, draft)

    async def list_parts(self, upload: Upload) -> list[StoredPart]:
        return await self._run(self.shelf.parts, upload)

    async def complete(self, upload: Upload, parts: Sequence[StoredPart]) -> StoredObject:
        return await self._run(self.shelf.complete, upload, parts)

    async def abort(self, upload: Upload) -> None:
        await self._run(self.shelf.abort, upload)

    async def presign_get(self, key: str, *, filename: str, content_type: str, expires_in: timedelta) -> str:
        query = {"filename": filename, "content_type": content_type}
        return self._url("GET", key, query, self.clock.now() + expires_in)

    async def stat(self, key: str) -> StoredObject | None:
        return await self._run(self.shelf.stat, key)

    @asynccontextmanager
    async def stream(self, key: str, *, offset: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
        manifest = await self._run(self.shelf.manifest, key)
        blocks = self._blocks(key, manifest.files, offset)
        try:
            yield blocks
        finally:
            await blocks.aclose()  # type: ignore[attr-defined]  # it is a generator, which its type does not say

    async def sha256(self, key: str) -> str:
        return await self._run(self.shelf.sha256, key)

    async def put(self, key: str, blocks: AsyncIterator[bytes], *, size: int) -> StoredObject:
        async with self._drafted(blocks, size) as draft:
            return await self._run(self.shelf.put, key, size, draft)

    async def delete(self, key: str) -> None:
        await self._run(self.shelf.delete, key)

    async def discard_stale(self, before: datetime) -> int:
        return await self._run(self.shelf.discard_begun_before, int(before.timestamp()))

    @asynccontextmanager
    async def _drafted(self, blocks: AsyncIterator[bytes], size: int) -> AsyncIterator[Draft]:
        """What the blocks are, written down; of too many no more than shows that they are."""
        draft = await self._run(self.shelf.draft, size)
        try:
            async for gathered in _gathered(blocks):
                await self._run(draft.write, gathered)
                if draft.size > size:
                    break
            yield draft
        finally:
            await self._run(draft.close)

    async def _blocks(self, key: str, files: Sequence[tuple[str, int]], offset: int) -> AsyncIterator[bytes]:
        for name, size in files:
            if offset >= size:
                offset -= size
                continue
            file = await self._run(self.shelf.open, key, name)
            try:
                if offset:
                    file.seek(offset)
                    offset = 0
                while block := await self._run(file.read, BLOCK):
                    yield block
            finally:
                file.close()

    async def _run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*args, **kwargs))
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise StorageFull from error
            raise Unavailable(f"the folder of the objects cannot be used ({error.strerror})") from error

    def _url(self, method: str, key: str, query: dict[str, str], until: datetime) -> str:
        return self._base + self.signer.sign(method, PREFIX + key, query, until)


def _asked(upload: Upload, part: Part) -> dict[str, str]:
    bound = {"sha256": part.sha256} if part.sha256 else {}
    return {"upload": upload.upload_id, "part": str(part.part_number), "size": str(part.size), **bound}


async def _gathered(blocks: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """A thread is worth its switch from some hundred kilobytes on; a socket gives 64 at a time."""
    gathered: list[bytes] = []
    size = 0
    async for block in blocks:
        gathered.append(block)
        size += len(block)
        if size >= BLOCK:
            yield gathered
            gathered, size = [], 0
    if gathered:
        yield gathered

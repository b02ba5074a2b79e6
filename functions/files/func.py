"""
files: how far an upload has come, its bytes by way of the platform, its download, its end (B2, B3, B5, B6).

Takes HTTP (http.py); emits nothing.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from events import EventData
from shared.domain.errors import ChecksumMismatch, Conflict, Invalid, NotFound, Unavailable, WrongOffset
from shared.domain.file import OPEN, PART_URL_LIFE, State
from shared.observability import metrics
from shared.ports import Clock, Ids, ObjectStore, Ports
from shared.ports.object_store import Presigned, StoredPart
from shared.repositories.blobs import Blobs
from shared.repositories.conversations import Conversations
from shared.repositories.files import (
    FileAccess,
    FileRecord,
    Files,
    object_key,
    parts_by_number,
    upload_of,
)
from shared.repositories.uploads import Chunk, Uploads, closed

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Progress:
    """``offset``: bytes from the beginning without a gap; ``missing``: numbers and fresh URLs, until ``expires_at``."""

    file: FileRecord
    received: int
    offset: int
    stored: Sequence[StoredPart]
    missing: Sequence[tuple[int, Presigned]]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Download:
    """``url`` None: the file is not ready."""

    file: FileRecord
    url: str | None
    expires_at: datetime


def decide(file: FileRecord, offset: int, size: int, known: int) -> None:
    """
    Whether so many bytes may come at the offset, of an upload that is at ``known``.

    Raises:
        WrongOffset: it is somewhere else.
        Invalid: the file has not so many bytes.
    """
    if offset != known:
        raise WrongOffset(known)
    if offset + size > file.size:
        raise Invalid(f"the file has {file.size:,} bytes: from {offset:,} at most {file.size - offset:,} can come")


@dataclass(frozen=True, slots=True)
class FileDesk:
    accepts: ClassVar[tuple[type[EventData], ...]] = ()

    clock: Clock
    ids: Ids
    objects: ObjectStore
    files: Files
    access: FileAccess
    uploads: Uploads
    blobs: Blobs

    async def status(self, tenant: str, file_id: str, user_id: str | None) -> Progress:
        """
        Args:
            user_id: who asks; None for a client that asks for its tenant.

        Raises:
            NotFound: there is no such file, or it is somebody else's.
        """
        file = await self.access.owned(tenant, file_id, user_id)
        until = self.clock.now() + PART_URL_LIFE
        if file.state not in OPEN:
            received = 0 if file.state is State.ABORTED else file.size
            return Progress(file, received, received, file.manifest, (), until)
        file, stored = await self.uploads.stored(tenant, file)
        good = {(part.part_number, part.size) for part in stored} & {
            (number, file.layout.size_of(number)) for number in file.layout.numbers
        }
        offset = await self._reached(tenant, file, stored)
        missing = file.layout.missing(good)
        urls = await self.uploads.presign(tenant, file, missing)
        received = max(sum(size for _, size in good), offset)
        kept = [part for part in stored if (part.part_number, part.size) in good]
        return Progress(file, received, offset, kept, list(zip(missing, urls, strict=True)), until)

    async def append(
        self, tenant: str, file_id: str, user_id: str | None, offset: int, size: int, blocks: AsyncIterator[bytes]
    ) -> int:
        """
        The bytes from ``offset`` on, as far as there are; the new offset. Whole parts are kept as they come, so a
        client that is cut goes on after the last of them.

        Raises:
            NotFound: there is no such file, or it is somebody else's.
            WrongOffset, Invalid: see ``decide``; nothing was changed.
            Conflict: the upload is over.
            ChecksumMismatch: a part is not what was announced; the upload goes on at its beginning.
            StorageFull, Unavailable: what was acknowledged is kept.
        """
        file = await self.access.owned(tenant, file_id, user_id)
        if file.state not in OPEN:
            raise closed(file)
        file, stored = await self.uploads.stored(tenant, file)
        decide(file, offset, size, await self._reached(tenant, file, stored))
        source, end = _Source(blocks), offset + size
        while offset < end:
            offset += await self._append(tenant, file, offset, end - offset, source)
        return offset

    async def _append(self, tenant: str, file: FileRecord, offset: int, left: int, source: "_Source") -> int:
        """One step: to the end of a part, or of what comes; how many bytes."""
        layout = file.layout
        number = offset // layout.part_size + 1
        begun = offset - layout.offset_of(number)
        size = min(left, layout.size_of(number) - begun)
        if begun + size < layout.size_of(number):
            await self._keep_chunk(tenant, file, offset, size, source)
        else:
            await self._keep_part(tenant, file, number, begun, size, source)
        metrics.file_bytes_patched.inc(size)
        return size

    async def _keep_part(
        self, tenant: str, file: FileRecord, number: int, begun: int, size: int, source: "_Source"
    ) -> None:
        chunks = await self.uploads.chunks(tenant, file.file_id, since=file.layout.offset_of(number)) if begun else []
        before = [chunk for chunk in chunks if chunk.offset < file.layout.offset_of(number) + begun]
        try:
            await self.objects.put_part(
                upload_of(tenant, file), file.part(number), self._whole(before, source.take(size))
            )
        except ChecksumMismatch:
            await self.uploads.forget_chunks(tenant, file.file_id, before)
            raise
        except NotFound:  # the upload is over; or chunks have gone, when somebody died while forgetting them
            await self.uploads.forget_chunks(tenant, file.file_id, before)
            if before:
                raise WrongOffset(file.layout.offset_of(number)) from None
            raise Conflict("the upload is over, or the store has lost it; ask for its status") from None
        await self.uploads.forget_chunks(tenant, file.file_id, before)

    async def _whole(self, chunks: Sequence[Chunk], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        for chunk in chunks:
            async with self.objects.stream(chunk.object_key) as blocks:
                async for block in blocks:
                    yield block
        async for block in rest:
            yield block

    async def _keep_chunk(self, tenant: str, file: FileRecord, offset: int, size: int, source: "_Source") -> None:
        key = f"{tenant}/chunks/{file.file_id}/{offset}-{self.ids.uuid()}"
        await self.objects.put(key, source.take(size), size=size)
        if not await self.uploads.keep_chunk(tenant, file.file_id, Chunk(offset, size, key)):
            await self.objects.delete(key)
            raise Conflict("somebody else puts the same bytes; ask for the status and go on from its offset")
        now = await self.files.even_deleted(tenant, file.file_id) or file
        if now.state not in OPEN:  # whoever ended the upload has looked for chunks, perhaps before this one
            await self.uploads.forget_chunks(tenant, file.file_id, [Chunk(offset, size, key)])
            raise closed(now)

    async def _reached(self, tenant: str, file: FileRecord, stored: Sequence[StoredPart]) -> int:
        """Where an upload without gaps is: after the parts, and after the chunks of the next one."""
        return await self.uploads.reached(tenant, file.file_id, file.layout.contiguous(parts_by_number(stored)))

    async def download(self, tenant: str, file_id: str, user_id: str | None, life: timedelta) -> Download:
        """
        Raises:
            NotFound: there is no such file, or not for this user; before it is ready it is its owner's only.
        """
        file = await self.files.find(tenant, file_id)
        if file.state is State.READY:
            file = await self.access.readable(tenant, file_id, user_id)
        else:
            file = await self.access.owned(tenant, file_id, user_id)
        until = self.clock.now() + life
        if file.state is not State.READY or file.object_key is None:
            return Download(file, None, until)
        url = await self.objects.presign_get(
            file.object_key, filename=file.filename, content_type=file.content_type, expires_in=life
        )
        return Download(file, url, until)

    async def remove(self, tenant: str, file_id: str, user_id: str | None) -> None:
        """
        Abort an unfinished upload, or remove the file: its name and its place at once, its bytes after the grace
        period unless other files have the same. Repeating it finishes what was left half done.

        Raises:
            NotFound: there is no such file, or it is somebody else's.
        """
        for _ in range(_ATTEMPTS):
            file = await self.files.even_deleted(tenant, file_id)
            if file is None or user_id not in (None, file.owner):
                file = await self.access.owned(tenant, file_id, user_id)
            if file.state in OPEN or file.state is State.ABORTED:
                if (await self.uploads.abort(tenant, file)).state is State.ABORTED:
                    return
                continue
            gone: dict[str, Any] = {"state": State.DELETED, "filename": "", "detail": None}
            deleted = file if file.state is State.DELETED else await self.files.change(tenant, file, **gone)
            if deleted is not None:
                await self._forget(tenant, deleted)
                return
        raise Unavailable("the file is being changed by many at once; try again")

    async def _forget(self, tenant: str, file: FileRecord) -> None:
        await self.files.let_go(tenant, file.file_id)
        if file.claimed is not None or file.checksum is not None:
            await self.blobs.release(tenant, file.checksum or file.claimed or "", file.file_id)
        own = object_key(tenant, file.file_id)
        # Its verification may have shared the bytes already, with files that are ready.
        if file.checksum is None and not (file.claimed and await self.blobs.named(tenant, file.claimed, own)):
            await self.objects.delete(own)
        await self.uploads.clear(tenant, file)


class _Source:
    """Blocks as they come, given out in exact sizes."""

    def __init__(self, blocks: AsyncIterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = b""

    async def take(self, size: int) -> AsyncIterator[bytes]:
        """Fewer only when no more come."""
        while size:
            if not self._rest:
                try:
                    self._rest = await anext(self._blocks)
                except StopAsyncIteration:
                    return
            block, self._rest = self._rest[:size], self._rest[size:]
            size -= len(block)
            yield block


def new(ports: Ports) -> FileDesk:
    conversations = Conversations(ports.tables, ports.clock)
    files = Files(ports.tables, ports.clock)
    return FileDesk(
        clock=ports.clock,
        ids=ports.ids,
        objects=ports.objects,
        files=files,
        access=FileAccess(files, conversations),
        uploads=Uploads(ports.tables, files, ports.objects, ports.clock),
        blobs=Blobs(ports.tables, ports.objects, ports.clock),
    )

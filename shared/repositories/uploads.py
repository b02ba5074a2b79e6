"""Uploads under way: begun in the store, counted against the quotas, cleared away when they end (B1 to B3)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.domain.errors import Conflict, NotFound, RateLimited, Unavailable
from shared.domain.file import OPEN, OPEN_PER_TENANT, OPEN_PER_USER, PART_URL_LIFE, State
from shared.ports import Clock, Tables
from shared.ports.object_store import ObjectStore, Presigned, StoredPart
from shared.ports.tables import Put, Row
from shared.repositories.file_schema import FILE_CHUNKS, OPEN_UPLOADS
from shared.repositories.files import FileRecord, Files, object_key, upload_of

_ATTEMPTS = 5
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a part, kept as an object of its own until the part is whole."""

    offset: int
    size: int
    object_key: str


@dataclass(frozen=True, slots=True)
class Place:
    """One of the uploads that are open, as the quotas count them."""

    owner: str
    file_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Uploads:
    tables: Tables
    files: Files
    objects: ObjectStore
    clock: Clock

    async def reserve(self, tenant: str, owner: str, file_id: str, expires_at: datetime) -> None:
        """
        A place among the uploads that are open. It is taken first and then counted, so that of many at once too few
        may get one, never too many.

        Raises:
            RateLimited: the user, or the tenant, has too many open.
        """
        await self.take_place(tenant, owner, file_id, expires_at)
        of_user, of_tenant = await asyncio.gather(
            self.tables.slice(OPEN_UPLOADS, (tenant,), prefix=(owner,), limit=OPEN_PER_USER + 1),
            self.tables.slice(OPEN_UPLOADS, (tenant,), limit=OPEN_PER_TENANT + 1),
        )
        for open_, most, whose in (
            (of_user, OPEN_PER_USER, "you have"),
            (of_tenant, OPEN_PER_TENANT, "the tenant has"),
        ):
            if len(open_) > most:
                await self.release(tenant, owner, file_id)
                raise RateLimited(f"{whose} {most} uploads open; complete one, or remove it with DELETE /v1/files/…")

    async def take_place(self, tenant: str, owner: str, file_id: str, expires_at: datetime) -> None:
        """A place whatever the quotas say, for an upload that had one and goes on."""
        row: Row = {"tenant": tenant, "owner": owner, "file_id": file_id, "expires_at": expires_at}
        await self.tables.put(Put(OPEN_UPLOADS, row))

    async def release(self, tenant: str, owner: str, file_id: str) -> None:
        await self.tables.delete(OPEN_UPLOADS, (tenant, owner, file_id))

    async def open(self, tenant: str, *, owner: str | None = None) -> list[Place]:
        """The uploads that take parts, of one user or of all."""
        prefix = () if owner is None else (owner,)
        rows = await self.tables.slice(OPEN_UPLOADS, (tenant,), prefix=prefix, limit=_PAGE)
        return [Place(str(row["owner"]), str(row["file_id"]), row["expires_at"]) for row in rows]  # type: ignore[arg-type]

    async def begin(self, tenant: str, file: FileRecord) -> FileRecord:
        """
        The file with its upload begun in the store. Whoever died before this is carried on by whoever asks next.

        Raises:
            Conflict: the file takes no parts.
        """
        for _ in range(_ATTEMPTS):
            if file.state not in OPEN:
                raise closed(file)
            if file.upload_id is not None:
                return file
            key = object_key(tenant, file.file_id)
            upload = await self.objects.create(key, content_type=file.content_type, hashed=bool(file.part_checksums))
            begun = await self.files.change(tenant, file, upload_id=upload.upload_id)
            if begun is not None:
                return begun
            await self.objects.abort(upload)
            file = await self.files.find(tenant, file.file_id)
        raise Unavailable("the upload is being begun by many at once; try again")

    async def stored(self, tenant: str, file: FileRecord) -> tuple[FileRecord, list[StoredPart]]:
        """
        The file, and its parts that the store has. A store that has forgotten the upload gets a new one: then every
        part is missing, which is what the client must know.
        """
        for _ in range(_ATTEMPTS):
            file = await self.begin(tenant, file)
            try:
                parts = await self.objects.list_parts(upload_of(tenant, file))
            except NotFound:
                again = await self.files.find(tenant, file.file_id)
                if again.version == file.version:
                    again = await self.files.change(tenant, file, upload_id=None) or again
                file = again
                continue
            if parts and file.state is State.INITIATED:
                file = await self.files.change(tenant, file, state=State.UPLOADING) or await self.files.find(
                    tenant, file.file_id
                )
            return file, parts
        raise Unavailable("the upload changes while it is looked at; try again")

    async def presign(self, tenant: str, file: FileRecord, numbers: Sequence[int]) -> list[Presigned]:
        """A fresh URL for each of these parts."""
        parts = [file.part(number) for number in numbers]
        return await self.objects.presign_parts(upload_of(tenant, file), parts, expires_in=PART_URL_LIFE)

    async def abort(self, tenant: str, file: FileRecord) -> FileRecord:
        """
        The file, aborted if its upload took parts; repeating it finishes what was left half done.

        Raises:
            Unavailable: it is changed by many at once.
        """
        for _ in range(_ATTEMPTS):
            if file.state not in OPEN:
                break
            aborted = await self.files.change(tenant, file, state=State.ABORTED)
            file = aborted or await self.files.find(tenant, file.file_id)
        else:
            raise Unavailable("the upload is being changed by many at once; try again")
        if file.state is State.ABORTED:
            await self.clear(tenant, file)
        return file

    async def clear(self, tenant: str, file: FileRecord) -> None:
        """Forget what an upload that is over leaves behind: parts, chunks, its place in the quota."""
        if file.upload_id is not None and file.state is not State.VERIFYING:
            await self.objects.abort(upload_of(tenant, file))
        await self.forget_chunks(tenant, file.file_id, await self.chunks(tenant, file.file_id))
        await self.release(tenant, file.owner, file.file_id)

    async def chunks(self, tenant: str, file_id: str, *, since: int = 0) -> list[Chunk]:
        """In the order of their offsets, from ``since`` on."""
        rows = await self.tables.slice(FILE_CHUNKS, (tenant, file_id), after=since - 1, limit=100_000)
        return [Chunk(int(str(row["offset"])), int(str(row["size"])), str(row["object_key"])) for row in rows]

    async def reached(self, tenant: str, file_id: str, since: int) -> int:
        """Where the chunks from ``since`` on end: each was put where the one before it ended."""
        partition = (tenant, file_id)
        rows = await self.tables.slice(FILE_CHUNKS, partition, after=since - 1, limit=1, reverse=True)
        return int(str(rows[0]["offset"])) + int(str(rows[0]["size"])) if rows else since

    async def keep_chunk(self, tenant: str, file_id: str, chunk: Chunk) -> bool:
        """Whether it is the one at its offset: another may have come first."""
        row: Row = {
            "tenant": tenant,
            "file_id": file_id,
            "offset": chunk.offset,
            "size": chunk.size,
            "object_key": chunk.object_key,
        }
        return not await self.tables.put_if_absent(FILE_CHUNKS, row)

    async def forget_chunks(self, tenant: str, file_id: str, chunks: Sequence[Chunk]) -> None:
        """Rows last: who dies half-way finds them again."""
        for chunk in chunks:
            await self.objects.delete(chunk.object_key)
        if chunks:
            await self.tables.delete(FILE_CHUNKS, *[(tenant, file_id, chunk.offset) for chunk in chunks])

    async def erase_user(self, tenant: str, user_id: str) -> int:
        """Abort what the user has not finished: nobody else has seen it (LGPD art. 18); how many there were."""
        removed = 0
        for place in await self.open(tenant, owner=user_id):
            file = await self.files.get(tenant, place.file_id)
            if file is not None:
                await self.abort(tenant, file)
            await self.release(tenant, user_id, place.file_id)
            removed += 1
        return removed


def closed(file: FileRecord) -> Conflict:
    return Conflict(f"the upload takes no parts any more: the file is {file.state}")

"""Files as rows: what was asked for, how far it has come, and the conversations that hold it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from shared.domain.errors import NotFound
from shared.domain.file import UPLOAD_LIFE, Layout, State
from shared.ports import Clock, Tables
from shared.ports.object_store import Part, StoredPart, Upload
from shared.ports.tables import Put, Row
from shared.repositories.conversations import Conversations
from shared.repositories.file_schema import FILE_HOLDERS, FILES

_PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """Columns of ``FILES``; ``manifest`` are the parts that it was completed of."""

    file_id: str
    owner: str
    conversation_id: str
    filename: str
    content_type: str
    size: int
    part_size: int
    created_at: datetime
    updated_at: datetime
    state: State = State.INITIATED
    version: int = 1
    announced: str | None = None
    part_checksums: tuple[str, ...] = ()
    upload_id: str | None = None
    claimed: str | None = None
    manifest: tuple[StoredPart, ...] = ()
    object_key: str | None = None
    checksum: str | None = None
    reason: str | None = None
    detail: str | None = None

    @property
    def layout(self) -> Layout:
        return Layout(self.size, self.part_size)

    @property
    def expires_at(self) -> datetime:
        """Until when the upload takes parts."""
        return self.created_at + UPLOAD_LIFE

    def part(self, number: int) -> Part:
        bound = self.part_checksums[number - 1] if self.part_checksums else None
        return Part(number, self.layout.size_of(number), bound)

    def asks_the_same_as(self, other: "FileRecord") -> bool:
        return self._asked == other._asked

    @property
    def _asked(self) -> tuple[Any, ...]:
        return (
            self.owner,
            self.conversation_id,
            self.filename,
            self.content_type,
            self.size,
            self.part_size,
            self.announced,
            self.part_checksums,
        )


def object_key(tenant: str, file_id: str) -> str:
    """Where the bytes of a file are uploaded to; with the tenant first, and nothing that tells what they are."""
    return f"{tenant}/files/{file_id}"


def upload_of(tenant: str, file: FileRecord) -> Upload:
    """
    Raises:
        NotFound: it was not begun in the store.
    """
    if file.upload_id is None:
        raise NotFound("there is no such upload")
    return Upload(object_key(tenant, file.file_id), file.upload_id)


@dataclass(frozen=True, slots=True)
class Files:
    tables: Tables
    clock: Clock

    async def create(self, tenant: str, file: FileRecord) -> FileRecord:
        """The file, or the one that was there under its id."""
        there = await self.tables.put_if_absent(FILES, _row(tenant, file))
        return _file(there[0]) if there else file

    async def get(self, tenant: str, file_id: str) -> FileRecord | None:
        """None for one that was deleted too."""
        found = await self.even_deleted(tenant, file_id)
        return None if found is None or found.state is State.DELETED else found

    async def even_deleted(self, tenant: str, file_id: str) -> FileRecord | None:
        row = await self.tables.get(FILES, (tenant, file_id), serial=True)
        return None if row is None else _file(row)

    async def find(self, tenant: str, file_id: str) -> FileRecord:
        """
        Raises:
            NotFound: there is none.
        """
        found = await self.get(tenant, file_id)
        if found is None:
            raise no_such_file(file_id)
        return found

    async def change(self, tenant: str, file: FileRecord, **changes: Any) -> FileRecord | None:
        """The file with the changes; None: somebody else changed it since it was read."""
        now = self.clock.now()
        after = replace(file, **changes, version=file.version + 1, updated_at=now)
        columns = _row(tenant, after)
        changed: Row = {name: columns[name] for name in (*changes, "version", "updated_at")}
        done = await self.tables.update_if(
            FILES, (tenant, file.file_id), expected={"version": file.version}, changes=changed
        )
        return after if done else None

    async def hold(self, tenant: str, file_id: str, conversation_id: str, by: str) -> None:
        """The conversation's members may download the file from now on."""
        row: Row = {
            "tenant": tenant,
            "file_id": file_id,
            "conversation_id": conversation_id,
            "added_by": by,
            "at": self.clock.now(),
        }
        await self.tables.put(Put(FILE_HOLDERS, row))

    async def holders(self, tenant: str, file_id: str) -> AsyncIterator[list[str]]:
        """The conversations that hold the file, in pages."""
        after: str | None = None
        while rows := await self.tables.slice(FILE_HOLDERS, (tenant, file_id), after=after, limit=_PAGE):
            page = [str(row["conversation_id"]) for row in rows]
            yield page
            after = page[-1]

    async def let_go(self, tenant: str, file_id: str) -> None:
        """No conversation holds it any more."""
        async for page in self.holders(tenant, file_id):
            await self.tables.delete(FILE_HOLDERS, *[(tenant, file_id, one) for one in page])


@dataclass(frozen=True, slots=True)
class FileAccess:
    """Who may download a file: whoever is in a conversation that holds it, at that moment (B5)."""

    files: Files
    conversations: Conversations

    async def may_read(self, tenant: str, file_id: str, user_id: str | None) -> bool:
        """
        Args:
            user_id: who asks; None for a client that asks for its tenant.
        """
        if user_id is None:
            return True
        async for page in self.files.holders(tenant, file_id):
            is_member = self.conversations.is_member
            if any(await asyncio.gather(*(is_member(tenant, one, user_id) for one in page))):
                return True
        return False

    async def readable(self, tenant: str, file_id: str, user_id: str | None) -> FileRecord:
        """
        Raises:
            NotFound: there is no such file, or not for this user.
        """
        file = await self.files.find(tenant, file_id)
        if not await self.may_read(tenant, file_id, user_id):
            raise no_such_file(file_id)
        return file

    async def owned(self, tenant: str, file_id: str, user_id: str | None) -> FileRecord:
        """
        Raises:
            NotFound: there is no such file, or it is somebody else's.
        """
        file = await self.files.find(tenant, file_id)
        if user_id not in (None, file.owner):
            raise no_such_file(file_id)
        return file


def no_such_file(file_id: str) -> NotFound:
    return NotFound(f"there is no file {file_id[:128]!r} here")


def _row(tenant: str, file: FileRecord) -> Row:
    return {
        "tenant": tenant,
        "file_id": file.file_id,
        "owner": file.owner,
        "conversation_id": file.conversation_id,
        "filename": file.filename,
        "content_type": file.content_type,
        "size": file.size,
        "part_size": file.part_size,
        "created_at": file.created_at,
        "updated_at": file.updated_at,
        "state": str(file.state),
        "version": file.version,
        "announced": file.announced,
        "part_checksums": bytes.fromhex("".join(file.part_checksums)),
        "upload_id": file.upload_id,
        "claimed": file.claimed,
        "manifest": msgspec.json.encode(file.manifest),
        "object_key": file.object_key,
        "checksum": file.checksum,
        "reason": file.reason,
        "detail": file.detail,
    }


def _file(row: Row) -> FileRecord:
    columns: dict[str, Any] = {name: value for name, value in row.items() if name != "tenant"}
    hashes: bytes = columns["part_checksums"]
    columns["part_checksums"] = tuple(hashes[at : at + 32].hex() for at in range(0, len(hashes), 32))
    columns["manifest"] = msgspec.json.decode(columns["manifest"], type=tuple[StoredPart, ...])
    columns["state"] = State(columns["state"])
    return FileRecord(**columns)


def parts_by_number(parts: Sequence[StoredPart]) -> list[tuple[int, int]]:
    """(number, size) of each, as ``Layout`` asks for them."""
    return [(part.part_number, part.size) for part in parts]

"""
The bytes of files, by the multipart model of S3 (B1, B2, B5, B7).

An object is made by one upload: ``create``, parts in any order and any number of times, ``complete``. Parts are put
by whoever holds a presigned URL, straight into the store, or by the platform (``put_part``). A key is used for one
upload only, so an object never changes; keys begin with the tenant and are made of ``[A-Za-z0-9._/-]``.

Sizes are bytes, hashes are SHA-256 in lower case hex, ETags are opaque and without their quotes.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

MAX_PARTS = 10_000
MIN_PART = 5 * 1024 * 1024
"""What every part but the last has at least: S3's EntityTooSmall is found at ``complete`` only."""
BLOCK = 1024 * 1024
"""The largest block that a stream gives: what one transfer may hold in memory is a few of these."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One multipart upload under way, for one key."""

    key: str
    upload_id: str


@dataclass(frozen=True, slots=True)
class Part:
    """What a part will be: numbers begin at 1. With ``sha256`` the store itself refuses other bytes."""

    part_number: int
    size: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class StoredPart:
    """What the store has. ``sha256`` only where the store knows it."""

    part_number: int
    size: int
    etag: str
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class StoredObject:
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Presigned:
    """A URL that does one thing until it expires; ``headers`` are to be sent with it as they are."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


class ObjectStore(Protocol):
    """
    Every method raises Unavailable when the store cannot answer, and StorageFull when it has no room; after either,
    what was stored before still is, and the call may be repeated. None blocks the event loop.
    """

    async def create(self, key: str, *, content_type: str, hashed: bool = False) -> Upload:
        """
        Begin an upload; called again for the same key it begins another one, and the first may be forgotten.

        Args:
            hashed: every part will be put with its SHA-256.
        """
        ...

    async def presign_parts(self, upload: Upload, parts: Sequence[Part], *, expires_in: timedelta) -> list[Presigned]:
        """
        A URL for each part, in the same order: one HTTP PUT of exactly ``size`` bytes, answered 200 with an ETag
        once the part is on disk.

        Changed in any byte of path or query, or expired, it is refused (4xx), as are other bytes than ``sha256``
        says and more or fewer than ``size``; a part that was there before is still there then.
        """
        ...

    async def put_part(self, upload: Upload, part: Part, blocks: AsyncIterator[bytes]) -> StoredPart:
        """
        Store a part whose bytes pass through here, in blocks; over one of the same number.

        Raises:
            NotFound: there is no such upload (any more).
            Invalid: the blocks are more or fewer bytes than ``size``; nothing was changed.
            ChecksumMismatch: they are others than ``sha256`` says; nothing was changed.
        """
        ...

    async def list_parts(self, upload: Upload) -> list[StoredPart]:
        """
        All that are stored, in the order of their numbers.

        Raises:
            NotFound: there is no such upload (any more): it was completed or aborted.
        """
        ...

    async def complete(self, upload: Upload, parts: Sequence[StoredPart]) -> StoredObject:
        """
        Make the object of these parts, in the order of their numbers. Repeated after it was done, it answers with
        the object again.

        Raises:
            NotFound: no such upload, and no object under its key.
            Conflict: a part is not there, or is another than the ETag says; nothing was changed.
        """
        ...

    async def abort(self, upload: Upload) -> None:
        """Forget the upload and its parts; an unknown one is no error. Its URLs are refused from now on."""
        ...

    async def presign_get(self, key: str, *, filename: str, content_type: str, expires_in: timedelta) -> str:
        """
        A URL that downloads the object, as an attachment of this name; ranges work (RFC 9110 14).

        It is refused once changed in any byte of path or query, or expired; 404 once the object is deleted.
        """
        ...

    async def stat(self, key: str) -> StoredObject | None: ...

    def stream(self, key: str, *, offset: int = 0) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """
        ``async with store.stream(key) as blocks``: the bytes from ``offset`` on, in blocks of at most BLOCK.

        Raises:
            NotFound: there is no such object.
        """
        ...

    async def sha256(self, key: str) -> str:
        """
        Of the whole object, read in blocks.

        Raises:
            NotFound: there is no such object.
        """
        ...

    async def put(self, key: str, blocks: AsyncIterator[bytes], *, size: int) -> StoredObject:
        """
        A small object (less than one part) as a whole, over one that is there.

        Raises:
            Invalid: the blocks are more or fewer bytes than ``size``; nothing was changed.
        """
        ...

    async def delete(self, key: str) -> None:
        """Absent ones are no error."""
        ...

    async def discard_stale(self, before: datetime) -> int:
        """
        Abort the uploads that were begun before then and neither completed nor aborted; how many. A store that does
        it by itself answers 0.
        """
        ...

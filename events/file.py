"""The life of a file: asked for, completed, and what its verification found (requirements B)."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from events.envelope import EventData
from events.vocabulary import ConversationId, Instant, UserId

FileId = Annotated[str, Meta(min_length=1, max_length=128)]
Checksum = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="SHA-256 of the whole file, hex")]


class FileInitiateRequested(EventData, frozen=True, kw_only=True, rename={"sender": "from"}):
    """
    Somebody asks for an upload: the body of POST /v1/files/initiate as a CloudEvent, and ``from``.

    The event's id is the idempotency key, and the file_id when ``file_id`` is left out and it is a UUID;
    GET /v1/files/{file_id}/status then has the URLs.
    """

    TYPE: ClassVar[str] = "chat4all.file.initiate.requested.v1"

    conversation_id: str
    filename: str
    content_type: str
    size: int
    sender: str | None = None
    file_id: str | None = None
    checksum: str | None = None
    part_size: int | None = None
    part_checksums: tuple[str, ...] = ()

    @property
    def partition_key(self) -> str:
        return self.conversation_id

    @property
    def subject(self) -> str:
        return self.file_id or self.conversation_id


class NamedPart(Struct, frozen=True, kw_only=True):
    """A part as its uploader knows it: the ETag that the store answered."""

    part_number: int
    etag: str


class FileCompleteRequested(EventData, frozen=True, kw_only=True, rename={"sender": "from"}):
    """Somebody has put all parts: the body of POST /v1/files/complete as a CloudEvent, and ``from``."""

    TYPE: ClassVar[str] = "chat4all.file.complete.requested.v1"

    file_id: str
    checksum: str | None = None
    parts: tuple[NamedPart, ...] | None = None
    sender: str | None = None

    @property
    def partition_key(self) -> str:
        return self.file_id

    @property
    def subject(self) -> str:
        return self.file_id


class FileCompleted(EventData, frozen=True, kw_only=True):
    """All parts of a file are there and its checksum was claimed; now it is verified."""

    TYPE: ClassVar[str] = "chat4all.file.completed.v1"

    file_id: FileId
    conversation_id: ConversationId
    owner: UserId
    size: int
    at: Instant
    verification: Literal["inline", "needed"] = "needed"
    """Whether whoever completed it verifies it too, because it is small."""

    @property
    def partition_key(self) -> str:
        return self.conversation_id

    @property
    def subject(self) -> str:
        return self.file_id

    @property
    def part(self) -> str:
        return self.verification

    @property
    def attributes(self) -> Mapping[str, str]:
        return {"verification": self.verification}


class _Verified(EventData, frozen=True, kw_only=True):
    file_id: FileId
    conversation_id: ConversationId
    owner: UserId
    filename: str
    content_type: str
    size: int
    at: Instant

    @property
    def partition_key(self) -> str:
        return self.conversation_id

    @property
    def subject(self) -> str:
        return self.file_id


class FileReady(_Verified, frozen=True, kw_only=True):
    """The file's checksum was proven and nothing was found in it: it can be sent and downloaded."""

    TYPE: ClassVar[str] = "chat4all.file.ready.v1"

    checksum: Checksum


class FileRejected(_Verified, frozen=True, kw_only=True):
    """The file's bytes are gone; ``reason`` says why: checksum_mismatch, infected, not_scanned, lost."""

    TYPE: ClassVar[str] = "chat4all.file.rejected.v1"

    reason: str
    detail: str = ""

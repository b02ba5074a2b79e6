"""
initiate-upload: a file is announced, checked and given URLs for its parts (B1, B8).

Takes chat4all.file.initiate.requested.v1 and POST /v1/files/initiate; emits nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar

from events import Event, EventData, FileInitiateRequested
from shared.domain import file as rules
from shared.domain.conversation import Conversation
from shared.domain.errors import Conflict, Invalid, NotAMember, NotFound, Unavailable
from shared.domain.file import OPEN, State
from shared.domain.message import message_id, message_id_of_event
from shared.observability import metrics
from shared.ports import Clock, Ids, Ports
from shared.ports.object_store import Presigned
from shared.repositories.blobs import Blobs
from shared.repositories.conversations import Conversations
from shared.repositories.files import FileAccess, FileRecord, Files
from shared.repositories.uploads import Uploads

_LOOKED_AT = 100
"""Files of the same bytes that are looked at for one that the caller can read."""


@dataclass(frozen=True, slots=True)
class Initiated:
    """``presigned`` has a URL for each part, in order; none when the bytes are there already."""

    file: FileRecord
    presigned: Sequence[Presigned]

    @property
    def deduplicated(self) -> bool:
        return self.file.state is State.READY


def decide(conversation: Conversation | None, is_member: bool, file: FileRecord) -> FileRecord:
    """
    The file, if its owner may upload it here.

    Raises:
        NotFound: no such conversation.
        NotAMember: the owner is not in it.
    """
    if conversation is None:
        raise NotFound(f"there is no conversation {file.conversation_id!r}; make one with POST /v1/conversations")
    if not is_member:
        raise NotAMember(f"{file.owner!r} is not a member of this conversation and cannot upload to it")
    return file


def check(asked: FileInitiateRequested, file_id: str, now: datetime) -> FileRecord:
    """
    What was asked for, canonical.

    Raises:
        Invalid: it can never be uploaded like this; errors point at the fields.
        TooLarge: it has more than 2 GiB.
    """
    if asked.sender is None:
        raise Invalid(errors=[{"pointer": "/from", "detail": "say who uploads"}])
    rules.check_size(asked.size)
    cut = rules.layout(asked.size, asked.part_size)
    return FileRecord(
        file_id=file_id,
        owner=asked.sender,
        conversation_id=asked.conversation_id,
        filename=rules.filename(asked.filename),
        content_type=rules.content_type(asked.content_type),
        size=asked.size,
        part_size=cut.part_size,
        created_at=now,
        updated_at=now,
        announced=None if asked.checksum is None else rules.checksum(asked.checksum),
        part_checksums=rules.part_checksums(asked.part_checksums, cut),
    )


@dataclass(frozen=True, slots=True)
class InitiateUpload:
    accepts: ClassVar[tuple[type[EventData], ...]] = (FileInitiateRequested,)

    clock: Clock
    ids: Ids
    conversations: Conversations
    files: Files
    access: FileAccess
    uploads: Uploads
    blobs: Blobs

    async def handle(self, event: Event[FileInitiateRequested]) -> None:
        derived = message_id_of_event(event.id, event.tenant)
        file_id = message_id(event.data.file_id, derived, pointer="/file_id")
        await self.initiate(event.tenant, event.data, file_id=file_id)

    async def initiate(self, tenant: str, asked: FileInitiateRequested, *, file_id: str | None = None) -> Initiated:
        """
        The file with its URLs; with the same ``file_id`` and content again, the same file.

        Raises:
            Invalid, TooLarge, NotFound, NotAMember: see ``check`` and ``decide``; nothing was stored.
            RateLimited: too many uploads are open.
            Conflict: the file_id is that of another file.
            Unavailable: the store cannot answer; an upload that was to get a fresh id is given up.
        """
        draft = check(asked, file_id or self.ids.uuid(), self.clock.now())
        conversation = await self.conversations.get(tenant, draft.conversation_id)
        is_member = await self.conversations.is_member(tenant, draft.conversation_id, draft.owner)
        draft = decide(conversation, is_member, draft)
        known = await self.files.even_deleted(tenant, draft.file_id) if file_id else None
        twin = None if known is not None else await self._twin(tenant, draft)
        if twin is not None:
            shared = await self._share(tenant, draft, twin, fresh=file_id is None)
            if shared is not None:
                return Initiated(shared, ())
        if known is None:
            await self.uploads.reserve(tenant, draft.owner, draft.file_id, draft.expires_at)
            known = await self.files.create(tenant, draft)
        if not known.asks_the_same_as(draft):
            raise Conflict("this file_id is that of another file; use a new one")
        if known.state not in OPEN:
            return Initiated(known, ())
        try:
            file = await self.uploads.begin(tenant, known)
        except Unavailable:
            if file_id is None:  # nobody was told of it, and it would only take a place
                await self.uploads.abort(tenant, known)
            raise
        return Initiated(file, await self.uploads.presign(tenant, file, file.layout.numbers))

    async def _twin(self, tenant: str, draft: FileRecord) -> FileRecord | None:
        """A ready file of the same bytes that the owner can read anyway: nothing is learned by knowing a hash."""
        if draft.announced is None:
            return None
        for file_id in (await self.blobs.users(tenant, draft.announced))[:_LOOKED_AT]:
            file = await self.files.get(tenant, file_id)
            if (
                file is not None
                and (file.state, file.checksum, file.size) == (State.READY, draft.announced, draft.size)
                and await self.access.may_read(tenant, file_id, draft.owner)
            ):
                return file
        return None

    async def _share(self, tenant: str, draft: FileRecord, twin: FileRecord, *, fresh: bool) -> FileRecord | None:
        """The file, ready with its twin's bytes; None when those have gone meanwhile."""
        assert twin.checksum is not None and twin.object_key is not None
        key = await self.blobs.share(tenant, twin.checksum, draft.file_id, twin.object_key)
        try:
            if await self.uploads.objects.stat(key) is None:
                await self.blobs.release(tenant, twin.checksum, draft.file_id)
                return None
            await self.files.hold(tenant, draft.file_id, draft.conversation_id, draft.owner)
            ready = replace(draft, state=State.READY, checksum=twin.checksum, object_key=key, manifest=twin.manifest)
            created = await self.files.create(tenant, ready)
        except Exception:
            # What nobody will ask for again is given back, unless the row is there and only its answer got lost. Under
            # an id that was given another process may make the file this moment, and a repeat goes on from here.
            if fresh and await self.files.even_deleted(tenant, draft.file_id) is None:
                await self.files.let_go(tenant, draft.file_id)
                await self.blobs.release(tenant, twin.checksum, draft.file_id)
            raise
        metrics.files_deduplicated.inc()
        return created


def new(ports: Ports) -> InitiateUpload:
    conversations = Conversations(ports.tables, ports.clock)
    files = Files(ports.tables, ports.clock)
    return InitiateUpload(
        clock=ports.clock,
        ids=ports.ids,
        conversations=conversations,
        files=files,
        access=FileAccess(files, conversations),
        uploads=Uploads(ports.tables, files, ports.objects, ports.clock),
        blobs=Blobs(ports.tables, ports.objects, ports.clock),
    )

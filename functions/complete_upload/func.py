"""
complete-upload: all parts are there, and the file's checksum is claimed; small files get their verdict at once (B4).

Takes chat4all.file.complete.requested.v1 and POST /v1/files/{id}/complete; emits chat4all.file.completed.v1, and for
small files chat4all.file.ready.v1 or chat4all.file.rejected.v1.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from events import Event, EventData, FileCompleted, FileCompleteRequested, derived_id
from events.file import NamedPart
from shared.domain import file as rules
from shared.domain.errors import ChecksumMismatch, Conflict, Invalid, NotAMember, Refused, Unavailable
from shared.domain.file import OPEN, SMALL, State
from shared.ports import Clock, EventSink, Ports
from shared.ports.object_store import StoredPart
from shared.repositories.conversations import Conversations
from shared.repositories.due import DueList
from shared.repositories.files import FileAccess, FileRecord, Files, parts_by_number
from shared.repositories.uploads import Uploads, closed
from shared.repositories.verification import Verification, verification

SOURCE = "/functions/complete-upload"
LEASE = timedelta(minutes=2)
"""After it somebody else looks whether the file has a verdict: who completed it may have died."""
LARGE_LEASE = timedelta(minutes=12)
"""The same for large files: longer than verify-upload may take for one."""
_ATTEMPTS = 5
_NAMED = 10


def claimed(file: FileRecord, checksum: str | None) -> str:
    """
    The checksum that the whole file is to have.

    Raises:
        Invalid: none is known, or another one than was announced.
    """
    given = file.announced if checksum is None else rules.checksum(checksum)
    if given is None:
        raise Invalid(errors=[{"pointer": "/checksum", "detail": "give the SHA-256 of the whole file"}])
    if file.state in OPEN and file.announced not in (None, given):
        detail = f"another one was announced when the upload began: {file.announced}"
        raise Invalid(errors=[{"pointer": "/checksum", "detail": detail}])
    return given


def answered(file: FileRecord, checksum: str) -> FileRecord:
    """
    The file, to somebody who says it is complete with this checksum, once that is over.

    Raises:
        ChecksumMismatch: its bytes have another one.
        Refused: it was rejected for another reason.
        Conflict: it is not this one's to complete any more.
    """
    match file.state:
        case State.READY if file.checksum != checksum:
            raise ChecksumMismatch(f"the file is ready, and its SHA-256 is {file.checksum}, not {checksum}")
        case State.REJECTED if file.reason == "checksum_mismatch":
            raise ChecksumMismatch(f"{file.detail}; upload it again")
        case State.REJECTED:
            raise Refused(f"the file was rejected ({file.reason}): {file.detail}")
        case State.VERIFYING if file.claimed != checksum:
            raise Conflict("the file is being verified against another checksum")
        case State.ABORTED:
            raise closed(file)
        case _:
            return file


def decide(file: FileRecord, stored: Sequence[StoredPart], named: Sequence[NamedPart] | None) -> list[StoredPart]:
    """
    The parts that the file is made of.

    Raises:
        Conflict: parts are missing, or are others than the uploader names.
    """
    missing = file.layout.missing(parts_by_number(stored))
    if missing:
        some = ", ".join(map(str, missing[:_NAMED])) + (" …" if len(missing) > _NAMED else "")
        raise Conflict(f"{len(missing)} parts are missing: {some}; GET /v1/files/{file.file_id}/status has their URLs")
    by_number = {part.part_number: part for part in stored}
    parts = [by_number[number] for number in file.layout.numbers]
    if named is not None:
        wrong = rules.same_parts(
            [(one.part_number, one.etag) for one in named], [(part.part_number, part.etag) for part in parts]
        )
        if wrong:
            raise Conflict("; ".join(error["detail"] for error in wrong))
    return parts


@dataclass(frozen=True, slots=True)
class CompleteUpload:
    accepts: ClassVar[tuple[type[EventData], ...]] = (FileCompleteRequested,)

    clock: Clock
    sink: EventSink
    conversations: Conversations
    files: Files
    access: FileAccess
    uploads: Uploads
    verification: Verification
    due: DueList

    async def handle(self, event: Event[FileCompleteRequested]) -> None:
        await self.complete(event.tenant, event.data, traceparent=event.traceparent)

    async def complete(self, tenant: str, asked: FileCompleteRequested, *, traceparent: str | None) -> FileRecord:
        """
        The file, ready or still verifying; repeating it gives the same answer.

        Raises:
            NotFound: no such file of ``asked.sender`` (None: of the tenant).
            Invalid, Conflict, ChecksumMismatch, Refused: see ``claimed``, ``decide`` and ``answered``.
            NotAMember: the owner has left the conversation.
        """
        for _ in range(_ATTEMPTS):
            file = await self.access.owned(tenant, asked.file_id, asked.sender)
            checksum = claimed(file, asked.checksum)
            if file.state not in OPEN:
                return await self._again(tenant, answered(file, checksum), checksum, traceparent)
            if not await self.conversations.is_member(tenant, file.conversation_id, file.owner):
                raise NotAMember(f"{file.owner!r} is not a member of the conversation any more")
            file, stored = await self.uploads.stored(tenant, file)
            parts = decide(file, stored, asked.parts)
            completed = self._completed(tenant, file, traceparent)
            lease = LEASE if file.size <= SMALL else LARGE_LEASE
            promised = await self.due.add(
                tenant, completed.id, self.clock.now() + lease, completed.to_cloudevent(), kind="verification"
            )
            verifying = await self.files.change(
                tenant, file, state=State.VERIFYING, claimed=checksum, manifest=tuple(parts)
            )
            if verifying is not None:
                await self.uploads.release(tenant, file.owner, file.file_id)
                done = await self._settle(tenant, verifying, traceparent)
                if done.state is not State.VERIFYING:
                    await self.due.remove(completed.id, promised)
                return answered(done, checksum)
            await self.due.remove(completed.id, promised)
        raise Unavailable("the upload is being changed by many at once; try again")

    async def _again(self, tenant: str, file: FileRecord, checksum: str, traceparent: str | None) -> FileRecord:
        """A repeat: whoever came first may have died, so what is small is finished here; the rest was promised."""
        if file.size > SMALL:
            return file
        return answered(await self._settle(tenant, file, traceparent), checksum)

    async def _settle(self, tenant: str, file: FileRecord, traceparent: str | None) -> FileRecord:
        if file.state is not State.VERIFYING:
            return file
        small = file.size <= SMALL
        await self.sink.emit(self._completed(tenant, file, traceparent, inline=small))
        if not small:
            return file
        with suppress(Unavailable):  # the due list asks again
            return await self.verification.finish(tenant, file.file_id, source=SOURCE, traceparent=traceparent)
        return file

    def _completed(
        self, tenant: str, file: FileRecord, traceparent: str | None, *, inline: bool = False
    ) -> Event[FileCompleted]:
        data = FileCompleted(
            file_id=file.file_id,
            conversation_id=file.conversation_id,
            owner=file.owner,
            size=file.size,
            at=file.updated_at,
            verification="inline" if inline else "needed",
        )
        return Event(
            id=derived_id(data.TYPE, tenant, file.file_id, str(file.version), data.part),
            source=SOURCE,
            tenant=tenant,
            time=file.updated_at,
            data=data,
            traceparent=traceparent,
        )


def new(ports: Ports) -> CompleteUpload:
    conversations = Conversations(ports.tables, ports.clock)
    verifying = verification(ports)
    return CompleteUpload(
        clock=ports.clock,
        sink=ports.sink,
        conversations=conversations,
        files=verifying.files,
        access=FileAccess(verifying.files, conversations),
        uploads=verifying.uploads,
        verification=verifying,
        due=DueList(ports.tables, ports.clock),
    )

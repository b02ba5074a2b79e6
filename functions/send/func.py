"""
send: a message is checked, stored under its number and handed over (A6, A7, A11, E2).

Takes chat4all.message.send.requested.v1 and POST /v1/messages; emits chat4all.message.accepted.v1.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from events import Event, EventData, MessageSendRequested
from events.vocabulary import IN_APP, File, Placeholder, System
from shared.domain import message as rules
from shared.domain.errors import Conflict, Invalid, NotAMember, NotFound
from shared.domain.file import OPEN, State
from shared.domain.message import Draft
from shared.observability import metrics
from shared.ports import Channels, Ids, Ports
from shared.repositories.conversations import Conversations
from shared.repositories.files import FileAccess, FileRecord, Files
from shared.repositories.timeline import Accepted, Timeline

SOURCE = "/functions/send"
MAX_TTL = 366 * 24 * 3600  # seconds


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the conversation when the message comes."""

    exists: bool
    sender_is_member: bool
    strangers: Collection[str]  # recipients named by user_id who are no members
    file: FileRecord | None = None  # the one that the payload names, if the sender may use it


def decide(draft: Draft, facts: Facts) -> Draft:
    """
    The draft, if its sender may send it.

    Raises:
        NotFound: no such conversation.
        NotAMember: the sender is not in it.
        Invalid: a recipient is not in it, or the sender has no such file.
        Conflict: the file is not ready yet.
    """
    if not facts.exists:
        raise NotFound(f"there is no conversation {draft.conversation_id!r}; make one with POST /v1/conversations")
    if not facts.sender_is_member:
        raise NotAMember(f"{draft.sender!r} is not a member of this conversation and cannot send to it")
    if facts.strangers:
        names = ", ".join(sorted(facts.strangers)[:5])
        raise Invalid(errors=[{"pointer": "/to", "detail": f"not members of this conversation: {names}"}])
    if isinstance(draft.payload, File):
        _check_file(facts.file)
    return draft


def _check_file(file: FileRecord | None) -> None:
    if file is not None and (file.state in OPEN or file.state is State.VERIFYING):
        raise Conflict(f"the file is {file.state}; send it once it is ready")
    if file is None or file.state is not State.READY:
        raise Invalid(errors=[{"pointer": "/payload/file_id", "detail": "there is no file with this id for you"}])


def check(asked: MessageSendRequested, message_id: str, channels: Channels, *, fresh: bool = False) -> Draft:
    """
    The draft of what was asked for, canonical; ``fresh`` when the message_id was drawn just now.

    Raises:
        Invalid: it can never be sent like this; errors point at the fields.
    """
    known = (IN_APP, *channels.names())
    if asked.sender is None:
        raise Invalid(errors=[{"pointer": "/from", "detail": "say who sends"}])
    if isinstance(asked.payload, System | Placeholder):
        raise Invalid(errors=[{"pointer": "/payload/type", "detail": "send text or media"}])
    rules.check_payload(asked.payload)
    rules.check_metadata(asked.metadata)
    if asked.ttl_seconds is not None and not 1 <= asked.ttl_seconds <= MAX_TTL:
        raise Invalid(errors=[{"pointer": "/ttl_seconds", "detail": f"1 to {MAX_TTL} seconds"}])
    return Draft(
        message_id=message_id,
        conversation_id=asked.conversation_id,
        sender=asked.sender,
        payload=asked.payload,
        to=rules.recipients(
            (asked.to,) if isinstance(asked.to, str) else asked.to,
            known,
            lambda channel, identifier: channels.type_of(channel).check_address(identifier),
        ),
        channels=rules.channels(asked.channels, known),
        metadata=asked.metadata,
        request_delivery_receipt=asked.request_delivery_receipt,
        request_read_receipt=asked.request_read_receipt,
        reply_to=None if asked.reply_to is None else rules.message_id(asked.reply_to, "", pointer="/reply_to"),
        ttl_seconds=asked.ttl_seconds,
        fresh=fresh,
    )


@dataclass(frozen=True, slots=True)
class Send:
    accepts: ClassVar[tuple[type[EventData], ...]] = (MessageSendRequested,)

    ids: Ids
    channels: Channels
    conversations: Conversations
    timeline: Timeline
    access: FileAccess

    async def handle(self, event: Event[MessageSendRequested]) -> None:
        message_id = event.data.message_id or rules.message_id_of_event(event.id, event.tenant)
        await self.accept(event.tenant, event.data, message_id=message_id, traceparent=event.traceparent)

    async def accept(
        self, tenant: str, asked: MessageSendRequested, *, message_id: str | None = None, traceparent: str | None
    ) -> Accepted:
        """
        The stored message.

        Raises:
            Invalid, NotFound, NotAMember, Conflict: see ``check`` and ``decide``; nothing was stored.
            Conflict, Unavailable: see ``Timeline.accept`` too.
        """
        draft = await self.prepare(tenant, asked, message_id=message_id)
        return await self.store(tenant, draft, traceparent=traceparent)

    async def prepare(self, tenant: str, asked: MessageSendRequested, *, message_id: str | None = None) -> Draft:
        """What ``store`` takes; raises Invalid, NotFound, NotAMember, Conflict."""
        canonical = rules.message_id(message_id or asked.message_id, "")
        draft = check(asked, canonical or self.ids.uuid(), self.channels, fresh=not canonical)
        decide(draft, await self._facts(tenant, draft))
        if isinstance(draft.payload, File):  # before the message is: whoever gets it can download the file
            await self.access.files.hold(tenant, draft.payload.file_id, draft.conversation_id, draft.sender)
        return draft

    async def store(self, tenant: str, draft: Draft, *, traceparent: str | None) -> Accepted:
        """Drafts of one conversation are numbered in the order of the calls."""
        accepted = await self.timeline.accept(tenant, draft, source=SOURCE, traceparent=traceparent)
        if not accepted.replayed:
            metrics.message_accepted(tenant)
        return accepted

    async def _facts(self, tenant: str, draft: Draft) -> Facts:
        is_member = self.conversations.is_member
        # Who is in it shows that it exists: one read for each message, not two.
        if not await is_member(tenant, draft.conversation_id, draft.sender):
            return Facts(await self.conversations.get(tenant, draft.conversation_id) is not None, False, ())
        strangers = [
            entry
            for entry in draft.to or ()
            if rules.prefixed(entry) is None and not await is_member(tenant, draft.conversation_id, entry)
        ]
        return Facts(True, True, strangers, await self._file(tenant, draft))

    async def _file(self, tenant: str, draft: Draft) -> FileRecord | None:
        """The file that the message carries, if its sender may use it."""
        if not isinstance(draft.payload, File):
            return None
        file = await self.access.files.get(tenant, draft.payload.file_id)
        if file is None or file.state is not State.READY:
            return file if file is not None and file.owner == draft.sender else None
        return file if await self.access.may_read(tenant, file.file_id, draft.sender) else None


def new(ports: Ports) -> Send:
    conversations = Conversations(ports.tables, ports.clock)
    return Send(
        ids=ports.ids,
        channels=ports.channels,
        conversations=conversations,
        timeline=Timeline(ports.tables, ports.outbox, ports.cache, ports.clock),
        access=FileAccess(Files(ports.tables, ports.clock), conversations),
    )

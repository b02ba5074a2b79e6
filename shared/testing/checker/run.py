"""A history, indexed for the judges."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec import Struct

from shared.testing.history import (
    Conversation,
    Delivered,
    Fault,
    Inbound,
    Invariant,
    Item,
    Observation,
    Operation,
    Page,
    Probe,
    Quiesced,
    Receipt,
    Send,
)

ACCEPTED = 202
TRY_AGAIN = frozenset({0, 429, 503})

Place = tuple[str, str]
"""(tenant, conversation)"""


class Finding(Struct, frozen=True):
    """One broken promise."""

    invariant: Invariant
    detail: str


@dataclass(slots=True)
class Message:
    """All attempts with one message_id of one tenant."""

    first: Send
    answers: set[int] = field(default_factory=set)
    sent: float = 0.0
    answered: float | None = None

    @property
    def place(self) -> Place:
        return self.first.tenant, self.first.conversation


@dataclass(slots=True)
class Run:
    conversations: dict[Place, Conversation] = field(default_factory=dict)
    messages: dict[tuple[str, str], Message] = field(default_factory=dict)
    conflicts: list[Send] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)
    pages: dict[Place, list[Page]] = field(default_factory=lambda: defaultdict(list))
    receipts: list[Receipt] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    inbound: list[Inbound] = field(default_factory=list)
    delivered: list[Delivered] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    quiesced: list[Quiesced] = field(default_factory=list)

    def add(self, operation: Operation) -> None:
        match operation:
            case Conversation():
                self.conversations[operation.tenant, operation.conversation] = operation
            case Send():
                self._add_send(operation)
            case Page():
                self.pages[operation.tenant, operation.conversation].append(operation)
            case Receipt():
                self.receipts.append(operation)
            case Observation():
                self.observations.append(operation)
            case Inbound():
                self.inbound.append(operation)
            case Delivered():
                self.delivered.append(operation)
            case Probe():
                self.probes.append(operation)
            case Fault():
                self.faults.append(operation)
            case Quiesced():
                self.quiesced.append(operation)

    def _add_send(self, send: Send) -> None:
        if send.conflicting:
            self.conflicts.append(send)
            return
        self.sends.append(send)
        key = send.tenant, send.message_id
        message = self.messages.get(key)
        if message is None:
            message = self.messages[key] = Message(send, sent=send.sent)
        message.sent = min(message.sent, send.sent)
        if send.status == ACCEPTED and send.seq is not None:
            message.answers.add(send.seq)
            message.answered = min(send.answered, message.answered or send.answered)

    @property
    def at_rest(self) -> bool:
        """Else what is not there yet may only be late, and I10 is broken."""
        return not any(one.unfinished for one in self.quiesced)

    def accepted(self) -> Iterator[Message]:
        return (message for message in self.messages.values() if message.answers)

    def whole(self, place: Place, reader: str) -> list[Item] | None:
        """The timeline as ``reader`` saw it at the end, or None if it was not read."""
        pages = [page for page in self.pages[place] if page.final and page.reader == reader]
        if not pages:
            return None
        return [item for page in sorted(pages, key=lambda page: page.since) for item in page.items]

"""
What the clients of a run did and saw: one operation a line of JSON, written by the clients alone.

The checker judges a run by this and by nothing else (reliability.md 4.5). Times are seconds of the recorder's
monotonic clock: ``sent`` before the first byte of the request left, ``answered`` when the answer was whole.
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct


def now() -> float:
    return time.monotonic()


class Conversation(Struct, frozen=True, tag="conversation"):
    """It was created with these members, who stay for the whole run."""

    tenant: str
    conversation: str
    members: tuple[str, ...]


class Target(Struct, frozen=True):
    """A recipient who is reached on a provider's channel."""

    recipient: str
    channel: str
    address: str


class Send(Struct, frozen=True, omit_defaults=True, tag="send", gc=False):
    """
    One attempt to send; attempts with one message_id are the same message unless ``conflicting``.

    ``n`` counts a sender's messages. ``status`` is that of HTTP, 0 when the answer was lost.
    ``intended`` is when the schedule wanted it sent; latency is measured from there.
    """

    tenant: str
    conversation: str
    sender: str
    n: int
    message_id: str
    text: str
    intended: float
    sent: float
    answered: float
    status: int
    seq: int | None = None
    conflicting: bool = False
    targets: tuple[Target, ...] = ()


class Item(Struct, frozen=True, array_like=True, gc=False):
    """A message as a reader saw it; ``text`` is None for what has none (a system message)."""

    seq: int
    message_id: str
    sender: str
    text: str | None


class Page(Struct, frozen=True, tag="page"):
    """
    A reader asked for the messages after ``since``, at most ``limit``.

    ``final`` pages were read after the run had quiesced; together they are the whole timeline.
    """

    tenant: str
    conversation: str
    reader: str
    since: int
    limit: int
    sent: float
    answered: float
    items: tuple[Item, ...]
    final: bool = False


class Receipt(Struct, frozen=True, tag="receipt"):
    """``reader`` told the platform that everything up to ``seq`` was read."""

    tenant: str
    conversation: str
    reader: str
    seq: int
    sent: float
    answered: float
    status: int


class Observation(Struct, frozen=True, tag="observation"):
    """Somebody asked how far one delivery had come."""

    tenant: str
    message_id: str
    recipient: str
    channel: str
    status: str
    sent: float
    answered: float
    final: bool = False


class Inbound(Struct, frozen=True, tag="inbound"):
    """One attempt of a provider to tell us of a customer's message, known by its provider_message_id."""

    tenant: str
    conversation: str
    channel: str
    address: str
    provider_message_id: str
    text: str
    sent: float
    answered: float
    status: int


class Delivered(Struct, frozen=True, tag="delivered"):
    """What the simulator of a provider shows a person; it was the ``n``-th call it took."""

    channel: str
    address: str
    text: str
    provider_message_id: str
    n: int


class Probe(Struct, frozen=True, tag="probe"):
    """A tenant asked for something of another tenant and got ``status`` and ``body``."""

    tenant: str
    owner: str
    path: str
    status: int
    body: str


class Fault(Struct, frozen=True, tag="fault"):
    """Something was done to the platform at ``at``; it was ready again at ``ready`` (None: it was not)."""

    kind: str
    at: float
    ready: float | None = None


class Quiesced(Struct, frozen=True, tag="quiesced"):
    """After the last fault it took ``seconds`` until nothing was ``unfinished``, or patience ended."""

    seconds: float
    unfinished: int
    detail: str = ""


Operation = Conversation | Send | Page | Receipt | Observation | Inbound | Delivered | Probe | Fault | Quiesced
Invariant = Literal["I1", "I2", "I3", "I4", "I5", "I7", "I8", "I10", "answer"]


def write(path: Path, operations: Iterable[Operation]) -> None:
    """Write a history as JSON lines."""
    encode = msgspec.json.Encoder().encode
    with path.open("wb") as file:
        for operation in operations:
            file.write(encode(operation) + b"\n")


def read(path: Path) -> Iterator[Operation]:
    """
    Read what ``write`` wrote.

    Raises:
        msgspec.ValidationError: a line is no operation.
    """
    decode = msgspec.json.Decoder(Operation).decode
    with path.open("rb") as file:
        for line in file:
            yield decode(line)

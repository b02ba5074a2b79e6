"""
What to do with the row at the head of a mailbox, and what its provider call has changed (design.md 4).

A row is taken by compare-and-set from what was read to ``sending``; whoever takes it calls the provider once.
A lease that ran out in ``sending`` means that the caller died: nobody knows whether the provider was asked, so
the row becomes uncertain, like a call whose answer was lost.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from shared.domain.backoff import pause
from shared.domain.errors import Busy, ChannelError, Rejected


class State(StrEnum):
    PENDING = "pending"
    SENDING = "sending"
    WAITING = "waiting"
    UNCERTAIN = "uncertain"
    SENT = "sent"
    FAILED = "failed"


FINISHED = frozenset({State.SENT, State.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A mailbox row: one message to one address, behind those with a lower seq."""

    seq: int
    delivery_id: str
    message_id: str
    recipient: str
    state: State = State.PENDING
    tries: int = 0
    attempt: int = 1
    part: int = 0
    until: datetime | None = None
    text_hash: str | None = None

    @property
    def finished(self) -> bool:
        return self.state in FINISHED


@dataclass(frozen=True, slots=True)
class Call:
    """Take the row to ``item`` and ask the provider."""

    item: Item


@dataclass(frozen=True, slots=True)
class Doubt:
    """The one who was sending died: take the row to ``item`` and wait for the correlator."""

    item: Item


@dataclass(frozen=True, slots=True)
class Leave:
    """Nothing to do before ``until``; the wake-up for it is written already."""

    until: datetime


def next_step(item: Item, now: datetime, *, lease: timedelta, uncertain_wait: timedelta) -> Call | Doubt | Leave:
    """What to do with the lowest unfinished row."""
    if item.until is not None and item.until > now:
        return Leave(item.until)
    if item.state is State.SENDING:
        return Doubt(replace(item, state=State.UNCERTAIN, until=now + uncertain_wait))
    return Call(replace(item, state=State.SENDING, tries=item.tries + 1, until=now + lease))


def sent(item: Item, parts: int) -> Item:
    """After the provider took a part: on to the next one, or done."""
    part = item.part + 1
    if part < parts:
        return replace(item, part=part, state=State.PENDING, tries=0, until=None, text_hash=None)
    return replace(item, part=part, state=State.SENT, until=None, text_hash=None)


def not_sent(item: Item, error: ChannelError, now: datetime, *, uncertain_wait: timedelta, text_hash: str) -> Item:
    """After the provider said no, said later, or nothing."""
    match error:
        case Rejected():
            return replace(item, state=State.FAILED, until=None)
        case Busy(retry_after=asked):
            planned = pause(item.tries, item.delivery_id)
            if planned is None:
                return replace(item, state=State.FAILED, until=None)
            return replace(item, state=State.WAITING, until=now + max(planned, asked or timedelta()))
        case _:
            if pause(item.tries, item.delivery_id) is None:
                return replace(item, state=State.FAILED, until=None)
            return replace(item, state=State.UNCERTAIN, until=now + uncertain_wait, text_hash=text_hash)

"""
Open-loop load: messages at a constant rate, whether or not the platform keeps up.

Latency counts from when the schedule wanted a message sent, so a platform that stalls is charged for all that
waited (no coordinated omission). Senders and conversations take turns; one process, one event loop.
"""

import asyncio
import contextlib
import gc
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from shared.testing.history import Conversation, Page, Send, now
from shared.testing.http1 import Answer, Client
from shared.testing.tenant import PAGE, Tenant

TEXT = "x" * 70


@dataclass(frozen=True, slots=True)
class Room:
    """A conversation as the load uses it: its first member writes."""

    tenant: Tenant
    conversation: str
    members: tuple[str, ...]
    channels: tuple[str, ...] = ()
    """That its messages name; in the app without."""

    @property
    def created(self) -> Conversation:
        return Conversation(self.tenant.name, self.conversation, self.members)


async def whole_history(room: Room) -> list[Page]:
    """
    Everything in the conversation, as its last member reads it.

    Raises:
        RuntimeError: it cannot be read.
    """
    pages: list[Page] = []
    since = 0
    while True:
        sent = now()
        status, items = await room.tenant.page(room.conversation, room.members[-1], since=since)
        if status != 200:
            raise RuntimeError(f"history of {room.conversation} answered {status}")
        pages.append(
            Page(
                tenant=room.tenant.name,
                conversation=room.conversation,
                reader=room.members[-1],
                since=since,
                limit=PAGE,
                sent=sent,
                answered=now(),
                items=items,
                final=True,
            )
        )
        if len(items) < PAGE:
            return pages
        since = items[-1].seq


@dataclass(slots=True)
class Step:
    """What came of one rate held for a while. Seconds."""

    rate: float
    seconds: float
    sends: list[Send] = field(default_factory=list)
    unanswered: int = 0
    drained: float = 0.0
    """How long the last answers took to come after the schedule had ended."""

    @property
    def accepted(self) -> list[Send]:
        return [send for send in self.sends if send.status == 202]

    def latencies(self) -> list[float]:
        """Of the accepted, from the intended time, ascending."""
        return sorted(send.answered - send.intended for send in self.sends if send.status == 202)

    def lateness(self) -> list[float]:
        """How late the generator itself was, ascending: a measure of the measuring."""
        return sorted(send.sent - send.intended for send in self.sends)


def percentile(ascending: Sequence[float], part: float) -> float:
    """
    The nearest-rank percentile, NaN of nothing.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 0.5)
    2.0
    """
    if not ascending:
        return float("nan")
    return ascending[max(0, min(len(ascending) - 1, round(part * len(ascending)) - 1))]


class MessageIds:
    """Version 4 UUIDs from a seed, at a fraction of uuid4's cost."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)

    def __call__(self) -> str:
        bits = self._random.getrandbits(128)
        digits = f"{bits & ~(0xF << 76) & ~(0x3 << 62) | (0x4 << 76) | (0x2 << 62):032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


async def open_loop(
    client: Client,
    rooms: Sequence[Room],
    *,
    rate: float,
    seconds: float,
    ids: MessageIds,
    patience: float = 10.0,
    length: int = 0,
    on_accepted: Callable[[Room, Send], None] | None = None,
) -> Step:
    """
    Send ``rate`` messages a second for ``seconds``, then wait for the answers, ``patience`` at most.

    Args:
        length: of the texts, in characters; 0: about 80.
    """
    step = Step(rate, seconds)
    total = int(rate * seconds)
    clock = time.monotonic
    numbers = [0] * len(rooms)
    waiting = 0
    everything_sent, drained = False, asyncio.Event()

    def send(at: int, intended: float) -> None:
        nonlocal waiting
        place = at % len(rooms)
        room = rooms[place]
        numbers[place] += 1
        n, message_id = numbers[place], ids()
        text = f"{room.tenant.name} {n} {TEXT}"
        if length:
            text = text.ljust(length, "x")[:length]
        sender = room.members[0]

        def done(answer: Answer) -> None:
            nonlocal waiting
            waiting -= 1
            if everything_sent and not waiting:
                drained.set()
            answered = clock()
            seq = answer.json()["seq"] if answer.status == 202 else None
            record = Send(
                room.tenant.name,
                room.conversation,
                sender,
                n,
                message_id,
                text,
                intended,
                sent,
                answered,
                answer.status,
                seq,
            )
            step.sends.append(record)
            if on_accepted is not None and seq is not None:
                on_accepted(room, record)

        waiting += 1
        sent = clock()
        client.send(
            room.tenant.sending(
                message_id=message_id,
                conversation=room.conversation,
                sender=sender,
                text=text,
                channels=room.channels,
            ),
            done,
        )

    gc.collect()
    gc.freeze()
    began = clock()
    sent_so_far = 0
    while sent_so_far < total:
        due = min(total, int((clock() - began) * rate) + 1)
        while sent_so_far < due:
            send(sent_so_far, began + sent_so_far / rate)
            sent_so_far += 1
        await asyncio.sleep(max(0.001, began + sent_so_far / rate - clock()))
    ended = clock()
    everything_sent = True
    if waiting:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(drained.wait(), patience)
    step.drained = clock() - ended
    step.unanswered = waiting
    return step


async def closed_loop(
    client: Client, requests: Callable[[], bytes], *, workers: int, seconds: float
) -> tuple[int, float]:
    """
    As fast as ``workers`` can that each wait for their answer.

    Returns: how many were answered with 2xx, and the seconds it took.
    """
    good = 0
    clock = time.monotonic
    began = clock()
    until = began + seconds
    finished = asyncio.Event()
    running = workers

    def again(answer: Answer) -> None:
        nonlocal good, running
        good += 200 <= answer.status < 300
        if clock() < until:
            client.send(requests(), again)
            return
        running -= 1
        if not running:
            finished.set()

    for _ in range(workers):
        client.send(requests(), again)
    await finished.wait()
    return good, clock() - began

"""
Who listens in a benchmark: a socket for each receiver, judged frame by frame.

Every conversation must come to every receiver as 1, 2, 3 …; what does not is a fault with a name. Acknowledgements go
out as a client's would: the newest number of each conversation, a few times a second.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

import orjson

from shared.testing.sockets import NotOpened, Socket

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Place:
    """How somebody gets their socket."""

    user: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def by_token(cls, user: str, token: str) -> "Place":
        return cls(user, "/ws", {"authorization": f"Bearer {token}"})

    @classmethod
    def by_name(cls, user: str) -> "Place":
        """As the bare server has it."""
        return cls(user, f"/ws?user={quote(user)}")


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message at one receiver; ``at`` is monotonic seconds."""

    user: str
    conversation: str
    seq: int
    message_id: str
    at: float


@dataclass(slots=True, eq=False)
class Audience:
    """All receivers on one port. ``arrivals`` and ``faults`` are theirs together."""

    port: int
    arrivals: list[Arrival] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    faulty: int = 0
    frames: Counter[str] = field(default_factory=Counter)
    """Other frames, by type."""
    receivers: dict[str, "Receiver"] = field(default_factory=dict)
    _acknowledging: asyncio.Task[None] | None = None

    async def join(self, places: Sequence[Place], *, at_once: int = 64, patience: float = 60.0) -> list[float]:
        """
        Open a socket for each, and wait until it is ready. Who was here before goes on where it was.

        Returns: the seconds that each took from the moment this began, or its turn when that came later, ascending.

        Raises:
            NotOpened, OSError: a socket could not be had.
            TimeoutError: somebody was not ready in time.
        """
        turns = asyncio.Semaphore(at_once)

        async def join(place: Place) -> float:
            async with turns:
                began = time.monotonic()
                receiver = self.receivers.setdefault(place.user, Receiver(self, place))
                async with asyncio.timeout(patience):
                    await receiver.open()
                return time.monotonic() - began

        return sorted(await asyncio.gather(*(join(place) for place in places)))

    def lacking(self, heads: Mapping[str, int], members: Mapping[str, Sequence[str]]) -> int:
        """Messages up to ``heads`` that have not come to a receiver among ``members``."""
        return sum(
            max(0, head - self.receivers[user].heads.get(conversation, 0))
            for conversation, head in heads.items()
            for user in members[conversation]
            if user in self.receivers
        )

    def fault(self, what: str) -> None:
        self.faulty += 1
        if len(self.faults) < _SHOWN:
            self.faults.append(what)

    def acknowledge_every(self, seconds: float) -> None:
        self._acknowledging = asyncio.get_running_loop().create_task(self._acknowledge(seconds))

    async def _acknowledge(self, seconds: float) -> None:
        """Receivers take turns, so that it is a flow and no burst."""
        while True:
            everybody = list(self.receivers.values())
            slices = max(1, round(seconds / 0.02))
            for part in range(slices):
                for receiver in everybody[part::slices]:
                    receiver.acknowledge()
                await asyncio.sleep(seconds / slices)

    def cut(self) -> None:
        """All connections break at once."""
        for receiver in self.receivers.values():
            receiver.cut()

    async def leave(self) -> None:
        if self._acknowledging is not None:
            self._acknowledging.cancel()
        self.cut()
        await asyncio.sleep(0)


class Receiver:
    """One user on one device; ``heads`` says how far it has come in each conversation."""

    __slots__ = ("_acknowledged", "_audience", "_leaving", "_place", "_ready", "_socket", "heads")

    def __init__(self, audience: Audience, place: Place) -> None:
        self._audience, self._place = audience, place
        self._socket: Socket | None = None
        self._ready: asyncio.Future[None] | None = None
        self._leaving = False
        self._acknowledged: dict[str, int] = {}
        self.heads: dict[str, int] = {}

    async def open(self) -> None:
        self._leaving = False
        self._ready = asyncio.get_running_loop().create_future()
        self._socket = await Socket.open(
            self._audience.port, self._place.path, headers=self._place.headers, heard=self._heard, lost=self._lost
        )
        await self._ready

    def acknowledge(self) -> None:
        if self._socket is None:
            return
        for conversation, seq in self.heads.items():
            if self._acknowledged.get(conversation, 0) < seq:
                self._acknowledged[conversation] = seq
                self._socket.send(orjson.dumps({"type": "ack", "conversation_id": conversation, "seq": seq}))

    def cut(self) -> None:
        self._leaving = True
        if self._socket is not None:
            self._socket.abort()
            self._socket = None

    def _heard(self, text: bytes) -> None:
        at = time.monotonic()
        frame = orjson.loads(text)
        kind = frame["type"]
        if kind != "message":
            self._other(kind, frame)
            return
        conversation, seq = frame["conversation_id"], frame["seq"]
        head = self.heads.get(conversation, 0)
        if seq == head + 1:
            self.heads[conversation] = seq
        elif seq <= head:
            self._audience.fault(f"{self._place.user} got {conversation} {seq} again, after {head}")
        else:
            self._audience.fault(f"{self._place.user} got {conversation} {seq} after {head}")
            self.heads[conversation] = seq
        self._audience.arrivals.append(Arrival(self._place.user, conversation, seq, frame["message_id"], at))

    def _other(self, kind: str, frame: dict[str, object]) -> None:
        self._audience.frames[kind] += 1
        if kind == "ping" and self._socket is not None:
            self._socket.send(b'{"type":"pong"}')
        elif kind == "ready" and self._ready is not None and not self._ready.done():
            self._ready.set_result(None)
        elif kind == "error":
            self._audience.fault(f"{self._place.user} was told {frame}")

    def _lost(self, code: int) -> None:
        self._socket = None
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(NotOpened(f"closed with {code}"))
        elif not self._leaving:
            self._audience.fault(f"the socket of {self._place.user} was closed with {code}")

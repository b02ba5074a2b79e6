"""One open socket or stream of a user: a device."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from functions.realtime.outgoing import Outgoing, said
from shared.domain.rate_limit import Quota
from shared.http.tickets import Admission

GOING_AWAY, TRY_AGAIN = 1012, 1013
MALFORMED, UNAUTHENTICATED, FORBIDDEN, SILENT, TOO_MANY = 4400, 4401, 4403, 4410, 4429
"""How sockets are closed; 4408, too slow, is the socket's own (``shared.http.live_socket``)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """reliability.md 5.5. ``origins``, normal: pages that may open sockets beside those of this host; "*": all."""

    origins: frozenset[str] = frozenset()
    connections: int = 10
    """Of one user at one gateway."""
    unproven: int = 50
    """Sockets of one address at one gateway that have not said yet whose they are."""
    frames_per_second: int = 20
    """That a client may send; further ones wait."""
    heartbeat: float = 25.0
    """Seconds between pings; who answers neither of two is gone."""
    patience: float = 0.05
    """Seconds that a frame which was overtaken is waited for before it is read from the timeline."""

    @property
    def quota(self) -> Quota:
        return Quota(self.frames_per_second, window=1)


class Wire(Protocol):
    """What a session writes on. Nothing here waits, but ``drained``."""

    def write(self, frame: Outgoing) -> bool:
        """False: it is closed, or was cut now because its reader is too slow."""
        ...

    def ping(self, frame: Outgoing) -> bool:
        """Whether an answer is to be waited for."""
        ...

    async def drained(self) -> None:
        """Returns once little waits to be read, or it is closed."""
        ...

    def end(self, code: int, reason: str) -> None: ...


class Person:
    """A user with sockets here. ``standing``: conversations that they are in, or were until now, and since when."""

    __slots__ = ("heard_since", "looked", "opening", "sessions", "standing", "subject", "tenant", "user_id")

    def __init__(self, tenant: str, user_id: str, subject: str, *, looked: int) -> None:
        self.tenant, self.user_id, self.subject = tenant, user_id, subject
        self.sessions: set[Session] = set()
        self.standing: dict[str, tuple[bool, float]] = {}
        self.opening: asyncio.Task[None] | None = None
        self.heard_since = 0
        self.looked = looked

    def is_in(self, conversation_id: str) -> bool:
        return self.standing.get(conversation_id, (False, 0))[0]

    @property
    def conversations(self) -> list[str]:
        return [conversation_id for conversation_id, (member, _) in self.standing.items() if member]


class Session:
    """``heard_at``: the hub's tick of its last sign of life; ``unanswered``: pings since then."""

    __slots__ = (
        "admission",
        "even",
        "heard_at",
        "open",
        "person",
        "replaying",
        "slot",
        "started",
        "unanswered",
        "warned",
        "wire",
    )

    def __init__(self, admission: Admission, person: Person, wire: Wire, slot: int) -> None:
        self.admission, self.person, self.wire, self.slot = admission, person, wire, slot
        self.open = True
        self.started = False
        self.warned = False
        self.heard_at = 0
        self.unanswered = 0
        self.even: int | None = None
        self.replaying = asyncio.Lock()

    def write(self, frame: Outgoing) -> bool:
        return self.open and self.wire.write(frame)

    def end(self, code: int, reason: str) -> None:
        """Say why, and close; the socket's own task cleans up."""
        if self.open:
            self.wire.write(said("error", code=_NAMES.get(code, "closed"), detail=reason))
            self.open = False
            self.wire.end(code, reason)


_NAMES = {
    GOING_AWAY: "going-away",
    TRY_AGAIN: "unavailable",
    MALFORMED: "malformed",
    UNAUTHENTICATED: "unauthenticated",
    FORBIDDEN: "forbidden",
    SILENT: "silent",
    TOO_MANY: "quota-exceeded",
}

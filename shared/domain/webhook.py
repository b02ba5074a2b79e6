"""
Webhooks: what may be subscribed to, what is told, and the life of one delivery (D1, D2, D3; reliability.md 1.5).

A delivery is one event for one webhook; a try is one request of it.

             CAS, lease                2xx
 pending ────────────────► sending ──────────────────────────────────► delivered
 waiting ────────────────►    │   tries used up, 410, "no more", webhook gone or off ► failed
    ▲                         │   anything else: until its pause is over
    └─────────────────────────┘   (a lease that ran out: its taker died, it is taken again)
"""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from shared.domain.backoff import pause
from shared.domain.errors import FieldError, Invalid

EVERYTHING = "*"
SUBSCRIBABLE = (
    "message.accepted",
    "message.received",
    "message.sent",
    "message.delivered",
    "message.read",
    "message.failed",
    "conversation.created",
    "file.ready",
    "file.rejected",
)
"""Names of events; and all that begin with ``ticket.``. Tickets may be asked for before there are any."""

SCHEDULE = tuple(timedelta(seconds=seconds) for seconds in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400))
"""Pauses after the first, second … try that failed: ten tries in about 76 hours (Standard Webhooks)."""

LARGEST_BODY = 20_000
"""Bytes; a message whose payload would make more of it is told without (Standard Webhooks: keep it small)."""

OVERLOADED = timedelta(seconds=75)
"""
The shortest step after an answer that says, or shows, that the receiver cannot keep up: with its spread a minute at
least (Standard Webhooks).
"""

LONGEST_WAIT = timedelta(hours=24)
"""What a receiver may ask for by Retry-After."""

_ENTITIES = (*dict.fromkeys(name.partition(".")[0] for name in SUBSCRIBABLE), "ticket")
_TICKET = re.compile(r"ticket\.[a-z_]{1,40}\Z")
_TYPE = re.compile(r"chat4all\.(.+)\.v\d+\Z")
_GONE = 410
_OVERLOADED = (429, 502, 504)


def name_of(kind: str) -> str:
    """
    What subscribers call an event type.

    >>> name_of("chat4all.message.delivered.v1")
    'message.delivered'
    """
    matched = _TYPE.match(kind)
    assert matched is not None, kind
    return matched[1]


def check_events(names: Sequence[str]) -> frozenset[str]:
    """
    The names, each of which is an event's, ``message.*`` or the like, or ``*``.

    Raises:
        Invalid: with a pointer to each that is not.
    """
    errors: list[FieldError] = [
        {"pointer": f"/events/{n}", "detail": f"there are {', '.join(SUBSCRIBABLE)}, ticket.*, message.* and *"}
        for n, name in enumerate(names)
        if not _is_event(name)
    ]
    if errors:
        raise Invalid(errors=errors)
    return frozenset(names)


def _is_event(name: str) -> bool:
    known = name in SUBSCRIBABLE or name == EVERYTHING or _TICKET.match(name) is not None
    return known or (name.endswith(".*") and name[:-2] in _ENTITIES)


def wants(events: Collection[str], name: str) -> bool:
    """
    >>> [wants(frozenset(events), "message.read") for events in (["*"], ["message.*"], ["message.read"], ["file.*"])]
    [True, True, True, False]
    """
    return name in events or EVERYTHING in events or f"{name.partition('.')[0]}.*" in events


@dataclass(frozen=True, slots=True)
class WebhookPolicy:
    """How webhooks are called, for the whole installation."""

    schedule: Sequence[timedelta] = SCHEDULE
    timeout: timedelta = timedelta(seconds=15)
    """For one try, from the look-up of the name to the end of the answer."""
    at_once: int = 100
    """Tries at once in one process, of all webhooks: as many as it may have events under way."""
    in_flight: int = 10
    """Tries of one webhook at once, in one process: a receiver that hangs takes no more of us."""
    disable_after: timedelta = timedelta(days=5)
    """A webhook of which nothing has worked for so long is switched off."""

    @property
    def lease(self) -> timedelta:
        """How long a delivery is its taker's: longer than a try and what comes before and after it."""
        return self.timeout + timedelta(seconds=5)

    @property
    def promise(self) -> timedelta:
        """After how long a delivery that nobody finished is looked at again."""
        return 2 * self.lease


def schedule_of(text: str) -> tuple[timedelta, ...]:
    """
    Seconds, separated by commas.

    >>> schedule_of("5, 300")
    (datetime.timedelta(seconds=5), datetime.timedelta(seconds=300))

    Raises:
        ValueError: it is something else.
    """
    schedule = tuple(timedelta(seconds=float(part)) for part in text.split(",") if part.strip())
    if any(step <= timedelta() for step in schedule):
        raise ValueError("pauses are seconds above zero, separated by commas")
    return schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A subscription. ``keys`` sign, the newest first; ``version`` grows with every change."""

    webhook_id: str
    url: str
    events: frozenset[str]
    description: str | None
    enabled: bool
    created_at: datetime
    updated_at: datetime
    keys: tuple["Key", ...] = field(repr=False)
    disabled_reason: str | None = None
    """``gone``: it answered 410; ``failing``: nothing worked for days; None: a person did it, or it is enabled."""
    failing_since: datetime | None = None
    """The first try that failed since the last one that worked."""
    version: int = 1

    def signing(self, now: datetime) -> list[str]:
        """The keys that sign now: the newest, and replaced ones whose time is not over."""
        return [key.secret for key in self.keys if key.until is None or now < key.until]


@dataclass(frozen=True, slots=True)
class Key:
    """``until``: it was replaced and signs no longer than that."""

    secret: str = field(repr=False)
    until: datetime | None = None


Change = Callable[[Webhook], Webhook]

MAX_OLD_KEYS = 10


def rotated(keys: Sequence[Key], secret: str, until: datetime) -> tuple[Key, ...]:
    """The keys with a new one in front; those before sign until ``until``, and no longer than they would have."""
    old = [replace(key, until=until if key.until is None else min(key.until, until)) for key in keys]
    return (Key(secret), *old[:MAX_OLD_KEYS])


class State(StrEnum):
    PENDING = "pending"
    SENDING = "sending"
    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """
    ``due_at`` is when the due list wakes it, if nothing happens before; ``version`` grows with every change.

    ``notification_id`` names the event to the receiver: the same for every try, every webhook and every replay.
    """

    delivery_id: str
    webhook_id: str
    notification_id: str
    type: str
    body: bytes
    created_at: datetime
    due_at: datetime
    state: State = State.PENDING
    tries: int = 0
    """Since the beginning, or since the last replay: what the schedule counts."""
    made: int = 0
    """Since the beginning: the number of the last try."""
    until: datetime | None = None
    """sending: the lease; waiting: when to go on."""
    status_code: int | None = None
    reason: str | None = None
    finished_at: datetime | None = None
    version: int = 1

    @property
    def finished(self) -> bool:
        return self.state in (State.DELIVERED, State.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one request came to; ``problem`` says why there is no ``status_code``: timeout, forbidden_address, …"""

    status_code: int | None = None
    problem: str | None = None
    retry_after: str | None = None
    """The header, as it came."""
    abort: bool = False
    """The receiver wants no more tries of this one (``webhook-delivery: abort-message``)."""
    excerpt: str = ""
    """The beginning of the body."""
    truncated: bool = False
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return self.status_code is not None and 200 <= self.status_code < 300

    @property
    def gone(self) -> bool:
        return self.status_code == _GONE

    @property
    def overloaded(self) -> bool:
        return self.status_code in _OVERLOADED or self.problem == "timeout"

    @property
    def outcome(self) -> str:
        """
        >>> Answer(status_code=204).outcome, Answer(status_code=500).outcome, Answer(problem="timeout").outcome
        ('delivered', 'refused', 'timeout')
        """
        return self.problem or ("delivered" if self.ok else "refused")


_CLOCKS = timedelta(seconds=2)
"""How far the clock of whoever wakes may be ahead of ours: what is woken a little early is not sent away."""


def may_be_taken(delivery: Delivery, now: datetime) -> bool:
    """Whether it is time for a try: not finished, and neither being sent nor told to wait."""
    if delivery.finished or delivery.until is None:
        return not delivery.finished
    early = _CLOCKS if delivery.state is State.WAITING else timedelta()
    return delivery.until <= now + early


def taken(delivery: Delivery, now: datetime, policy: WebhookPolicy, due_at: datetime) -> Delivery:
    return replace(
        delivery,
        state=State.SENDING,
        tries=delivery.tries + 1,
        made=delivery.made + 1,
        until=now + policy.lease,
        due_at=due_at,
    )


def put_off(delivery: Delivery, opens_at: datetime, now: datetime, policy: WebhookPolicy) -> Delivery:
    """
    Not tried, for the receiver is given a rest: a step of the schedule all the same, so that a heap that waits for
    one who is down does not come back every few minutes. Never the last one: who gives up has tried.
    """
    step = min(delivery.tries + 1, len(policy.schedule))
    wait = pause(step, delivery.delivery_id, policy.schedule) if step else None
    until = max(opens_at, now + (wait or timedelta()))
    return replace(delivery, state=State.WAITING, tries=step, until=until, due_at=until, reason="resting")


def ended(delivery: Delivery, answer: Answer, now: datetime, policy: WebhookPolicy) -> Delivery:
    """The delivery after a try that was answered so; ``due_at`` of one that waits is when it goes on."""
    known = replace(delivery, status_code=answer.status_code, until=None)
    if answer.ok:
        return replace(known, state=State.DELIVERED, reason=None, finished_at=now)
    reason = answer.problem or f"status {answer.status_code}"
    if answer.gone or answer.abort:
        return given_up(known, "gone" if answer.gone else "the receiver wants no more of it", now)
    schedule = policy.schedule
    if answer.overloaded and schedule:
        schedule = [max(step, min(OVERLOADED, max(schedule))) for step in schedule]
    wait = pause(delivery.tries, delivery.delivery_id, schedule)
    if wait is None:
        return given_up(known, reason, now)
    asked = asked_wait(answer.retry_after, now) if answer.retry_after else None
    until = now + max(wait, asked or wait)
    return replace(known, state=State.WAITING, until=until, due_at=until, reason=reason)


def given_up(delivery: Delivery, reason: str, now: datetime) -> Delivery:
    return replace(delivery, state=State.FAILED, until=None, reason=reason, finished_at=now)


def replayed(delivery: Delivery, due_at: datetime) -> Delivery:
    """From the beginning of the schedule, under the same notification_id."""
    return replace(delivery, state=State.PENDING, tries=0, until=None, due_at=due_at, reason=None, finished_at=None)


def asked_wait(header: str, now: datetime) -> timedelta | None:
    """
    What Retry-After asks for (RFC 9110, 10.2.3), at most ``LONGEST_WAIT``; None when it cannot be read.

    >>> now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    >>> asked_wait("120", now), asked_wait("Sat, 21 Nov 2026 12:01:00 GMT", now), asked_wait("soon", now)
    (datetime.timedelta(seconds=120), datetime.timedelta(seconds=60), None)
    """
    if header.isdecimal():
        wait = timedelta(seconds=min(int(header[:9]), 10**9))
    else:
        from email.utils import parsedate_to_datetime  # rare, and slow to import

        try:
            at = parsedate_to_datetime(header)
        except (ValueError, OverflowError):  # a zone of 10**9 hours
            return None
        wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
    return min(max(wait, timedelta()), LONGEST_WAIT)


def failing_since(webhook: Webhook, now: datetime, policy: WebhookPolicy) -> datetime:
    """
    Since when nothing has worked, a try having failed now. What failed long ago is forgiven: one event in a month
    must not switch a webhook off.
    """
    since = webhook.failing_since
    return now if since is None or now - since > 2 * policy.disable_after else since


def names(events: Iterable[str]) -> list[str]:
    """In the order in which they are shown."""
    return sorted(events)

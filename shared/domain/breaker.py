"""
The circuit breaker of one channel account, as a pure state (design.md 5; M. Nygard, Release It!).

Closed: calls go through. After ``THRESHOLD`` failures in a row, of several recipients, it is open: mailboxes wait.
When the pause is over one call is let through (half-open): its success closes the breaker, its failure opens it for
longer.
"""

from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct, structs

THRESHOLD = 5
RECIPIENTS = 3
"""So many different people's calls must have failed: one broken recipient is not a broken provider."""
REMEMBERED = 20
SECOND_CHANCE = timedelta(seconds=10)
FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=5)


class Breaker(Struct, frozen=True, kw_only=True):
    failures: int = 0
    opened: int = 0  # times in a row that it opened
    until: datetime | None = None
    recipients: tuple[int, ...] = ()
    """Whose calls failed since the last that worked; by a number that names nobody."""
    trying: int | None = None
    """Whose call was let through half-open."""

    def state(self, now: datetime) -> Literal["closed", "open", "half-open"]:
        if self.until is None:
            return "closed"
        return "open" if now < self.until else "half-open"


def let_through(breaker: Breaker, now: datetime, *, who: int) -> Breaker:
    """The state after one call was let through half-open: nobody else goes until it is known how it went."""
    return structs.replace(breaker, until=now + FIRST_PAUSE, trying=who)


def succeeded(_: Breaker) -> Breaker:
    return Breaker()


def may_try(breaker: Breaker, who: int, now: datetime) -> bool:
    """
    Whether this recipient's call may be the one that a half-open breaker lets through.

    Those whose calls failed come second: a recipient who is broken alone must not keep an account closed.
    """
    return who not in breaker.recipients or breaker.until is None or now >= breaker.until + SECOND_CHANCE


def failed(breaker: Breaker, now: datetime, *, who: int, at_once: bool = False) -> Breaker:
    """
    After a failure of the provider, not of the message; ``at_once`` when the account itself is broken.

    One recipient alone opens nothing: their mailbox waits by itself. Once it is open, only the call that was let
    through counts: many were under way when the provider fell silent, and each would double the pause.
    """
    failures = breaker.failures + 1
    recipients = tuple(dict.fromkeys((*breaker.recipients, who)))[-REMEMBERED:]
    many = failures >= THRESHOLD and len(recipients) >= RECIPIENTS
    if not at_once and not many and breaker.until is None:
        return structs.replace(breaker, failures=failures, recipients=recipients)
    if not at_once and breaker.until is not None and who != breaker.trying:
        return structs.replace(breaker, failures=failures, recipients=recipients)
    longer = FIRST_PAUSE * (2 ** min(breaker.opened, 10))
    return Breaker(
        failures=failures,
        opened=breaker.opened + 1,
        until=now + min(longer, LONGEST_PAUSE),
        recipients=recipients,
    )

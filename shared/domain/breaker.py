"""
The circuit breaker of one channel account, as a pure state (design.md 5; M. Nygard, Release It!).

Closed: calls go through. After ``THRESHOLD`` failures in a row it is open: the mailbox waits. When the pause
is over one call is let through (half-open): its success closes the breaker, its failure opens it for longer.
"""

from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct, structs

THRESHOLD = 5
FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=5)


class Breaker(Struct, frozen=True, kw_only=True):
    failures: int = 0
    opened: int = 0  # times in a row that it opened
    until: datetime | None = None

    def state(self, now: datetime) -> Literal["closed", "open", "half-open"]:
        if self.until is None:
            return "closed"
        return "open" if now < self.until else "half-open"


def let_through(breaker: Breaker, now: datetime) -> Breaker:
    """The state after one call was let through half-open: nobody else goes until it is known how it went."""
    return structs.replace(breaker, until=now + FIRST_PAUSE)


def succeeded(_: Breaker) -> Breaker:
    return Breaker()


def failed(breaker: Breaker, now: datetime, *, at_once: bool = False) -> Breaker:
    """After a failure of the provider, not of the message; ``at_once`` when the account itself is broken."""
    failures = breaker.failures + 1
    if not at_once and failures < THRESHOLD and breaker.until is None:
        return structs.replace(breaker, failures=failures)
    longer = FIRST_PAUSE * (2 ** min(breaker.opened, 10))
    return Breaker(failures=failures, opened=breaker.opened + 1, until=now + min(longer, LONGEST_PAUSE))

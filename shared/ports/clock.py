"""Time and fresh ids come in through ports, so that the domain is pure and tests can choose them."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """Aware UTC, whole milliseconds. Nothing depends on two clocks agreeing (design.md 12)."""
        ...


class Ids(Protocol):
    def uuid(self) -> str:
        """A fresh random UUID, lower case."""
        ...

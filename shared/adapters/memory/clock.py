"""A clock that goes when it is told to, for tests."""

from datetime import UTC, datetime, timedelta


class SettableClock:
    """The Clock port; it starts at ``at`` and stands still until ``advance``."""

    def __init__(self, at: datetime = datetime(2026, 11, 21, 12, tzinfo=UTC)) -> None:
        self._now = at

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta | float) -> None:
        """Let time pass; a number is seconds. It never goes back."""
        step = by if isinstance(by, timedelta) else timedelta(seconds=by)
        if step < timedelta(0):
            raise ValueError("time does not go back")
        moved = self._now + step
        self._now = moved.replace(microsecond=moved.microsecond // 1000 * 1000)

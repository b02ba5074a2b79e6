"""The machine's clock and its source of randomness."""

from datetime import UTC, datetime
from uuid import uuid4  # noqa: TID251  this is the Ids port


class SystemClock:
    """The Clock port; microseconds are cut off."""

    def now(self) -> datetime:
        now = datetime.now(UTC)  # noqa: TID251  this is the Clock port
        return now.replace(microsecond=now.microsecond // 1000 * 1000)


class RandomIds:
    """The Ids port."""

    def uuid(self) -> str:
        return str(uuid4())

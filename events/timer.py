"""The clock as a source of events: PingSource objects under knative/timers (design.md 12)."""

from collections.abc import Mapping
from typing import ClassVar

from events.envelope import EventData


class TimerTicked(EventData, frozen=True, kw_only=True):
    """A timer has fired; ``name`` says which, and Triggers filter on it."""

    TYPE: ClassVar[str] = "chat4all.timer.ticked.v1"

    name: str

    @property
    def partition_key(self) -> str:
        return self.name

    @property
    def subject(self) -> str:
        return self.name

    @property
    def attributes(self) -> Mapping[str, str]:
        return {"timer": self.name}

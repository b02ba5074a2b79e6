"""What subscribers are told, on its way to them."""

from typing import ClassVar, Literal

from events.envelope import EventData
from events.vocabulary import Instant


class WebhookRequested(EventData, frozen=True, kw_only=True):
    """A delivery to a webhook is to be tried: a wake-up, the truth is in its row."""

    TYPE: ClassVar[str] = "chat4all.webhook.requested.v1"

    webhook_id: str
    delivery_id: str
    wake: str = ""
    """What tells apart later wake-ups of one delivery: a due time, a replay."""

    @property
    def partition_key(self) -> str:
        return self.webhook_id

    @property
    def subject(self) -> str:
        return self.delivery_id

    @property
    def part(self) -> str:
        return f"{self.delivery_id}/{self.wake}"


class WebhookDisabled(EventData, frozen=True, kw_only=True):
    """A webhook was switched off: its receiver said that it is gone, or nothing worked for days."""

    TYPE: ClassVar[str] = "chat4all.webhook.disabled.v1"

    webhook_id: str
    reason: Literal["gone", "failing"]
    at: Instant

    @property
    def partition_key(self) -> str:
        return self.webhook_id

    @property
    def subject(self) -> str:
        return self.webhook_id

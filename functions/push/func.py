"""
push: an accepted message goes to whoever is listening right now; in-app delivery (design.md 11).

Takes chat4all.message.accepted.v1; emits nothing. Nobody listening is no failure: they read from their cursor.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from events import Event, EventData, MessageAccepted
from shared.observability import metrics
from shared.ports import FanOut, Ports
from shared.repositories.timeline import Timeline


def subject(tenant: str, conversation_id: str) -> str:
    """What a gateway subscribes to for each conversation of its users."""
    return f"{tenant}.conversation.{conversation_id}"


def decide(message: MessageAccepted) -> dict[str, Any]:
    """The frame: flat, the fields of a message in history beside its type (api.md, Real time)."""
    frame: dict[str, Any] = msgspec.to_builtins(message)
    frame["from"] = frame.pop("sender")
    frame.pop("routing", None)
    return {"type": "message", **frame}


@dataclass(frozen=True, slots=True)
class Push:
    accepts: ClassVar[tuple[type[EventData], ...]] = (MessageAccepted,)

    fan_out: FanOut
    timeline: Timeline

    async def handle(self, event: Event[MessageAccepted]) -> None:
        message = event.data
        if message.expires_at is not None:
            # Its payload is not in the event, so that the log forgets it too (A15).
            message = await self.timeline.find(event.tenant, message.message_id) or message
        frame = msgspec.json.encode(decide(message))
        await self.fan_out.publish(subject(event.tenant, message.conversation_id), frame)
        metrics.message_pushed(event.tenant)


def new(ports: Ports) -> Push:
    return Push(fan_out=ports.fan_out, timeline=Timeline(ports.tables, ports.outbox, ports.cache, ports.clock))

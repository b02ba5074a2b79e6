"""
A provider that answers as it was told, and the channel that leads to it.

What it took is kept, and what it tells us later is handed to ``told``: its report with our correlator or with its
own id only, or an echo. Everything is decided by the outcome, so that a test knows what was certain.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from pydantic import BaseModel

from events import EchoReceived, Event, EventData, StatusReported, derived_id
from events.vocabulary import Status, Text
from shared.domain.errors import Busy, ChannelError, NotFound, Rejected, Unknown
from shared.ports.channel import Channel, Inbound, Limits, Outgoing, Receipt, WebhookRequest
from shared.ports.clock import Clock

UNCERTAIN_WAIT = timedelta(seconds=60)
PARTS_OF = 12  # characters


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    One call: whether the provider ``takes`` the message, what it ``answers``, and what it ``reports`` of it.

    ``late``: reports come only after some time. ``correlated``: reports carry our correlator.
    """

    answers: Literal["ok", "rejected", "auth_broken", "busy", "unknown"] = "ok"
    takes: bool = True
    wait: int | None = None  # seconds
    reports: tuple[Status, ...] = ()
    echo: bool = False
    correlated: bool = True
    late: bool = False


@dataclass(slots=True, eq=False)
class Call:
    """``process`` made it; ``ended`` is False for ever when the process died in it."""

    process: str
    address: str
    correlator: str
    text: str
    began: datetime
    outcome: Outcome
    taken: bool = False
    ended: bool = False

    @property
    def delivery_id(self) -> str:
        return self.correlator.partition(".")[0]

    @property
    def part(self) -> int:
        return int(self.correlator.split(".")[1])


@dataclass(slots=True)
class Provider:
    """``checkpoint`` is awaited before and after the message is taken; ``on_call`` sees each call as it begins."""

    clock: Clock
    outcomes: list[Outcome]
    checkpoint: Callable[[], Awaitable[None]]
    process: Callable[[], str]
    told: Callable[[Event[Any], bool], None]
    on_call: Callable[[Call], Awaitable[None]]
    calls: list[Call] = field(default_factory=list)
    received: list[Call] = field(default_factory=list)

    async def send(self, outgoing: Outgoing) -> Receipt:
        assert isinstance(outgoing.payload, Text)
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome()
        call = Call(
            self.process(),
            outgoing.address,
            outgoing.delivery_id,
            outgoing.payload.text,
            self.clock.now(),
            outcome,
        )
        await self.on_call(call)
        self.calls.append(call)
        try:
            provider_message_id = await self._take(call)
        finally:  # also when the caller waits no longer
            call.ended = True
        return self._answer(outcome, provider_message_id)

    async def _take(self, call: Call) -> str:
        """What becomes of the message at the provider; its id there."""
        outcome = call.outcome
        await self.checkpoint()
        provider_message_id = f"pm{len(self.received) + 1}" if outcome.takes else f"no{len(self.calls)}"
        if outcome.takes:
            call.taken = True
            self.received.append(call)
        for data in self._reports(call, provider_message_id):
            reported = Event(
                id=derived_id("provider", "acme", "fake", provider_message_id, str(getattr(data, "status", "echo"))),
                source="/functions/inbound",
                tenant="acme",
                time=self.clock.now(),
                data=data,
            )
            self.told(reported, outcome.late)
        await self.checkpoint()
        return provider_message_id

    def _reports(self, call: Call, provider_message_id: str) -> list[EventData]:
        told: list[EventData] = [
            StatusReported(
                channel="fake",
                status=status,
                at=self.clock.now(),
                source="provider",
                delivery_id=call.correlator if call.outcome.correlated else "",
                provider_message_id=provider_message_id,
                account_id="us",
                reason="undeliverable" if status is Status.FAILED else None,
            )
            for status in call.outcome.reports
        ]
        if call.outcome.echo and call.taken:
            told.append(
                EchoReceived(
                    channel="fake",
                    account_id="us",
                    address=call.address,
                    provider_message_id=provider_message_id,
                    text_hash=hashlib.sha256(call.text.encode()).hexdigest(),
                    at=self.clock.now(),
                )
            )
        return told

    def _answer(self, outcome: Outcome, provider_message_id: str) -> Receipt:
        error: ChannelError
        match outcome.answers:
            case "ok":
                return Receipt(provider_message_id)
            case "rejected":
                error = Rejected("bad_recipient")
            case "auth_broken":
                error = Rejected("auth_broken")
            case "busy":
                wait = None if outcome.wait is None else timedelta(seconds=outcome.wait)
                error = Busy("rate", retry_after=wait)
            case "unknown":
                error = Unknown("uncertain")
        raise error


class _NoSettings(BaseModel):
    webhook_secret: str = "s"


def channel_to(provider: Provider) -> type[Channel]:
    class Fake:
        name: ClassVar[str] = "fake"
        limits: ClassVar[Limits] = Limits(text=PARTS_OF, uncertain_wait=UNCERTAIN_WAIT)
        Config: ClassVar[type[BaseModel]] = _NoSettings
        webhook_secret_field: ClassVar[str] = "webhook_secret"
        uncertain_wait = UNCERTAIN_WAIT

        def __init__(self, config: Any, http: Any) -> None:
            pass

        @staticmethod
        def check_address(identifier: str) -> str:
            return identifier

        async def connect(self) -> str:
            return "fake"

        async def send_message(self, outgoing: Outgoing) -> Receipt:
            return await provider.send(outgoing)

        async def send_file(self, outgoing: Outgoing) -> Receipt:
            return await provider.send(outgoing)

        def on_webhook_event(self, request: WebhookRequest) -> list[Inbound]:
            return []

    return Fake


class OneChannel:
    """The Channels port with the one channel ``fake``."""

    def __init__(self, channel: type[Channel]) -> None:
        self._channel = channel

    def names(self) -> tuple[str, ...]:
        return ("fake",)

    def type_of(self, name: str) -> type[Channel]:
        if name != "fake":
            raise NotFound(f"no channel {name!r} is installed; there are: fake")
        return self._channel

    def open(self, name: str, config: Mapping[str, Any]) -> Channel:
        return self.type_of(name)({}, None)  # type: ignore[arg-type]

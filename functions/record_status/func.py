"""
record-status: what channels and clients report becomes history, and news for whoever asked (A9, C7).

Takes chat4all.status.reported.v1, chat4all.receipt.reported.v1, chat4all.echo.received.v1; emits
chat4all.message.sent.v1, .delivered.v1, .read.v1, .failed.v1 and, when a report settles a delivery whose answer
was lost, chat4all.delivery.requested.v1 for what waits behind it; an echo that settles one becomes
chat4all.status.reported.v1.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar

from events import (
    DeliveryRequested,
    EchoReceived,
    Event,
    EventData,
    MessageAccepted,
    MessageDelivered,
    MessageFailed,
    MessageRead,
    MessageSent,
    ReceiptReported,
    StatusReported,
    derived_id,
)
from events.vocabulary import IN_APP, ReceiptKind, Status
from shared.domain.errors import Unavailable
from shared.domain.mailbox import Item, State, sent
from shared.domain.status import Report
from shared.domain.webhook import name_of
from shared.observability import metrics
from shared.observability.log import log
from shared.ports import Channels, Clock, EventSink, Ports
from shared.repositories.deliveries import Deliveries, DeliveryRecord, ProviderMessage
from shared.repositories.interest import Interest
from shared.repositories.listeners import Listeners
from shared.repositories.mailboxes import Mailbox, Mailboxes
from shared.repositories.timeline import Timeline

SOURCE = "/functions/record-status"
UNMATCHED = "a report about a message that no delivery is known for"
"""Why such a report is parked; campaigns know it by this."""
_NEWS: dict[Status, type[MessageSent | MessageDelivered | MessageRead | MessageFailed]] = {
    Status.SENT: MessageSent,
    Status.DELIVERED: MessageDelivered,
    Status.READ: MessageRead,
    Status.FAILED: MessageFailed,
}
_PROOF = frozenset({Status.SENT, Status.DELIVERED, Status.READ})
"""Statuses that only a provider which has the message can report."""
_MAY_BE_OURS = timedelta(seconds=30)
"""How long a report waits for its delivery; longer than any call lasts, shorter than redrive's first pause."""
_OF_RECEIPTS = (Status.DELIVERED, Status.READ)
"""The news that in-app receipts are made into."""
_EXPANDED = 1000
"""Messages of one receipt, the newest, that are told to webhooks: who comes back after a year has read many."""
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Part:
    """Which of how many parts of a long text."""

    number: int
    of: int


@dataclass(frozen=True, slots=True)
class Target:
    """The delivery that a report is about; ``part`` None: it is not said which."""

    record: DeliveryRecord
    attempt: int
    part: Part | None
    last_part: bool


def decide(report: StatusReported, target: Target) -> Report | None:
    """The report as history keeps it; None when it is of a piece that is not the last and is no failure."""
    if not target.last_part and report.status is not Status.FAILED:
        return None
    return Report(
        recipient=target.record.recipient,
        channel=target.record.channel,
        status=report.status,
        at=report.at,
        source=report.source,
        attempt=target.attempt,
        delivery_id=target.record.delivery_id,
        provider_message_id=report.provider_message_id or None,
        reason=report.reason,
    )


def settle(item: Item, status: Status, part: Part | None) -> Item | None:
    """The mailbox row after a report has shown how a call without an answer went; None: nothing to settle."""
    if item.finished or part is None or part.number != item.part:
        return None
    if item.state not in (State.SENDING, State.UNCERTAIN, State.WAITING):
        return None
    if status in _PROOF:
        return sent(item, part.of)
    return replace(item, state=State.FAILED, until=None) if status is Status.FAILED else None


@dataclass(frozen=True, slots=True)
class RecordStatus:
    accepts: ClassVar[tuple[type[EventData], ...]] = (StatusReported, ReceiptReported, EchoReceived)

    clock: Clock
    sink: EventSink
    channels: Channels
    timeline: Timeline
    deliveries: Deliveries
    mailboxes: Mailboxes
    interest: Interest
    listeners: Listeners

    async def handle(self, event: Event[Any]) -> None:
        match event.data:
            case StatusReported():
                await self._status(event)
            case ReceiptReported():
                await self._receipt(event)
            case EchoReceived():
                await self._echo(event)

    async def _status(self, event: Event[StatusReported]) -> None:
        reported = event.data
        if not reported.delivery_id and not reported.provider_message_id:
            await self._undeliverable(event)
            return
        target = await self._target(event.tenant, reported)
        if target is None:
            self._unmatched(event)
            return
        report = decide(reported, target)
        if reported.delivery_id and reported.provider_message_id:
            known = ProviderMessage(target.record.delivery_id, target.attempt, target.last_part)
            await self.deliveries.know_provider_message(
                event.tenant, reported.channel, reported.provider_message_id, known
            )
        if report is not None:
            kept = await self.deliveries.report(event.tenant, target.record.message_id, report)
            metrics.status_recorded(kept.channel, kept.status)
            await self._tell(event, target.record, kept)
        if reported.source != "deliver":
            await self._settle(event, target, reported.status)

    def _unmatched(self, event: Event[StatusReported]) -> None:
        """
        A report about a message that no delivery is known for: not ours, or its id is just being recorded.

        Raises:
            Unavailable: it may be ours; the broker asks again, redrive once more, and then it is let go.
        """
        reported = event.data
        foreign = not reported.delivery_id and self.channels.type_of(reported.channel).limits.correlated
        if not foreign and self.clock.now() - event.time < _MAY_BE_OURS:
            raise Unavailable(UNMATCHED)
        metrics.status_unmatched(reported.channel)
        log.info("a status of a message that is not ours", tenant=event.tenant, channel=reported.channel)

    async def _undeliverable(self, event: Event[StatusReported]) -> None:
        """A recipient who has no address on the channel: there is no delivery, only its failure."""
        reported = event.data
        report = Report(
            recipient=reported.recipient,
            channel=reported.channel,
            status=reported.status,
            at=reported.at,
            source=reported.source,
            reason=reported.reason,
        )
        kept = await self.deliveries.report(event.tenant, reported.message_id, report)
        metrics.message_failed(event.tenant, reported.channel)
        await self._emit(event, reported.message_id, reported.conversation_id, kept)

    async def _target(self, tenant: str, reported: StatusReported) -> Target | None:
        delivery_id, part = _correlated(reported.delivery_id)
        attempt, last_part = reported.attempt, part is None or part.number + 1 == part.of
        known = None
        if reported.provider_message_id:
            known = await self.deliveries.of_provider_message(tenant, reported.channel, reported.provider_message_id)
        if known is not None:
            delivery_id, attempt, last_part = known.delivery_id, known.attempt, known.last_part
        record = await self.deliveries.get(tenant, delivery_id) if delivery_id else None
        if record is None:
            return None
        if part is not None and known is None:
            item = await self.mailboxes.get(_mailbox(tenant, record), record.seq)
            attempt = attempt if item is None else item.attempt
        return Target(record, attempt, part, last_part)

    async def _settle(self, event: Event[StatusReported], target: Target, status: Status) -> None:
        record = target.record
        mailbox = _mailbox(event.tenant, record)
        item = await self.mailboxes.get(mailbox, record.seq)
        if item is None:
            return
        after = settle(item, status, target.part)
        if after is not None:
            if not await self.mailboxes.change(mailbox, item, after):
                return
        elif not await self._left_in_doubt(mailbox, item, target):
            return
        await self._wake(event, record, "settled")
        await self.mailboxes.settle(mailbox, record.delivery_id)

    async def _left_in_doubt(self, mailbox: Mailbox, item: Item, target: Target) -> bool:
        """Whether the part was settled by somebody who died before the rest was done."""
        part = target.part
        if part is None or not (item.finished or item.part > part.number):
            return False
        doubts = await self.mailboxes.in_doubt(mailbox.tenant, mailbox.channel, mailbox.address)
        return any((one.delivery_id, one.part) == (item.delivery_id, part.number) for one in doubts)

    async def _echo(self, event: Event[EchoReceived]) -> None:
        echo = event.data
        tenant = event.tenant
        known = await self.deliveries.of_provider_message(tenant, echo.channel, echo.provider_message_id)
        if known is not None:
            return
        for doubt in await self.mailboxes.in_doubt(tenant, echo.channel, echo.address):
            record = await self.deliveries.get(tenant, doubt.delivery_id)
            if not doubt.matches(echo.text_hash, echo.at) or record is None:
                continue
            item = await self.mailboxes.get(_mailbox(tenant, record), record.seq)
            if item is None or item.finished or item.part != doubt.part:
                continue  # the doubt is over; whoever ended it died before it was taken away
            reported = StatusReported(
                channel=echo.channel,
                status=Status.SENT,
                at=echo.at,
                source="inferred",
                conversation_id=record.conversation_id,
                message_id=record.message_id,
                recipient=record.recipient,
                delivery_id=f"{record.delivery_id}.{doubt.part}.{doubt.parts}",
                provider_message_id=echo.provider_message_id,
            )
            # What it reports is what makes the provider's id known: not here, or a crash would leave it unsaid.
            await self.sink.emit(event.caused(reported, source=SOURCE, at=echo.at))
            return
        await self.mailboxes.keep_echo(
            tenant, echo.channel, echo.address, echo.provider_message_id, echo.text_hash, echo.at
        )

    async def _receipt(self, event: Event[ReceiptReported]) -> None:
        """Said of single messages only to those who asked: their sender, or a webhook (design.md 4)."""
        receipt = event.data
        status = Status.READ if receipt.kind is ReceiptKind.READ else Status.DELIVERED
        wanted = frozenset([one for one in _OF_RECEIPTS if await self._wanted(event.tenant, one)])
        since = receipt.from_seq - 1
        while since < receipt.to_seq:
            limit = min(_PAGE, receipt.to_seq - since)
            messages = await self.timeline.since(event.tenant, receipt.conversation_id, since, limit)
            if not messages:
                return
            report = Report(recipient=receipt.user_id, channel=IN_APP, status=status, at=receipt.at, source="client")
            news = [
                one
                for message in messages
                for one in _asked_for(message, report, wanted, recent=_recent(message, receipt))
            ]
            await self.sink.emit(*(_told(event, one, report) for one in news))
            since = messages[-1].seq

    async def _tell(self, event: Event[StatusReported], record: DeliveryRecord, report: Report) -> None:
        if report.status is Status.FAILED:
            metrics.message_failed(event.tenant, report.channel)
        await self._emit(event, record.message_id, record.conversation_id, report)

    async def _emit(self, event: Event[StatusReported], message_id: str, conversation_id: str, report: Report) -> None:
        wanted = await self._wanted(event.tenant, report.status)
        # The report is kept by now: whoever opens a socket after this look finds it.
        push = await self.listeners.any_of(event.tenant)
        news = _news(message_id, conversation_id, report, webhooks=wanted, push=push)
        await self.sink.emit(*(_told(event, one, report) for one in news))

    async def _wanted(self, tenant: str, status: Status) -> bool:
        """Whether a webhook asks for the news of this status."""
        model = _NEWS.get(status)
        return model is not None and await self.interest.wanted(tenant, name_of(model.TYPE))

    async def _wake(self, event: Event[Any], record: DeliveryRecord, wake: str) -> None:
        requested = DeliveryRequested(
            conversation_id=record.conversation_id,
            channel=record.channel,
            address=record.address,
            message_id=record.message_id,
            seq=record.seq,
            wake=wake,
        )
        await self.sink.emit(event.caused(requested, source=SOURCE, at=self.clock.now()))


def _correlated(correlator: str) -> tuple[str, Part | None]:
    """What ``deliver`` gave the provider, taken apart; a plain delivery_id has no part."""
    delivery_id, _, rest = correlator.partition(".")
    number, _, of = rest.partition(".")
    return delivery_id, Part(int(number), int(of)) if number.isdigit() and of.isdigit() else None


def _recent(message: MessageAccepted, receipt: ReceiptReported) -> bool:
    return message.seq > receipt.to_seq - _EXPANDED


def _asked_for(
    message: MessageAccepted, report: Report, wanted: Collection[Status], recent: bool
) -> Iterator[MessageDelivered | MessageRead]:
    if message.sender == report.recipient:
        return
    for status, asked in (
        (Status.DELIVERED, message.request_delivery_receipt),
        (Status.READ, message.request_read_receipt),
    ):
        reached = status is Status.DELIVERED or report.status is Status.READ
        if reached and (asked or (recent and status in wanted)):
            # Sockets have been told of the range.
            news = _news(
                message.message_id,
                message.conversation_id,
                replace(report, status=status),
                webhooks=status in wanted,
                push=False,
            )
            for one in news:
                assert isinstance(one, MessageDelivered | MessageRead)
                yield one


def _told(
    event: Event[Any], news: MessageSent | MessageDelivered | MessageRead | MessageFailed, report: Report
) -> Event[Any]:
    """The event of the news; however often and by whomever the fact is reported, it is the same one."""
    fact = derived_id(
        event.tenant, news.message_id, report.recipient, report.channel, str(news.status), str(report.attempt)
    )
    return replace(event, id=fact).caused(news, source=SOURCE, at=report.at)


def _news(
    message_id: str, conversation_id: str, report: Report, *, webhooks: bool, push: bool
) -> Iterator[MessageSent | MessageDelivered | MessageRead | MessageFailed]:
    model = _NEWS.get(report.status)
    if model is not None:
        yield model(
            message_id=message_id,
            conversation_id=conversation_id,
            recipient=report.recipient,
            channel=report.channel,
            status=report.status,
            at=report.at,
            reason=report.reason,
            webhooks="wanted" if webhooks else "none",
            push="wanted" if push else "none",
        )


def _mailbox(tenant: str, record: DeliveryRecord) -> Mailbox:
    return Mailbox(tenant, record.channel, record.address, record.conversation_id)


def new(ports: Ports) -> RecordStatus:
    return RecordStatus(
        clock=ports.clock,
        sink=ports.sink,
        channels=ports.channels,
        timeline=Timeline(ports.tables, ports.outbox, ports.cache, ports.clock),
        deliveries=Deliveries(ports.tables),
        mailboxes=Mailboxes(ports.tables),
        interest=Interest(ports.tables),
        listeners=Listeners(ports.tables),
    )

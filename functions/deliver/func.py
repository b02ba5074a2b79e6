"""
deliver: what waits in a mailbox goes to its provider, one call at a time and in order (C4, C8).

Takes chat4all.delivery.requested.v1, a wake-up; emits chat4all.status.reported.v1 and, by way of the due list,
chat4all.delivery.requested.v1.

The mailbox protocol of design.md 4: take the lowest unfinished row by compare-and-set, call the provider once,
record the outcome, go on until none is left. A promise to come back later is written to the due list before it
is made. What is known of a call is recorded before the row moves on, so that a crash forgets nothing; a call
whose answer nobody has is left to its correlator.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar
from zlib import crc32

from events import DeliveryRequested, Event, EventData, MessageAccepted, StatusReported
from events.vocabulary import Payload, Status, Text
from functions.deliver.content import Content, Contents
from shared.domain import mailbox as rules
from shared.domain.errors import Busy, ChannelError, Invalid, Rejected, Unavailable, Unknown
from shared.domain.mailbox import Doubt, Item, Leave, State
from shared.domain.message import EXPIRED
from shared.domain.status import Report
from shared.observability import metrics, spans
from shared.ports import Channels, Clock, EventSink, Ports
from shared.ports.channel import Channel, Outgoing, Receipt
from shared.repositories.breakers import Breakers
from shared.repositories.channel_accounts import ChannelAccount, ChannelAccounts
from shared.repositories.deliveries import Deliveries, ProviderMessage
from shared.repositories.due import DueList
from shared.repositories.files import Files
from shared.repositories.mailboxes import Mailbox, Mailboxes
from shared.repositories.timeline import Timeline

SOURCE = "/functions/deliver"
LEASE = timedelta(seconds=30)
"""How long a row is its taker's; longer than any channel's time-out and what comes before the call."""
_LONGEST_CALL = timedelta(seconds=15)
_BUDGET = timedelta(seconds=10)
"""After how long no further row is taken: with the longest call it is still shorter than the Trigger's time-out."""
_ARRIVED = frozenset({Status.SENT, Status.DELIVERED, Status.READ})
"""Statuses that only a provider which has the message can bring about."""
_NO_ACCOUNT = "no_account"
_EXPIRED = "expired"


def text_hash(payload: Payload) -> str:
    """What an echo of the payload is matched by: hex SHA-256 of its text; "" for media, which nothing tells apart."""
    return hashlib.sha256(payload.text.encode()).hexdigest() if isinstance(payload, Text) else ""


def decide(item: Item, outcome: Receipt | ChannelError, now: datetime, *, parts: int, wait: timedelta) -> Item:
    """The mailbox row after the provider's answer, or after none; ``wait`` is left to a correlator."""
    if isinstance(outcome, Receipt):
        return rules.sent(item, parts)
    return rules.not_sent(item, outcome, now, uncertain_wait=wait, text_hash=item.text_hash or "")


@dataclass(frozen=True, slots=True)
class Promise:
    """An entry of the due list."""

    due_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Deliver:
    accepts: ClassVar[tuple[type[EventData], ...]] = (DeliveryRequested,)

    clock: Clock
    sink: EventSink
    channels: Channels
    breakers: Breakers
    accounts: ChannelAccounts
    timeline: Timeline
    deliveries: Deliveries
    mailboxes: Mailboxes
    due: DueList
    contents: Contents

    async def handle(self, event: Event[DeliveryRequested]) -> None:
        woken, began = event.data, self.clock.now()
        mailbox = Mailbox(event.tenant, woken.channel, woken.address, woken.conversation_id)
        while (item := await self.mailboxes.lowest_unfinished(mailbox)) is not None:
            if self.clock.now() - began >= _BUDGET:
                await self.sink.emit(_wake_up(event, mailbox, item, at=self.clock.now()))
                return
            if not await self._go_on(event, mailbox, item):
                return

    async def _go_on(self, event: Event[DeliveryRequested], mailbox: Mailbox, item: Item) -> bool:
        """One step with the head of the mailbox; whether to look for the next one."""
        account = await self._account(mailbox)
        channel = None if account is None else self.channels.open(mailbox.channel, account.config)
        limits = self.channels.type_of(mailbox.channel).limits
        wait, now = (limits if channel is None else channel).uncertain_wait, self.clock.now()
        step = rules.next_step(item, now, lease=LEASE, uncertain_wait=wait)
        if isinstance(step, Leave):
            if woken_for(event.data, item):  # by redrive, in a process whose clock is ahead; the entry went with it
                await self._wake_at(event, mailbox, item)
            return False
        message = await self.timeline.message(mailbox.tenant, mailbox.conversation_id, item.seq)
        if message is None:
            raise Unavailable("the message of a mailbox row cannot be read now")
        expired = message.expires_at is not None and message.expires_at <= now
        if message.payload == EXPIRED and not expired:  # its sender died before writing it; the sweeper does
            raise Unavailable("the payload of a message is not there yet")
        content = await self.contents.of(mailbox.tenant, message.payload, limits)
        if item.tries and await self._known_meanwhile(event, mailbox, item, content):
            return True
        if isinstance(step, Doubt):
            await self._doubt(event, mailbox, item, step.item, len(content.parts))
            return False
        if account is None or channel is None:
            return await self._finish(event, mailbox, item, replace(item, state=State.FAILED), _NO_ACCOUNT)
        if expired:
            return await self._finish(event, mailbox, item, replace(item, state=State.FAILED), _EXPIRED)
        if not content.parts:
            return await self._finish(event, mailbox, item, replace(item, state=State.FAILED), content.note)
        return await self._call(event, mailbox, item, step.item, message, content, account, channel)

    async def _call(
        self,
        event: Event[DeliveryRequested],
        mailbox: Mailbox,
        item: Item,
        taken: Item,
        message: MessageAccepted,
        content: Content,
        account: ChannelAccount,
        channel: Channel,
    ) -> bool:
        part = content.parts[min(item.part, len(content.parts) - 1)]
        taken = replace(taken, text_hash=text_hash(part))
        breaker_key = f"{mailbox.tenant}/breaker/{mailbox.channel}/{account.account_id}"
        opens_at = await self.breakers.blocked_until(breaker_key, _who(mailbox))
        if opens_at is not None:
            waiting = replace(item, state=State.WAITING, until=opens_at)
            await self._wake_at(event, mailbox, waiting)
            await self.mailboxes.change(mailbox, item, waiting)
            return False
        lease = await self._wake_at(event, mailbox, taken)
        if not await self.mailboxes.change(mailbox, item, taken):
            holder = await self.mailboxes.get(mailbox, item.seq)
            if holder is None or holder.until != taken.until:  # else the one who won relies on the same entry
                await self.due.remove(lease.due_id, lease.at)
            return True
        go_on = await self._called(event, mailbox, item, taken, part, message, content, channel, breaker_key)
        await self.due.remove(lease.due_id, lease.at)
        return go_on

    async def _called(
        self,
        event: Event[DeliveryRequested],
        mailbox: Mailbox,
        item: Item,
        taken: Item,
        part: Payload,
        message: MessageAccepted,
        content: Content,
        channel: Channel,
        breaker_key: str,
    ) -> bool:
        """The row is ours: call, and record what came of it."""
        outcome = await self._ask(mailbox, taken, part, len(content.parts), message, channel)
        if outcome is None:
            await self.mailboxes.change(mailbox, taken, item)
            return True
        await self._remember_health(breaker_key, mailbox, outcome)
        if isinstance(outcome, Unknown):
            outcome = await self._echoed(mailbox, taken) or outcome
        after = decide(taken, outcome, self.clock.now(), parts=len(content.parts), wait=channel.uncertain_wait)
        return await self._record(event, mailbox, taken, after, outcome, content)

    async def _ask(
        self, mailbox: Mailbox, item: Item, part: Payload, parts: int, message: MessageAccepted, channel: Channel
    ) -> Receipt | ChannelError | None:
        """The one call to the provider; None: not made, for it might last longer than its lease."""
        outgoing = Outgoing(
            delivery_id=correlator(item, parts),
            address=mailbox.address,
            payload=part,
            reply_to=await self._answered(mailbox, message, item) if item.part == 0 else None,
        )
        assert item.until is not None
        if item.until - self.clock.now() < _LONGEST_CALL:
            return None
        with spans.provider_call(mailbox.channel, item.delivery_id):
            spans.about(tenant=mailbox.tenant, conversation_id=mailbox.conversation_id, message_id=item.message_id)
            outcome = await _outcome(channel, outgoing)
            label = _label(outcome)
            spans.ended(label, None if isinstance(outcome, Receipt) else label)
        metrics.delivery(mailbox.channel, label)
        return outcome

    async def _record(
        self,
        event: Event[DeliveryRequested],
        mailbox: Mailbox,
        taken: Item,
        after: Item,
        outcome: Receipt | ChannelError,
        content: Content,
    ) -> bool:
        parts = len(content.parts)
        provider_message_id = outcome.provider_message_id if isinstance(outcome, Receipt) else ""
        if after.finished:
            reason = outcome.reason if isinstance(outcome, ChannelError) else content.note
            return await self._finish(event, mailbox, taken, after, reason, provider_message_id)
        if provider_message_id:
            await self._know(mailbox, taken, provider_message_id, last_part=taken.part + 1 == parts)
        if after.state is State.UNCERTAIN:
            await self.mailboxes.doubt(mailbox, after, parts, _called_at(taken))
            await self._report(event, mailbox, after, Status.UNCERTAIN, "uncertain")
        if after.until is not None:
            await self._wake_at(event, mailbox, after)
        await self.mailboxes.change(mailbox, taken, after)
        return after.state is State.PENDING

    async def _finish(
        self,
        event: Event[DeliveryRequested],
        mailbox: Mailbox,
        before: Item,
        after: Item,
        reason: str | None,
        provider_message_id: str = "",
    ) -> bool:
        """Report first, then move the row: a crash between the two reports once more, under the same id."""
        status = Status.SENT if after.state is State.SENT else Status.FAILED
        await self._report(event, mailbox, after, status, reason, provider_message_id)
        if provider_message_id:
            await self._know(mailbox, after, provider_message_id, last_part=True)
        if await self.mailboxes.change(mailbox, before, after) and before.text_hash is not None:
            await self.mailboxes.settle(mailbox, after.delivery_id)
        return True

    async def _doubt(
        self, event: Event[DeliveryRequested], mailbox: Mailbox, item: Item, doubtful: Item, parts: int
    ) -> None:
        """Whoever was sending died, and nobody knows what came of it: wait for a correlator."""
        await self._wake_at(event, mailbox, doubtful)
        await self.mailboxes.doubt(mailbox, doubtful, parts, _called_at(item))
        if await self.mailboxes.change(mailbox, item, doubtful):
            await self._report(event, mailbox, doubtful, Status.UNCERTAIN, "uncertain")

    async def _known_meanwhile(
        self, event: Event[DeliveryRequested], mailbox: Mailbox, item: Item, content: Content
    ) -> bool:
        """
        Move on a row whose answer was recorded and did not reach it: its caller died, or its lease had run out.

        The answer is reported again: nobody knows how far the other came with telling.
        """
        reports = await self.deliveries.reports(mailbox.tenant, item.message_id)
        mine = [one for one in reports if one.delivery_id == item.delivery_id and one.attempt == item.attempt]
        arrived = [one for one in mine if one.status in _ARRIVED]
        refused = next((one for one in mine if one.status is Status.FAILED), None)
        if arrived:
            told = [one.provider_message_id for one in arrived if one.provider_message_id]
            for provider_message_id in told:
                await self._know(mailbox, item, provider_message_id, last_part=True)
            sent = replace(item, state=State.SENT, until=None)
            await self._finish(event, mailbox, item, sent, content.note, told[0] if told else "")
        elif refused is not None:
            failed = replace(item, state=State.FAILED, until=None)
            await self._finish(event, mailbox, item, failed, refused.reason)
        elif item.state in (State.SENDING, State.UNCERTAIN):
            echo = await self._echoed(mailbox, item)
            if echo is not None:
                await self._record(event, mailbox, item, rules.sent(item, len(content.parts)), echo, content)
            return echo is not None
        return bool(arrived or refused)

    async def _know(self, mailbox: Mailbox, item: Item, provider_message_id: str, *, last_part: bool) -> None:
        """Let what the provider reports under its own id find the delivery."""
        known = ProviderMessage(item.delivery_id, item.attempt, last_part)
        await self.deliveries.know_provider_message(mailbox.tenant, mailbox.channel, provider_message_id, known)

    async def _echoed(self, mailbox: Mailbox, item: Item) -> Receipt | None:
        """An echo of this text that came before we knew of our doubt, and that is no other delivery's."""
        since = await self.mailboxes.doubted_since(mailbox, item)
        if since is None:
            since = _called_at(item)
        for provider_message_id in await self.mailboxes.echoes(mailbox, item.text_hash or "", since):
            if not await self.deliveries.of_provider_message(mailbox.tenant, mailbox.channel, provider_message_id):
                return Receipt(provider_message_id)
        return None

    async def _account(self, mailbox: Mailbox) -> ChannelAccount | None:
        """The account that the recipient wrote to last, else the first that is enabled."""
        enabled = await self.accounts.for_channel(mailbox.tenant, mailbox.channel)
        last = await self.mailboxes.last_account(mailbox.tenant, mailbox.channel, mailbox.address)
        return next((one for one in enabled if one.account_id == last), enabled[0] if enabled else None)

    async def _answered(self, mailbox: Mailbox, message: MessageAccepted, item: Item) -> str | None:
        """The provider's id of the message that this one answers, when it has one on this channel."""
        if message.reply_to is None:
            return None
        answered = await self.timeline.find(mailbox.tenant, message.reply_to)
        if answered is not None and answered.origin == mailbox.channel:
            return answered.metadata.get("provider_message_id")
        reports = await self.deliveries.reports(mailbox.tenant, message.reply_to)
        mine = (one for one in reports if (one.channel, one.recipient) == (mailbox.channel, item.recipient))
        return next((one.provider_message_id for one in mine if one.provider_message_id), None)

    async def _report(
        self,
        event: Event[DeliveryRequested],
        mailbox: Mailbox,
        item: Item,
        status: Status,
        reason: str | None,
        provider_message_id: str = "",
    ) -> None:
        report = Report(
            recipient=item.recipient,
            channel=mailbox.channel,
            status=status,
            at=self.clock.now(),
            source="deliver",
            attempt=item.attempt,
            delivery_id=item.delivery_id,
            provider_message_id=provider_message_id or None,
            reason=reason,
        )
        kept = await self.deliveries.report(mailbox.tenant, item.message_id, report)
        reported = StatusReported(
            channel=mailbox.channel,
            status=status,
            at=kept.at,
            source="deliver",
            conversation_id=mailbox.conversation_id,
            message_id=item.message_id,
            recipient=item.recipient,
            delivery_id=item.delivery_id,
            provider_message_id=kept.provider_message_id or provider_message_id,
            attempt=item.attempt,
            reason=kept.reason,
        )
        await self.sink.emit(_of_delivery(event, item).caused(reported, source=SOURCE, at=kept.at))

    async def _wake_at(self, event: Event[DeliveryRequested], mailbox: Mailbox, item: Item) -> Promise:
        """Have the mailbox looked at again when the row's time has come."""
        assert item.until is not None
        woken = _wake_up(event, mailbox, item, at=item.until)
        at = await self.due.add(mailbox.tenant, woken.id, item.until, woken.to_cloudevent(), kind="mailbox")
        return Promise(woken.id, at)

    async def _remember_health(self, key: str, mailbox: Mailbox, outcome: Receipt | ChannelError) -> None:
        ill = isinstance(outcome, Unknown) or (isinstance(outcome, Busy) and outcome.reason != "rate")
        if ill:
            broken = isinstance(outcome, Busy) and outcome.reason == "auth_broken"
            await self.breakers.failed(key, _who(mailbox), at_once=broken)
        else:
            await self.breakers.worked(key)


def _who(mailbox: Mailbox) -> int:
    """Tells recipients apart for the breaker, and names none."""
    return crc32(mailbox.address.encode())


def _called_at(item: Item) -> datetime:
    """When the provider was first asked, of a row that is taken."""
    assert item.until is not None
    return item.until - LEASE


def correlator(item: Item, parts: int) -> str:
    """What comes back with a provider's report: the delivery, and which of how many parts of its text."""
    return f"{item.delivery_id}.{item.part}.{parts}"


def _wake_up(event: Event[Any], mailbox: Mailbox, item: Item, *, at: datetime) -> Event[DeliveryRequested]:
    """What wakes the mailbox for the row as it is in ``item``."""
    wake = DeliveryRequested(
        conversation_id=mailbox.conversation_id,
        channel=mailbox.channel,
        address=mailbox.address,
        message_id=item.message_id,
        seq=item.seq,
        wake=_stage(item),
    )
    return _of_delivery(event, item).caused(wake, source=SOURCE, at=at)


def _stage(item: Item) -> str:
    return f"{item.attempt}.{item.part}.{item.tries}.{item.state}"


def woken_for(wake: DeliveryRequested, item: Item) -> bool:
    """Whether the wake-up is the one that was promised for the row as it is."""
    return (wake.message_id, wake.wake) == (item.message_id, _stage(item))


def _of_delivery(event: Event[Any], item: Item) -> Event[Any]:
    """The cause of what is reported is the delivery, whichever wake-up it came by."""
    return replace(event, id=item.delivery_id)


async def _outcome(channel: Channel, outgoing: Outgoing) -> Receipt | ChannelError:
    send = channel.send_message if isinstance(outgoing.payload, Text) else channel.send_file
    try:
        return await send(outgoing)
    except Rejected as error:
        # A broken account is nobody's message's fault: it waits until somebody mends the account.
        return Busy(error.reason, error.detail) if error.reason == "auth_broken" else error
    except ChannelError as error:
        return error
    except Invalid as error:
        return Rejected("bad_content", error.detail)


def _label(outcome: Receipt | ChannelError) -> str:
    return "sent" if isinstance(outcome, Receipt) else type(outcome).__name__.lower()


def new(ports: Ports) -> Deliver:
    return Deliver(
        clock=ports.clock,
        sink=ports.sink,
        channels=ports.channels,
        breakers=Breakers(ports.cache, ports.clock),
        accounts=ChannelAccounts(ports.tables, ports.vault, ports.clock),
        timeline=Timeline(ports.tables, ports.outbox, ports.cache, ports.clock),
        deliveries=Deliveries(ports.tables),
        mailboxes=Mailboxes(ports.tables),
        due=DueList(ports.tables, ports.clock),
        contents=Contents(Files(ports.tables, ports.clock), ports.objects),
    )

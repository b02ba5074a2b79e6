"""
webhook-deliver: one try of one delivery, and what comes of it (D2, D3).

Takes chat4all.webhook.requested.v1, a wake-up; emits chat4all.webhook.disabled.v1 and, by way of the due list,
chat4all.webhook.requested.v1.

A delivery is taken by compare-and-set for the length of a lease, and has an entry on the due list as long as it is not
finished: a try whose process dies is made again. Webhooks and tenants that hang have so many tries and no more
(lanes.py); what comes for them meanwhile waits, and whoever ends a try goes on with what may be tried then.
"""

import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar, Literal
from zlib import crc32

from events import Event, EventData, WebhookDisabled, WebhookRequested, derived_id
from functions.webhook_deliver.lanes import Lane, Lanes
from shared.domain import webhook as rules
from shared.domain.errors import NotFound
from shared.domain.webhook import Answer, Delivery, State, Webhook, WebhookPolicy
from shared.domain.webhook_signature import headers
from shared.observability import metrics, spans
from shared.observability.log import log
from shared.ports import Clock, EventSink, Ports, WebhookSender
from shared.repositories.breakers import Breakers
from shared.repositories.due import DueList
from shared.repositories.webhook_deliveries import WebhookDeliveries
from shared.repositories.webhooks import Webhooks

SOURCE = "/functions/webhook-deliver"
USER_AGENT = "Chat4All-Webhooks/1"
_STAGED = re.compile(r"\d+\.(sending|waiting)\.")
_BUDGET = timedelta(seconds=10)
"""After which no further delivery is taken: with the longest try it is shorter than the Trigger's time-out."""


def decide(delivery: Delivery, answer: Answer, now: datetime, policy: WebhookPolicy) -> Delivery:
    """The delivery after the receiver's answer, or after none."""
    return rules.ended(delivery, answer, now, policy)


@dataclass(frozen=True, slots=True)
class WebhookDeliver:
    accepts: ClassVar[tuple[type[EventData], ...]] = (WebhookRequested,)

    clock: Clock
    sink: EventSink
    sender: WebhookSender
    policy: WebhookPolicy
    webhooks: Webhooks
    deliveries: WebhookDeliveries
    due: DueList
    breakers: Breakers
    lanes: Lanes

    async def handle(self, event: Event[WebhookRequested]) -> None:
        if not self.lanes.enter(_lane(event)):
            if not await self._promised(event):
                return
            # A place that came free meanwhile was offered to nobody: this one did not wait yet.
            if not self.lanes.enter(_lane(event)):
                self.lanes.wait(_lane(event), event)
                return
        ends = self.clock.now() + _BUDGET
        going = event
        while True:
            try:
                await self._try_and_leave(going)
            except Exception:
                await self._pass_on()
                raise
            if self.clock.now() >= ends:
                await self._pass_on()
                return
            waiting = self.lanes.next()
            if waiting is None:
                return
            going = waiting
            self.lanes.enter(_lane(going))

    async def _try_and_leave(self, event: Event[WebhookRequested]) -> None:
        try:
            await self._try(event)
        finally:
            self.lanes.leave(_lane(event))

    async def _pass_on(self) -> None:
        """Wake what waits for the place that was left; who handles that goes on with the rest."""
        waiting = self.lanes.next()
        if waiting is not None:
            await self.sink.emit(_wake(waiting, "next", self.clock.now()))

    async def _promised(self, event: Event[WebhookRequested]) -> bool:
        """See to it that the delivery, which cannot be tried now, is looked at again; whether there is need to."""
        delivery, now = await self.deliveries.get(event.tenant, event.data.delivery_id), self.clock.now()
        if delivery is None or not rules.may_be_taken(delivery, now):
            await self._too_early(event, delivery, now)
            return False
        if delivery.due_at <= now:  # the entry that it had is what woke us
            await self._change(event, delivery, replace(delivery, due_at=now + self.policy.promise))
        return True

    async def _too_early(self, event: Event[WebhookRequested], delivery: Delivery | None, now: datetime) -> None:
        """
        Redrive woke it in a process whose clock is ahead, and forgot the entry: it is promised again, by as much later
        as it came too early. The row stays as it is: it may be somebody's who calls just now.
        """
        if delivery is None or delivery.finished or delivery.until is None or not woken_for(event.data, delivery):
            return
        at = delivery.due_at + (delivery.until - now)
        wake = _wake(event, f"{_stage(delivery)}{at.isoformat()}", at)
        await self.due.add(event.tenant, delivery.delivery_id, at, wake.to_cloudevent(), kind="webhook")

    async def _try(self, event: Event[WebhookRequested]) -> None:
        delivery, now = await self.deliveries.get(event.tenant, event.data.delivery_id), self.clock.now()
        if delivery is None or not rules.may_be_taken(delivery, now):
            await self._too_early(event, delivery, now)
            return
        webhook = await self.webhooks.get(event.tenant, delivery.webhook_id)
        if webhook is None or not webhook.enabled:
            reason = "webhook_removed" if webhook is None else "webhook_disabled"
            await self._change(event, delivery, rules.given_up(delivery, reason, now))
            return
        opens_at = await self.breakers.blocked_until(_breaker(event), _who(delivery))
        if opens_at is not None:
            await self._change(event, delivery, rules.put_off(delivery, opens_at, now, self.policy))
            return
        due_at = delivery.due_at if delivery.due_at >= now + self.policy.lease else now + self.policy.promise
        taken = await self._change(event, delivery, rules.taken(delivery, now, self.policy, due_at))
        if taken is not None:
            await self._call(event, webhook, taken)

    async def _call(self, event: Event[WebhookRequested], webhook: Webhook, delivery: Delivery) -> None:
        """The delivery is ours: ask, and record what came of it."""
        began = self.clock.now()
        with spans.provider_call("webhook", delivery.delivery_id):
            spans.about(tenant=event.tenant)
            signed = headers(delivery.notification_id, began, delivery.body, webhook.signing(began))
            fixed = {"content-type": "application/json", "user-agent": USER_AGENT}
            answer = await self.sender.post(webhook.url, {**fixed, **signed}, delivery.body, within=self.policy.timeout)
            spans.ended(answer.outcome, None if answer.ok else answer.outcome)
        now = self.clock.now()
        metrics.webhook_tried(answer.outcome, answer.seconds)
        await self.deliveries.tried(event.tenant, delivery, answer, began)
        after = decide(delivery, answer, now, self.policy)
        await self._change(event, delivery, after)
        await self._remember(event, webhook, delivery, answer, now)
        if answer.ok:
            metrics.webhook_delivered((now - delivery.created_at).total_seconds())
        elif after.finished:
            metrics.webhook_failed()
            log.warning("a webhook delivery failed for good", webhook_id=webhook.webhook_id, why=after.reason)

    async def _change(self, event: Event[WebhookRequested], before: Delivery, after: Delivery) -> Delivery | None:
        """
        Keep ``after``, if nobody else has changed the delivery, with its entry on the due list.

        The new entry is there before the change, the old one goes after it.
        """
        moved = not after.finished and after.due_at != before.due_at
        if moved:
            wake = _wake(event, f"{_stage(after)}{after.due_at.isoformat()}", after.due_at)
            due_at = await self.due.add(
                event.tenant, after.delivery_id, after.due_at, wake.to_cloudevent(), kind="webhook"
            )
            after = replace(after, due_at=due_at)
        kept = await self.deliveries.change(event.tenant, before, after)
        if kept is None and moved:
            await self.due.remove(after.delivery_id, after.due_at)
        elif kept is not None and (moved or after.finished):
            await self.due.remove(before.delivery_id, before.due_at)
        return kept

    async def _remember(
        self, event: Event[WebhookRequested], webhook: Webhook, delivery: Delivery, answer: Answer, now: datetime
    ) -> None:
        """The health of the receiver: for the breaker, and for switching it off after days."""
        if answer.ok:
            await self.breakers.worked(_breaker(event))
            if webhook.failing_since is not None:
                await self._note(event, webhook, lambda known: replace(known, failing_since=None))
            return
        await self.breakers.failed(_breaker(event), _who(delivery))
        since = rules.failing_since(webhook, now, self.policy)
        if answer.gone:
            await self._disable(event, webhook, "gone", now)
        elif now - since >= self.policy.disable_after:
            await self._disable(event, webhook, "failing", now)
        elif since != webhook.failing_since:
            await self._note(event, webhook, lambda known: replace(known, failing_since=known.failing_since or since))

    async def _disable(
        self, event: Event[WebhookRequested], webhook: Webhook, reason: Literal["gone", "failing"], now: datetime
    ) -> None:
        """Told first: who dies between the two tells it once more, under the same id."""
        cause = replace(event, id=derived_id("webhook", event.tenant, webhook.webhook_id, str(webhook.version)))
        disabled = WebhookDisabled(webhook_id=webhook.webhook_id, reason=reason, at=now)
        await self.sink.emit(cause.caused(disabled, source=SOURCE, at=now))
        await self._note(event, webhook, lambda known: replace(known, enabled=False, disabled_reason=reason))
        metrics.webhook_disabled(reason)
        log.warning("a webhook was switched off", webhook_id=webhook.webhook_id, why=reason)

    async def _note(self, event: Event[WebhookRequested], webhook: Webhook, change: rules.Change) -> None:
        try:
            await self.webhooks.change(event.tenant, webhook.webhook_id, change)
        except NotFound:
            return  # removed meanwhile


def _lane(event: Event[WebhookRequested]) -> Lane:
    return event.tenant, event.data.webhook_id


def _stage(delivery: Delivery) -> str:
    return f"{delivery.made}.{delivery.state}."


def woken_for(wake: WebhookRequested, delivery: Delivery) -> bool:
    """Whether the wake-up is the one that was promised for the row as it is; a try keeps an entry from before it."""
    if delivery.state is State.SENDING and not _STAGED.match(wake.wake):
        return True
    return wake.wake.startswith(_stage(delivery))


def _wake(event: Event[WebhookRequested], wake: str, at: datetime) -> Event[WebhookRequested]:
    """The delivery's next wake-up; its cause is the delivery, whichever wake-up it came by."""
    woken = event.data
    requested = WebhookRequested(webhook_id=woken.webhook_id, delivery_id=woken.delivery_id, wake=wake)
    return replace(event, id=woken.delivery_id).caused(requested, source=SOURCE, at=at)


def _breaker(event: Event[WebhookRequested]) -> str:
    return f"{event.tenant}/breaker/webhook/{event.data.webhook_id}"


def _who(delivery: Delivery) -> int:
    return crc32(delivery.delivery_id.encode())


def new(ports: Ports) -> WebhookDeliver:
    return WebhookDeliver(
        clock=ports.clock,
        sink=ports.sink,
        sender=ports.webhooks,
        policy=ports.webhook_policy,
        webhooks=Webhooks(ports.tables, ports.vault, ports.clock),
        deliveries=WebhookDeliveries(ports.tables),
        due=DueList(ports.tables, ports.clock),
        breakers=Breakers(ports.cache, ports.clock),
        lanes=Lanes(ports.webhook_policy.at_once, ports.webhook_policy.in_flight),
    )

"""
webhooks: who is told of what, and what became of it (D1, D3).

Takes HTTP (http.py); emits chat4all.webhook.requested.v1, when a delivery is replayed.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from secrets import token_bytes
from typing import Any, ClassVar, Literal

import msgspec

from events import Event, EventData, WebhookRequested, derived_id
from events.vocabulary import rfc3339
from shared.domain import webhook as rules
from shared.domain.errors import Conflict, Invalid, NotFound
from shared.domain.webhook import Answer, Delivery, Key, State, Webhook, WebhookPolicy
from shared.domain.webhook_signature import (
    PRIVATE,
    SECRET_BYTES,
    check_shared_key,
    headers,
    private_key,
    public_key,
    shared_key,
)
from shared.ports import Clock, EventSink, Ids, Ports, WebhookSender
from shared.repositories.due import DueList
from shared.repositories.interest import REMEMBERED
from shared.repositories.webhook_deliveries import KEPT, Try, WebhookDeliveries, place
from shared.repositories.webhooks import Webhooks, no_such_webhook

SOURCE = "/functions/webhooks"
PING = "webhook.ping"
Signing = Literal["hmac", "ed25519"]
MOST_REPLAYED = 1000
"""Deliveries in one request; the answer says where to go on."""


def decide(webhook: Webhook, changes: dict[str, Any]) -> Webhook:
    """
    The webhook after what its owner wants to be otherwise: url, events, description, enabled.

    Raises:
        Invalid: an event that is none.
    """
    changed = replace(webhook, **{name: value for name, value in changes.items() if name in ("url", "description")})
    if "events" in changes:
        changed = replace(changed, events=rules.check_events(changes["events"]))
    if "enabled" in changes:
        changed = replace(changed, enabled=changes["enabled"], disabled_reason=None, failing_since=None)
    return changed


def public_key_of(webhook: Webhook) -> str | None:
    """What receivers verify with, when the key is not shared with them."""
    newest = webhook.keys[0].secret
    return public_key(newest) if newest.startswith(PRIVATE) else None


@dataclass(frozen=True, slots=True)
class Replayed:
    """``before`` is where the next request goes on; None: that was all."""

    count: int
    before: str | None


@dataclass(frozen=True, slots=True)
class WebhookRegistry:
    accepts: ClassVar[tuple[type[EventData], ...]] = ()

    clock: Clock
    ids: Ids
    sink: EventSink
    sender: WebhookSender
    policy: WebhookPolicy
    webhooks: Webhooks
    deliveries: WebhookDeliveries
    due: DueList

    async def add(
        self,
        tenant: str,
        *,
        url: str,
        events: Sequence[str],
        secret: str | None,
        signing: Signing,
        description: str | None,
    ) -> tuple[Webhook, str | None]:
        """
        The webhook, and its secret when it is a shared one: it is shown this once.

        Raises:
            Invalid: the url, an event or the secret is none that may be used.
            Conflict: the tenant has too many.
        """
        wanted = rules.check_events(events)
        key = _key(secret, signing)
        await self.sender.check(url)
        now = self.clock.now()
        webhook = Webhook(
            webhook_id=self.ids.uuid(),
            url=url,
            events=wanted,
            description=description,
            enabled=True,
            created_at=now,
            updated_at=now,
            keys=(Key(key),),
        )
        await self.webhooks.add(tenant, webhook)
        await _until_known()
        return webhook, _shown(key)

    async def get(self, tenant: str, webhook_id: str) -> Webhook:
        """
        Raises:
            NotFound: there is no such webhook.
        """
        webhook = await self.webhooks.get(tenant, webhook_id)
        if webhook is None:
            raise no_such_webhook(webhook_id)
        return webhook

    async def change(self, tenant: str, webhook_id: str, changes: dict[str, Any]) -> Webhook:
        """
        Raises:
            NotFound: there is no such webhook.
            Invalid: as ``add``.
        """
        decide(await self.get(tenant, webhook_id), changes)
        if "url" in changes:
            await self.sender.check(changes["url"])
        changed = await self.webhooks.change(tenant, webhook_id, lambda known: decide(known, changes))
        if {"events", "enabled"} & changes.keys():
            await _until_known()
        return changed

    async def remove(self, tenant: str, webhook_id: str) -> None:
        """
        Raises:
            NotFound: there is no such webhook.
        """
        await self.get(tenant, webhook_id)
        await self.webhooks.remove(tenant, webhook_id)

    async def rotate(
        self, tenant: str, webhook_id: str, *, secret: str | None, keep: timedelta
    ) -> tuple[Webhook, str | None]:
        """
        A new key; the one before signs too, beside it, as long as ``keep``. As ``add``, the new secret is shown.

        Raises:
            NotFound: there is no such webhook.
            Invalid: the secret is none.
        """
        webhook = await self.get(tenant, webhook_id)
        key = _key(secret, "ed25519" if public_key_of(webhook) else "hmac")
        until = self.clock.now() + keep
        changed = await self.webhooks.change(
            tenant, webhook_id, lambda known: replace(known, keys=rules.rotated(known.keys, key, until))
        )
        return changed, _shown(key)

    async def test(self, tenant: str, webhook_id: str) -> Answer:
        """
        Send a webhook.ping now, once, and say what came of it.

        Raises:
            NotFound: there is no such webhook.
        """
        webhook, now = await self.get(tenant, webhook_id), self.clock.now()
        told = {"type": PING, "timestamp": rfc3339(now), "data": {"webhook_id": webhook_id}}
        body = msgspec.json.encode(told)
        message_id = "msg_" + self.ids.uuid().replace("-", "")
        signed = headers(message_id, now, body, webhook.signing(now))
        return await self.sender.post(
            webhook.url, {"content-type": "application/json", **signed}, body, within=self.policy.timeout
        )

    async def log(
        self, tenant: str, webhook_id: str, *, before: str | None, state: State | None, limit: int
    ) -> tuple[list[Delivery], str | None]:
        """
        What was, or is to be, sent to the webhook, the newest first; and where to go on, None: that was all.

        Raises:
            NotFound: there is no such webhook.
        """
        webhook, now = await self.get(tenant, webhook_id), self.clock.now()
        since = max(webhook.created_at - _CLOCKS, now - KEPT)
        found: list[Delivery] = []
        looked = 0
        while looked < _MOST_LOOKED:
            page = await self.deliveries.log(
                tenant, webhook_id, since=since, until=now + _CLOCKS, before=before, limit=limit + 1
            )
            for delivery in page:
                if len(found) == limit:
                    return found, before
                before = place(delivery)
                if state in (None, delivery.state):
                    found.append(delivery)
            if len(page) <= limit:
                return found, None
            looked += len(page)
        return found, before

    async def delivery(self, tenant: str, webhook_id: str, delivery_id: str) -> tuple[Delivery, list[Try]]:
        """
        Raises:
            NotFound: no such webhook, or no such delivery of it.
        """
        await self.get(tenant, webhook_id)
        delivery = await self.deliveries.get(tenant, delivery_id)
        if delivery is None or delivery.webhook_id != webhook_id:
            raise NotFound(f"the webhook has no delivery {delivery_id!r}")
        return delivery, await self.deliveries.tries(tenant, delivery_id)

    async def replay(self, tenant: str, webhook_id: str, delivery_id: str, traceparent: str | None) -> None:
        """
        Send it once more, from the beginning of the schedule; one that is on its way anyhow stays as it is.

        Raises:
            NotFound: no such webhook, or no such delivery of it.
            Conflict: the webhook is switched off.
        """
        await self._enabled(tenant, webhook_id)
        delivery, _ = await self.delivery(tenant, webhook_id, delivery_id)
        await self._replay(tenant, delivery, traceparent)

    async def replay_range(
        self,
        tenant: str,
        webhook_id: str,
        *,
        since: datetime,
        until: datetime | None,
        failed_only: bool,
        before: str | None,
        traceparent: str | None,
    ) -> Replayed:
        """
        Send what was created in that time once more; at most ``MOST_REPLAYED`` are looked at in one request.

        Raises:
            NotFound: there is no such webhook.
            Conflict: it is switched off.
            Invalid: the times are the wrong way round.
        """
        await self._enabled(tenant, webhook_id)
        now = self.clock.now()
        until = now if until is None else min(until, now)
        if since > until:
            raise Invalid(errors=[{"pointer": "/since", "detail": "a time before `until`, and before now"}])
        page = await self.deliveries.log(
            tenant, webhook_id, since=max(since, now - KEPT), until=until, before=before, limit=MOST_REPLAYED
        )
        count = 0
        for delivery in page:
            if delivery.state is State.FAILED or (not failed_only and delivery.finished):
                count += await self._replay(tenant, delivery, traceparent)
        return Replayed(count, place(page[-1]) if len(page) == MOST_REPLAYED else None)

    async def _replay(self, tenant: str, delivery: Delivery, traceparent: str | None) -> bool:
        if not delivery.finished:
            return False
        now = self.clock.now()
        wake = Event(
            id=derived_id("replay", tenant, delivery.delivery_id, str(delivery.version)),
            source=SOURCE,
            tenant=tenant,
            time=now,
            data=WebhookRequested(
                webhook_id=delivery.webhook_id, delivery_id=delivery.delivery_id, wake=f"replay {delivery.version}"
            ),
            traceparent=traceparent,
        )
        due_at = await self.due.add(
            tenant, delivery.delivery_id, now + self.policy.promise, wake.to_cloudevent(), kind="webhook"
        )
        if await self.deliveries.change(tenant, delivery, rules.replayed(delivery, due_at)) is None:
            return False
        await self.sink.emit(wake)
        return True

    async def _enabled(self, tenant: str, webhook_id: str) -> None:
        if not (await self.get(tenant, webhook_id)).enabled:
            raise Conflict("the webhook is switched off; PATCH it with enabled: true first")


_CLOCKS = timedelta(minutes=5)
"""How far the clocks that stamped events may be apart from ours."""
_MOST_LOOKED = 5000
"""Deliveries that one request looks through for those of a status."""


async def _until_known() -> None:
    """Until every process has forgotten which events were asked for before (shared.repositories.interest)."""
    await asyncio.sleep(REMEMBERED)


def _key(secret: str | None, signing: Signing) -> str:
    if signing == "hmac":
        return check_shared_key(secret) if secret is not None else shared_key(token_bytes(SECRET_BYTES))
    if secret is not None:
        raise Invalid(errors=[{"pointer": "/secret", "detail": "an ed25519 key is made here; leave the secret out"}])
    return private_key(token_bytes(SECRET_BYTES))


def _shown(key: str) -> str | None:
    """A private key is nobody's but ours."""
    return None if key.startswith(PRIVATE) else key


def new(ports: Ports) -> WebhookRegistry:
    return WebhookRegistry(
        clock=ports.clock,
        ids=ports.ids,
        sink=ports.sink,
        sender=ports.webhooks,
        policy=ports.webhook_policy,
        webhooks=Webhooks(ports.tables, ports.vault, ports.clock),
        deliveries=WebhookDeliveries(ports.tables),
        due=DueList(ports.tables, ports.clock),
    )

"""/v1/webhooks: subscriptions, and the log of what was sent to them."""

import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import AwareDatetime, Field, StrictBool, StringConstraints

from functions.webhooks.func import WebhookRegistry, public_key_of
from shared.domain.errors import Invalid
from shared.domain.identity import OPERATIONS
from shared.domain.webhook import Answer as Answered
from shared.domain.webhook import Delivery, State, Webhook, names
from shared.http.caller import Caller
from shared.http.paging import Cursor, Limit, decode_cursor, encode_cursor
from shared.http.routing import Answer, Body, Integer, Page, Timestamp, api_router, problems, scoped
from shared.repositories.webhook_deliveries import Try

WebhooksCaller = Annotated[Caller, scoped(OPERATIONS)]
Url = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
EventName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Events = Annotated[
    list[EventName],
    Field(
        min_length=1,
        max_length=50,
        description="Names, such as `message.delivered`; `message.*` for all of a kind, `*` for everything",
        examples=[["message.delivered", "message.read"]],
    ),
]
Secret = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Description = Annotated[str, StringConstraints(min_length=1, max_length=500)]
_PLACE = re.compile(r"\d{15}/[0-9a-f-]{36}\Z")


class NewWebhook(Body):
    url: Url = Field(description="https, and a public address", examples=["https://example.org/hooks/chat4all"])
    events: Events
    secret: Secret | None = Field(
        None, description="`whsec_` and the base64 of 24 to 64 random bytes; left out, one is made"
    )
    signing: Literal["hmac", "ed25519"] = Field(
        "hmac", description="hmac: a shared secret; ed25519: we keep the private key, `public_key` verifies"
    )
    description: Description | None = None


class WebhookChanges(Body):
    """What is left out stays; a description of null goes."""

    url: Url | None = None
    events: Events | None = None
    description: Description | None = None
    enabled: StrictBool | None = Field(None, description="true also wakes one that was switched off for failing")


class Rotation(Body):
    secret: Secret | None = Field(None, description="As in POST /v1/webhooks")
    keep_hours: Annotated[Integer, Field(ge=0, le=168, description="How long old ones sign too; 0: one has leaked")] = (
        24
    )


class WebhookAnswer(Answer):
    webhook_id: str
    url: str
    events: list[str]
    description: str | None
    enabled: bool
    disabled_reason: str | None = Field(description="`gone` (it answered 410) or `failing` (for days); null otherwise")
    failing_since: Timestamp | None = Field(description="Since when nothing has worked")
    public_key: str | None = Field(description="`whpk_` of an ed25519 webhook; null for those with a shared secret")
    created_at: Timestamp
    updated_at: Timestamp


class WebhookWithSecret(WebhookAnswer):
    secret: str | None = Field(description="Shown this once; null for ed25519", examples=["whsec_…"])


class TestAnswer(Answer):
    ok: bool = Field(description="Whether it answered 2xx")
    status_code: int | None
    problem: str | None = Field(description="Why there is no status_code", examples=["timeout"])
    milliseconds: int
    response: str = Field(description="The beginning of what the receiver answered: not ours, and not checked")
    response_truncated: bool


class DeliveryAnswer(Answer):
    delivery_id: str
    notification_id: str = Field(description="The header webhook-id: the same for every try, webhook and replay")
    type: str = Field(examples=["message.delivered"])
    status: State
    tries: int = Field(description="Requests that were made")
    status_code: int | None = Field(description="What the last one was answered")
    reason: str | None = Field(description="Why it is not delivered", examples=["timeout"])
    created_at: Timestamp
    next_try_at: Timestamp | None
    finished_at: Timestamp | None


class TryAnswer(Answer):
    number: int
    at: Timestamp
    milliseconds: int
    status_code: int | None
    problem: str | None
    response: str = Field(description="The beginning of what the receiver answered: not ours, and not checked")
    response_truncated: bool


class DeliveryWithTries(DeliveryAnswer):
    body: str = Field(description="What is sent, each time")
    history: list[TryAnswer] = Field(description="The oldest first; one whose process died is missing")


class ReplayAnswer(Answer):
    status: str = "accepted"


class Replay(Body):
    since: AwareDatetime = Field(examples=["2026-11-21T00:00:00Z"])
    until: AwareDatetime | None = Field(None, description="Left out: now")
    status: Literal["failed", "all"] = Field("failed", description="all: those that were delivered too")
    cursor: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        None, description="`next_cursor` of the answer before"
    )


class ReplayedAnswer(Answer):
    replayed: int
    next_cursor: str | None = Field(description="There may be more: ask again with it; null when that was all")


def router(registry: WebhookRegistry) -> APIRouter:
    routes = api_router("Webhooks")
    _add_subscriptions(routes, registry)
    _add_log(routes, registry)
    return routes


def _add_subscriptions(routes: APIRouter, registry: WebhookRegistry) -> None:
    @routes.post("/v1/webhooks", status_code=201, responses=problems(403, 409))
    async def add_webhook(body: NewWebhook, caller: WebhooksCaller) -> WebhookWithSecret:
        """
        What happens from the answer on is told to the url, signed as Standard Webhooks says (guides/webhooks.md).

        Answered after about a second: when every part of the platform knows of it.
        """
        webhook, secret = await registry.add(
            caller.tenant,
            url=body.url,
            events=body.events,
            secret=body.secret,
            signing=body.signing,
            description=body.description,
        )
        return WebhookWithSecret(**_webhook(webhook), secret=secret)

    @routes.get("/v1/webhooks", responses=problems(403))
    async def list_webhooks(caller: WebhooksCaller, limit: Limit = 50, cursor: Cursor = None) -> Page[WebhookAnswer]:
        """By webhook_id; a tenant has at most 100."""
        after = str(decode_cursor(cursor, (str,))[0]) if cursor else None
        found = await registry.webhooks.list(caller.tenant, after=after, limit=limit + 1)
        page = found[:limit]
        more = encode_cursor([page[-1].webhook_id]) if len(found) > limit else None
        return Page(items=[WebhookAnswer(**_webhook(webhook)) for webhook in page], next_cursor=more)

    @routes.get("/v1/webhooks/{webhook_id}", responses=problems(403, 404))
    async def get_webhook(webhook_id: str, caller: WebhooksCaller) -> WebhookAnswer:
        return WebhookAnswer(**_webhook(await registry.get(caller.tenant, webhook_id)))

    @routes.patch("/v1/webhooks/{webhook_id}", responses=problems(403, 404))
    async def change_webhook(webhook_id: str, body: WebhookChanges, caller: WebhooksCaller) -> WebhookAnswer:
        changes = body.model_dump(exclude_unset=True)
        for name in ("url", "events", "enabled"):
            if name in changes and changes[name] is None:
                raise Invalid(errors=[{"pointer": f"/{name}", "detail": "leave it out, or give a value"}])
        return WebhookAnswer(**_webhook(await registry.change(caller.tenant, webhook_id, changes)))

    @routes.delete("/v1/webhooks/{webhook_id}", status_code=204, responses=problems(403, 404))
    async def delete_webhook(webhook_id: str, caller: WebhooksCaller) -> None:
        """What is still on its way to it is given up."""
        await registry.remove(caller.tenant, webhook_id)

    @routes.post("/v1/webhooks/{webhook_id}/rotate-secret", responses=problems(403, 404))
    async def rotate_secret(webhook_id: str, caller: WebhooksCaller, body: Rotation | None = None) -> WebhookWithSecret:
        """A new key. The old one signs too, in the same header, until its hours are over."""
        rotation = body or Rotation(secret=None)
        keep = timedelta(hours=rotation.keep_hours)
        webhook, secret = await registry.rotate(caller.tenant, webhook_id, secret=rotation.secret, keep=keep)
        return WebhookWithSecret(**_webhook(webhook), secret=secret)

    @routes.post("/v1/webhooks/{webhook_id}/test", responses=problems(403, 404))
    async def test_webhook(webhook_id: str, caller: WebhooksCaller) -> TestAnswer:
        """Send a `webhook.ping` now, and wait for what the receiver says."""
        return _test(await registry.test(caller.tenant, webhook_id))


def _add_log(routes: APIRouter, registry: WebhookRegistry) -> None:
    @routes.get("/v1/webhooks/{webhook_id}/deliveries", responses=problems(403, 404))
    async def list_deliveries(
        webhook_id: str,
        caller: WebhooksCaller,
        status: State | None = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Page[DeliveryAnswer]:
        """What was sent and is to be sent, the newest first; kept 30 days. `failed` are those that were given up."""
        found, before = await registry.log(caller.tenant, webhook_id, before=_before(cursor), state=status, limit=limit)
        more = None if before is None else encode_cursor([before])
        return Page(items=[DeliveryAnswer(**_delivery(delivery)) for delivery in found], next_cursor=more)

    @routes.get("/v1/webhooks/{webhook_id}/deliveries/{delivery_id}", responses=problems(403, 404))
    async def get_delivery(webhook_id: str, delivery_id: str, caller: WebhooksCaller) -> DeliveryWithTries:
        delivery, tries = await registry.delivery(caller.tenant, webhook_id, delivery_id)
        body = delivery.body.decode()
        return DeliveryWithTries(**_delivery(delivery), body=body, history=[_try(one) for one in tries])

    @routes.post(
        "/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/replay", status_code=202, responses=problems(403, 404, 409)
    )
    async def replay_delivery(
        webhook_id: str, delivery_id: str, caller: WebhooksCaller, request: Request
    ) -> ReplayAnswer:
        """Send it again, under the same webhook-id; one that is still on its way stays as it is."""
        await registry.replay(caller.tenant, webhook_id, delivery_id, _traceparent(request))
        return ReplayAnswer()

    @routes.post("/v1/webhooks/{webhook_id}/replay", status_code=202, responses=problems(403, 404, 409))
    async def replay_deliveries(
        webhook_id: str, body: Replay, caller: WebhooksCaller, request: Request
    ) -> ReplayedAnswer:
        """Send again what was created in that time, under the same webhook-ids; 1000 at most in one request."""
        replayed = await registry.replay_range(
            caller.tenant,
            webhook_id,
            since=_milliseconds(body.since),
            until=None if body.until is None else _milliseconds(body.until),
            failed_only=body.status == "failed",
            before=_before(body.cursor),
            traceparent=_traceparent(request),
        )
        more = None if replayed.before is None else encode_cursor([replayed.before])
        return ReplayedAnswer(replayed=replayed.count, next_cursor=more)


def _before(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    (position,) = decode_cursor(cursor, (str,))
    if not _PLACE.match(str(position)):
        raise Invalid("query parameter cursor: use the next_cursor of an earlier page, or leave it out")
    return str(position)


def _milliseconds(at: datetime) -> datetime:
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def _traceparent(request: Request) -> str:
    traceparent: str = request.scope["state"]["traceparent"]
    return traceparent


def _webhook(webhook: Webhook) -> dict[str, Any]:
    return {
        "webhook_id": webhook.webhook_id,
        "url": webhook.url,
        "events": names(webhook.events),
        "description": webhook.description,
        "enabled": webhook.enabled,
        "disabled_reason": webhook.disabled_reason,
        "failing_since": webhook.failing_since,
        "public_key": public_key_of(webhook),
        "created_at": webhook.created_at,
        "updated_at": webhook.updated_at,
    }


def _delivery(delivery: Delivery) -> dict[str, Any]:
    return {
        "delivery_id": delivery.delivery_id,
        "notification_id": delivery.notification_id,
        "type": delivery.type,
        "status": delivery.state,
        "tries": delivery.made,
        "status_code": delivery.status_code,
        "reason": delivery.reason,
        "created_at": delivery.created_at,
        "next_try_at": delivery.until if delivery.state is State.WAITING else None,
        "finished_at": delivery.finished_at,
    }


def _try(one: Try) -> TryAnswer:
    return TryAnswer(
        number=one.number,
        at=one.at,
        milliseconds=one.milliseconds,
        status_code=one.status_code,
        problem=one.problem,
        response=one.excerpt,
        response_truncated=one.truncated,
    )


def _test(answer: Answered) -> TestAnswer:
    return TestAnswer(
        ok=answer.ok,
        status_code=answer.status_code,
        problem=answer.problem,
        milliseconds=round(answer.seconds * 1000),
        response=answer.excerpt,
        response_truncated=answer.truncated,
    )

"""/v1/inbound/{tenant}/{channel}: the providers' webhooks. Signature first, always; 401 without one that holds."""

from fastapi import APIRouter, Request, Response

from functions.inbound.func import Inbound
from shared.http.routing import api_router, problems
from shared.ports.channel import WebhookRequest

TAKEN = "EVENT_RECEIVED"
"""
In words: after answers without a body one of Knative's proxies may tell the next provider 200 though nobody has taken
what it told (ADR 45).
"""


def router(inbound: Inbound) -> APIRouter:
    routes = api_router("Channels in")

    async def receive(tenant: str, channel: str, request: Request) -> Response:
        webhook = WebhookRequest(
            method=request.method,
            headers={name.lower(): value for name, value in request.headers.items()},
            query=dict(request.query_params),
            body=await request.body(),
        )
        traceparent = request.scope["state"]["traceparent"]
        challenge = await inbound.receive(tenant, channel, webhook, traceparent)
        return Response(challenge.answer if challenge else TAKEN, 200, media_type="text/plain")

    @routes.post("/v1/inbound/{tenant}/{channel}", responses=problems(404))
    async def receive_webhook(tenant: str, channel: str, request: Request) -> Response:
        """What the provider tells; answered with 200 once it is stored, so that a failure makes it come again."""
        return await receive(tenant, channel, request)

    @routes.get("/v1/inbound/{tenant}/{channel}", responses=problems(403, 404))
    async def verify_webhook(tenant: str, channel: str, request: Request) -> Response:
        """The provider checks that the address is ours (Meta: hub.challenge)."""
        return await receive(tenant, channel, request)

    return routes

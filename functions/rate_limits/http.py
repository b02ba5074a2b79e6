"""GET and PUT /v1/rate-limits."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field

from functions.rate_limits.func import MESSAGES, REQUESTS, RateLimits, decide
from shared.domain.identity import OPERATIONS, Tenant
from shared.http.caller import Caller
from shared.http.rate_limit import Limits
from shared.http.routing import Answer, Body, Integer, api_router, problems, scoped

OperationsCaller = Annotated[Caller, scoped(OPERATIONS)]
_Limit = Annotated[Integer, Field(ge=1, le=100_000_000)]


class OwnLimits(Body):
    """Requests a minute for each client address of the tenant."""

    requests_per_minute: _Limit | None = Field(None, description="Null: the installation's", examples=[60])
    messages_per_minute: _Limit | None = Field(
        None, description="The same for messages, history, receipts, files and presence", examples=[None]
    )


class OwnAnswer(Answer):
    requests_per_minute: int | None
    messages_per_minute: int | None


class RateLimitsAnswer(Answer):
    """What holds; 0: no limit."""

    requests_per_minute: int = Field(examples=[60])
    messages_per_minute: int = Field(examples=[10_000])
    own: OwnAnswer = Field(description="Null where the installation's holds")


def router(rate_limits: RateLimits) -> APIRouter:
    routes = api_router("Rate limits")

    @routes.get("/v1/rate-limits", responses=problems(403))
    async def get_rate_limits(caller: OperationsCaller, request: Request) -> RateLimitsAnswer:
        """How often the tenant's callers may come: per client address, and by class of route."""
        return _answer(await rate_limits.get(caller.tenant), request.app.state.limits)

    @routes.put("/v1/rate-limits", responses=problems(403, 409))
    async def set_rate_limits(body: OwnLimits, caller: OperationsCaller, request: Request) -> RateLimitsAnswer:
        """
        The tenant's own limits, at most the installation's. They hold within five seconds in every process,
        without a restart.
        """
        limits: Limits = request.app.state.limits
        tenant = await rate_limits.set(
            caller.tenant,
            requests=decide(REQUESTS, body.requests_per_minute, limits.requests_per_minute),
            messages=decide(MESSAGES, body.messages_per_minute, limits.messages_per_minute),
        )
        return _answer(tenant, limits)

    return routes


def _answer(tenant: Tenant, limits: Limits) -> RateLimitsAnswer:
    requests, messages = tenant.requests_per_minute, tenant.messages_per_minute
    return RateLimitsAnswer(
        requests_per_minute=limits.requests_per_minute if requests is None else requests,
        messages_per_minute=limits.messages_per_minute if messages is None else messages,
        own=OwnAnswer(requests_per_minute=requests, messages_per_minute=messages),
    )

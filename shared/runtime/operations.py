"""What only the runtime knows, as HTTP: metrics for Prometheus, and how the Triggers stand."""

from typing import Annotated, Any

from fastapi import APIRouter, Response

from shared.domain.identity import OPERATIONS
from shared.http.caller import Caller
from shared.http.routing import Answer, Page, api_router, problems, scoped
from shared.observability import metrics
from shared.runtime.trigger_runner import Runner, Standing


class TriggerAnswer(Answer):
    name: str
    filter: dict[str, str]
    function: str
    delivery: dict[str, Any]
    offset: int
    lag: int
    in_flight: int
    call_limit: int


def router(runner: Runner) -> APIRouter:
    routes = api_router("Operations")

    @routes.get("/metrics", response_class=Response)
    async def get_metrics() -> Response:
        """Prometheus text format."""
        return Response(metrics.expose(), headers={"content-type": metrics.CONTENT_TYPE})

    @routes.get("/v1/triggers", responses=problems(403))
    async def list_triggers(caller: Annotated[Caller, scoped(OPERATIONS)]) -> Page[TriggerAnswer]:
        """Every Trigger of the wiring, and how far it is behind."""
        return Page(items=[_answer(standing) for standing in runner.standings()], next_cursor=None)

    return routes


def _answer(standing: Standing) -> TriggerAnswer:
    trigger, delivery = standing.trigger, standing.trigger.delivery
    return TriggerAnswer(
        name=trigger.name,
        filter=dict(trigger.filter),
        function=trigger.subscriber,
        delivery={
            "retry": delivery.retry,
            "backoff_policy": "linear" if delivery.linear else "exponential",
            "backoff_delay_seconds": delivery.delay,
            "timeout_seconds": delivery.timeout,
            "dead_letter_sink": delivery.dead_letter,
        },
        offset=standing.committed,
        lag=standing.lag,
        in_flight=standing.in_flight,
        call_limit=standing.call_limit,
    )

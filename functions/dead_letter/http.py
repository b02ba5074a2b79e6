"""/v1/parked: list, replay and discard what the broker gave up."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Response
from pydantic import Field

from functions.dead_letter.func import DeadLetter
from shared.domain.errors import NotFound
from shared.domain.identity import OPERATIONS
from shared.http.caller import Caller
from shared.http.paging import Cursor, Limit, decode_cursor, encode_cursor
from shared.http.routing import Answer, Page, Timestamp, api_router, problems, scoped
from shared.repositories.parked import ParkedEvent

Operator = Annotated[Caller, scoped(OPERATIONS)]


class ParkedAnswer(Answer):
    parked_id: str
    trigger: str = Field(description="The subscriber that could not handle it")
    reason: str
    attempts: int = Field(description="How often the broker gave it up")
    parked_at: Timestamp
    due_at: Timestamp | None = Field(description="Replayed by itself then; null: only by hand")
    event: dict[str, Any] = Field(description="The CloudEvent")


class ReplayAnswer(Answer):
    status: str = "accepted"


def router(dead_letter: DeadLetter) -> APIRouter:
    routes = api_router("Operations")

    @routes.get("/v1/parked", responses=problems(403))
    async def list_parked(caller: Operator, limit: Limit = 50, cursor: Cursor = None) -> Page[ParkedAnswer]:
        after = str(decode_cursor(cursor, (str,))[0]) if cursor else None
        found = await dead_letter.parked.list(caller.tenant, after=after, limit=limit + 1)
        page = found[:limit]
        more = encode_cursor([page[-1].parked_id]) if len(found) > limit else None
        return Page(items=[_answer(one) for one in page], next_cursor=more)

    @routes.post("/v1/parked/{parked_id}/replay", status_code=202, responses=problems(403, 404))
    async def replay_parked(parked_id: str, caller: Operator) -> ReplayAnswer:
        """Hand the event to the broker again; whoever has handled it already changes nothing."""
        if not await dead_letter.replay(caller.tenant, parked_id):
            raise _none(parked_id)
        return ReplayAnswer()

    @routes.delete("/v1/parked/{parked_id}", status_code=204, responses=problems(403, 404))
    async def discard_parked(parked_id: str, caller: Operator) -> Response:
        """Forget the event for good."""
        if not await dead_letter.discard(caller.tenant, parked_id):
            raise _none(parked_id)
        return Response(status_code=204)

    return routes


def _none(parked_id: str) -> NotFound:
    return NotFound(f"nothing is parked under {parked_id!r}")


def _answer(parked: ParkedEvent) -> ParkedAnswer:
    return ParkedAnswer(
        parked_id=parked.parked_id,
        trigger=parked.trigger,
        reason=parked.reason,
        attempts=parked.attempts,
        parked_at=parked.parked_at,
        due_at=parked.due_at,
        event=orjson.loads(parked.event.to_structured()),
    )

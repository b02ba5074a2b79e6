"""/v1/events: CloudEvents in, and the log of events for operators."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from events import BadEvent
from events.cloudevent import from_http
from functions.events.func import EventDesk, Looked
from shared.domain.errors import Invalid, TooLarge
from shared.domain.identity import MESSAGES, OPERATIONS
from shared.http.caller import Caller
from shared.http.paging import Limit
from shared.http.routing import Answer, Page, api_router, problems, scoped

MAX_EVENT = 512 * 1024
"""Bytes; the broker takes 1 MiB with everything that is added on the way."""

Operator = Annotated[Caller, scoped(OPERATIONS)]
MessagesCaller = Annotated[Caller, scoped(MESSAGES)]


class EventTaken(Answer):
    status: str = "accepted"
    id: str


class LoggedEventAnswer(Answer):
    offset: int
    event: dict[str, Any] = Field(description="The CloudEvent in structured form")


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/cloudevents+json": {"schema": {"type": "object"}},
            "application/json": {"schema": {"type": "object"}},
        },
    }
}


def router(desk: EventDesk) -> APIRouter:
    routes = api_router("Events")

    @routes.post("/v1/events", status_code=202, responses=problems(403, 413), openapi_extra=_BODY)
    async def take_event(caller: MessagesCaller, request: Request) -> EventTaken:
        """
        A CloudEvent, binary or structured, of type `chat4all.message.send.requested.v1`,
        `chat4all.file.initiate.requested.v1` or `chat4all.file.complete.requested.v1`: the same as the REST call,
        through the broker. Its id is the idempotency key, and the id of the message or file when it is a UUID. What it
        asks for is checked when it is handled; what cannot be done is parked with its reason.
        """
        body = await request.body()
        if len(body) > MAX_EVENT:
            raise TooLarge(f"an event may have {MAX_EVENT:,} bytes")
        try:
            cloudevent = from_http(request.headers.raw, body)
        except BadEvent as error:
            raise Invalid(str(error)) from None
        traceparent = request.scope["state"]["traceparent"]
        return EventTaken(id=await desk.take(caller.tenant, cloudevent, caller.user_id, traceparent))

    @routes.get("/v1/events", response_model=Page[LoggedEventAnswer], responses=problems(403))
    async def list_events(
        caller: Operator,
        after: Annotated[int | None, Query(ge=0, le=2**53, description="Offset; left out: the newest")] = None,
        cursor: Annotated[int | None, Query(ge=0, le=2**53, description="As `after`")] = None,
        limit: Limit = 50,
        wait: Annotated[float, Query(ge=0, le=30, description="Seconds to wait for the first one")] = 0,
        trace_id: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$")] = None,
        message_id: Annotated[str | None, Query(min_length=36, max_length=36)] = None,
    ) -> Response:
        """The tenant's events, oldest first; `next_cursor` is the offset to give as `after` or `cursor` next."""
        if trace_id or message_id:
            logged = await desk.chain(caller.tenant, trace_id=trace_id, message_id=message_id)
            looked = Looked(logged, None)
        else:
            looked = await desk.read(caller.tenant, after=cursor if after is None else after, limit=limit, wait=wait)
        items = [{"offset": one.offset, "event": orjson.Fragment(one.event.to_structured())} for one in looked.events]
        more = None if looked.position is None else str(looked.position)
        return Response(orjson.dumps({"items": items, "next_cursor": more}), media_type="application/json")

    return routes

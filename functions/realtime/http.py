"""Tickets for sockets, and what /docs says of the stream. Sockets and streams themselves: gateway.py."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from pydantic import Field

from functions.realtime.func import Realtime
from shared.domain.errors import NotFound
from shared.domain.identity import MESSAGES
from shared.http.caller import Caller
from shared.http.routing import ActingUser, Answer, api_router, problems, scoped
from shared.http.tickets import LIFETIME, Admission

MessagesCaller = Annotated[Caller, scoped(MESSAGES)]


class TicketAnswer(Answer):
    ticket: str = Field(description="For `/ws?ticket=` or `/v1/stream?ticket=`: good once")
    expires_in: int = Field(description="Seconds", examples=[30])


class EventStream(Response):
    media_type = "text/event-stream"


def router(realtime: Realtime) -> APIRouter:
    routes = api_router("Real time")

    @routes.post("/v1/ws/ticket", status_code=201, responses=problems(403, 404))
    async def make_ticket(
        caller: MessagesCaller,
        user: ActingUser,
        origin: Annotated[
            str | None, Header(description="Sent by browsers: the ticket is for this origin only")
        ] = None,
    ) -> TicketAnswer:
        """What a page opens a socket with, so that no token is in a URL."""
        if caller.user_id is None and not await realtime.users.exists(caller.tenant, user):
            raise NotFound(f"there is no user {user!r}")
        ticket = await realtime.tickets.issue(Admission(caller, user), origin)
        return TicketAnswer(ticket=ticket, expires_in=int(LIFETIME.total_seconds()))

    @routes.get("/v1/stream", response_class=EventStream, responses=problems(403, 404, 429))
    async def read_stream(
        caller: MessagesCaller,
        ticket: Annotated[str | None, Query(description="From POST /v1/ws/ticket, for EventSource")] = None,
        token: Annotated[
            str | None, Query(description="An access token, where neither header nor ticket will do")
        ] = None,
        act_as: Annotated[str | None, Query(description="As X-Act-As, for EventSource")] = None,
        last_event_id: Annotated[str | None, Header(description="Where to go on; browsers send it")] = None,
    ) -> Response:
        """
        The frames of `/ws` as server-sent events; what was missed comes first, then `ready`.

        The id of an event says what its reader has. Acknowledge by PUT /v1/conversations/{conversation_id}/read.
        """
        raise NotFound("streams are served by the gateway; here is only this function's HTTP face")

    return routes

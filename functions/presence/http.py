"""/v1/presence, and who is writing in a conversation."""

from typing import Annotated

from fastapi import APIRouter, Header, Request
from pydantic import Field, StringConstraints

from events.vocabulary import PresenceStatus
from functions.presence.func import WhoIsThere
from shared.domain.identity import MESSAGES
from shared.domain.presence import Standing
from shared.http.caller import Caller
from shared.http.routing import ActingUser, Answer, Body, Reader, Timestamp, api_router, problems, scoped

Id = Annotated[str, StringConstraints(min_length=1, max_length=128)]
MessagesCaller = Annotated[Caller, scoped(MESSAGES)]


class Heartbeat(Body):
    user_id: Id | None = Field(None, description="Left out: the acting user", examples=["userA"])
    device: Id = Field("default", description="Yours to name; a user is as present as the most present device")
    status: PresenceStatus = Field(PresenceStatus.ONLINE, description="offline: the device says goodbye")


class PresenceAnswer(Answer):
    user_id: str
    status: PresenceStatus
    last_seen: Timestamp | None = Field(description="null for somebody who never was there")


class TypingAnswer(Answer):
    status: str = "accepted"


def router(who: WhoIsThere) -> APIRouter:
    routes = api_router("Presence")

    @routes.post("/v1/presence/heartbeat", responses=problems(403))
    async def heartbeat(
        body: Heartbeat,
        caller: MessagesCaller,
        request: Request,
        x_act_as: Annotated[str | None, Header(description="The user that a client token acts for")] = None,
    ) -> PresenceAnswer:
        """The device is there: for 30 s, unless it says so again. An open socket needs no heartbeats."""
        user_id = caller.acting_as(body.user_id or x_act_as)
        trace = request.scope["state"]["traceparent"]
        return _answer(user_id, await who.heartbeat(caller.tenant, user_id, body.device, body.status, trace))

    @routes.get("/v1/presence/{user_id}", responses=problems(403, 404))
    async def get_presence(user_id: str, caller: MessagesCaller, reader: Reader) -> PresenceAnswer:
        """Of oneself, and of those one shares a conversation with; a client may ask for anybody of its tenant."""
        return _answer(user_id, await who.of(caller.tenant, user_id, reader))

    @routes.post("/v1/conversations/{conversation_id}/typing", status_code=202, responses=problems(403, 404))
    async def type_in_conversation(conversation_id: str, caller: MessagesCaller, user: ActingUser) -> TypingAnswer:
        """The acting user is writing: shown for 6 s to the members who listen now, told once in 3 s at most."""
        await who.typing.typed(caller.tenant, conversation_id, user)
        return TypingAnswer()

    return routes


def _answer(user_id: str, standing: Standing) -> PresenceAnswer:
    return PresenceAnswer(user_id=user_id, status=standing.status, last_seen=standing.last_seen)

"""/v1/conversations and the members under it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field, StringConstraints

from events.vocabulary import Media, System, Text
from functions.conversations.func import ConversationBook, Summary
from shared.domain.conversation import MAX_MEMBERS, Conversation
from shared.domain.identity import MESSAGES
from shared.http.caller import Caller
from shared.http.paging import Cursor, Limit, decode_cursor, encode_cursor
from shared.http.routing import ActingUser, Answer, Body, Page, Reader, Timestamp, api_router, problems, scoped

PREVIEW = 120
"""Characters of the last message that a list shows."""

Id = Annotated[str, StringConstraints(min_length=1, max_length=128)]
ConversationId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:~-]{0,127}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=40)]
Value = Annotated[str, StringConstraints(max_length=500)]
MessagesCaller = Annotated[Caller, scoped(MESSAGES)]


class NewConversation(Body):
    type: Literal["private", "group"]
    members: Annotated[list[Id], Field(min_length=1, max_length=MAX_MEMBERS)] = Field(examples=[["userA", "userB"]])
    metadata: dict[Name, Value] = Field({}, max_length=50, examples=[{"name": "Equipe"}])
    conversation_id: ConversationId | None = Field(None, description="Yours, or left out", examples=[None])


class ConversationChanges(Body):
    metadata: dict[Name, Value] = Field(max_length=50, description="Replaces what was there")


class NewMember(Body):
    user_id: Id


class ConversationAnswer(Answer):
    conversation_id: str
    type: Literal["private", "group"]
    members: list[str]
    created_at: Timestamp
    metadata: dict[str, str]


class LastMessage(Answer):
    seq: int
    from_: str = Field(serialization_alias="from")
    preview: str
    sent_at: Timestamp


class ConversationSummary(ConversationAnswer):
    last_message: LastMessage | None
    unread_count: int


def router(book: ConversationBook) -> APIRouter:
    routes = api_router("Conversations")

    @routes.post(
        "/v1/conversations",
        status_code=201,
        responses={
            200: {"model": ConversationAnswer, "description": "It was there already"},
            **problems(403, 404, 409),
        },
    )
    async def create_conversation(
        body: NewConversation, caller: MessagesCaller, request: Request, response: Response
    ) -> ConversationAnswer:
        """Private: exactly two, and the same two again are the same conversation. Group: 1 to 1,024."""
        by = caller.user_id or request.headers.get("x-act-as") or body.members[0]
        if caller.user_id is not None and caller.user_id not in body.members:
            caller.acting_as(body.members[0])
        conversation, members, created = await book.create(
            caller.tenant,
            by,
            body.type,
            body.members,
            body.metadata,
            body.conversation_id,
            request.scope["state"]["traceparent"],
        )
        response.status_code = 201 if created else 200
        return _answer(conversation, members)

    @routes.get("/v1/conversations", responses=problems(403, 404))
    async def list_conversations(
        caller: MessagesCaller, user: ActingUser, limit: Limit = 50, cursor: Cursor = None
    ) -> Page[ConversationSummary]:
        """Those of the acting user, latest activity first."""
        summaries = [_summary(one) for one in await book.of_user(caller.tenant, user)]
        start = int(decode_cursor(cursor, (int,))[0]) if cursor else 0
        page = summaries[max(start, 0) : max(start, 0) + limit]
        more = encode_cursor([start + limit]) if start + limit < len(summaries) else None
        return Page(items=page, next_cursor=more)

    @routes.get("/v1/conversations/{conversation_id}", responses=problems(403, 404))
    async def get_conversation(conversation_id: str, caller: MessagesCaller, user: Reader) -> ConversationSummary:
        """Members only; a client that acts for nobody sees its tenant's, with nothing unread."""
        conversation, _ = await book.of_reader(caller.tenant, conversation_id, user)
        return _summary(await book.summary(caller.tenant, conversation, user))

    @routes.patch("/v1/conversations/{conversation_id}", responses=problems(403, 404, 409))
    async def change_conversation(
        conversation_id: str, body: ConversationChanges, caller: MessagesCaller, user: Reader
    ) -> ConversationAnswer:
        return _answer(*await book.change_metadata(caller.tenant, conversation_id, user, body.metadata))

    @routes.post("/v1/conversations/{conversation_id}/members", status_code=201, responses=problems(403, 404, 409))
    async def add_member(
        conversation_id: str, body: NewMember, caller: MessagesCaller, request: Request
    ) -> ConversationAnswer:
        """Groups; a system message records it. A client token that names nobody acts for the tenant itself."""
        by = await _who_changes(book, caller, request, conversation_id)
        trace = request.scope["state"]["traceparent"]
        await book.add(caller.tenant, conversation_id, body.user_id, by, trace)
        return _answer(*await book.of_reader(caller.tenant, conversation_id, body.user_id))

    @routes.delete(
        "/v1/conversations/{conversation_id}/members/{user_id}", status_code=204, responses=problems(403, 404, 409)
    )
    async def remove_member(conversation_id: str, user_id: str, caller: MessagesCaller, request: Request) -> Response:
        """Leaving is removing oneself."""
        named = request.headers.get("x-act-as")
        by = caller.acting_as(named or caller.user_id or user_id)
        await book.remove(caller.tenant, conversation_id, user_id, by, request.scope["state"]["traceparent"])
        return Response(status_code=204)

    return routes


async def _who_changes(book: ConversationBook, caller: Caller, request: Request, conversation_id: str) -> str:
    """The acting user; a client that names nobody acts as whoever made the conversation."""
    named = request.headers.get("x-act-as")
    if named or caller.user_id is not None:
        return caller.acting_as(named)
    conversation = await book.conversations.get(caller.tenant, conversation_id)
    return caller.acting_as(conversation.created_by if conversation else "nobody")


def _answer(conversation: Conversation, members: object) -> ConversationAnswer:
    assert isinstance(members, list | tuple)
    return ConversationAnswer(
        conversation_id=conversation.conversation_id,
        type=conversation.type,
        members=list(members),
        created_at=conversation.created_at,
        metadata=conversation.metadata,
    )


def _summary(summary: Summary) -> ConversationSummary:
    last = summary.last
    return ConversationSummary(
        **_answer(summary.conversation, summary.members).model_dump(exclude={"created_at"}),
        created_at=summary.conversation.created_at,
        last_message=None
        if last is None
        else LastMessage(seq=last.seq, from_=last.sender, preview=_preview(last.payload), sent_at=last.created_at),
        unread_count=summary.unread,
    )


def _preview(payload: object) -> str:
    match payload:
        case Text(text=text):
            return text[:PREVIEW]
        case Media(media_type=kind, caption=caption):
            return (caption or f"[{kind}]")[:PREVIEW]
        case System(action=action, user_id=user_id):
            return f"{user_id} {action}"
        case _:
            return ""

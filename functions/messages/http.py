"""History, status and receipts: /v1/messages/{id}… and /v1/conversations/{id}/messages."""

from typing import Annotated, Any

import msgspec
import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, StrictInt

from events import MessageAccepted
from events.vocabulary import ReceiptKind, Status, rfc3339
from functions.messages.func import Messages, Standing
from shared.domain.identity import MESSAGES
from shared.domain.message import EXPIRED
from shared.domain.status import Report
from shared.http.caller import Caller
from shared.http.paging import Cursor, Limit, decode_cursor, encode_cursor
from shared.http.routing import ActingUser, Answer, Body, Page, Reader, Timestamp, api_router, problems, scoped

MessagesCaller = Annotated[Caller, scoped(MESSAGES)]
JSON = "application/json"


class DeliveryAnswer(Answer):
    recipient: str
    channel: str
    status: Status
    provider_message_id: str | None = None
    reason: str | None = Field(None, examples=["no_identity"])
    updated_at: Timestamp


class MessageAnswer(Answer):
    seq: int
    message_id: str
    conversation_id: str
    from_: str = Field(alias="from")
    to: list[str] | None = Field(description="null: all other members")
    channels: list[str]
    payload: dict[str, Any] | None = Field(description="null when its time to live is over")
    metadata: dict[str, str]
    reply_to: str | None
    created_at: Timestamp
    expires_at: Timestamp | None
    origin: str | None = Field(description="The channel that it came in by; null when a client of ours sent it")
    status: Status


class MessageWithDeliveries(MessageAnswer):
    deliveries: list[DeliveryAnswer]


class StatusEntry(Answer):
    status: Status
    timestamp: Timestamp
    source: str = Field(description="Who said so: send, deliver, provider, client; inferred when nobody did")
    recipient: str
    channel: str
    attempt: int
    reason: str | None = None


class StatusAnswer(Answer):
    message_id: str
    status: Status
    deliveries: list[DeliveryAnswer]


class ReadUpTo(Body):
    seq: StrictInt = Field(ge=1, description="Everything up to this number is read")


class ReceiptAnswer(Answer):
    status: str = "accepted"


def router(messages: Messages) -> APIRouter:
    routes = api_router("Messages")

    @routes.get(
        "/v1/conversations/{conversation_id}/messages", response_model=Page[MessageAnswer], responses=problems(403, 404)
    )
    async def list_messages(
        conversation_id: str,
        caller: MessagesCaller,
        user: Reader,
        since: Annotated[int, Query(ge=0, le=2**53, description="From this number + 1 on")] = 0,
        before: Annotated[int | None, Query(ge=1, le=2**53, description="The last ones before this number")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> Response:
        """History in the order of seq; `before` pages backwards, each page ascending."""
        if cursor is not None:
            way, number = decode_cursor(cursor, (str, int))
            since, before = (int(number), None) if way == "since" else (0, int(number))
        found = await messages.page(caller.tenant, conversation_id, user, since=since, before=before, limit=limit)
        more = None
        if len(found) == limit:
            first, last = found[0][0].seq, found[-1][0].seq
            more = encode_cursor(["since", last]) if before is None else encode_cursor(["before", first])
            more = None if before is not None and first == 1 else more
        items = [view(message, status) for message, status in found]
        return _json({"items": items, "next_cursor": more})

    @routes.get("/v1/messages/{message_id}", response_model=MessageWithDeliveries, responses=problems(403, 404))
    async def get_message(message_id: str, caller: MessagesCaller, user: Reader) -> Response:
        standing = await messages.get(caller.tenant, message_id, user)
        return _json({**view(standing.message, standing.status), "deliveries": _deliveries(standing)})

    @routes.get("/v1/messages/{message_id}/status", response_model=StatusAnswer, responses=problems(403, 404))
    async def get_status(message_id: str, caller: MessagesCaller, user: Reader) -> Response:
        standing = await messages.get(caller.tenant, message_id, user)
        return _json(
            {
                "message_id": standing.message.message_id,
                "status": standing.status,
                "deliveries": _deliveries(standing),
            }
        )

    @routes.get(
        "/v1/messages/{message_id}/status/history",
        response_model=list[StatusEntry],
        responses=problems(403, 404),
    )
    async def get_status_history(message_id: str, caller: MessagesCaller, user: Reader) -> Response:
        """Every step forward of every recipient and channel, in order of time."""
        standing = await messages.get(caller.tenant, message_id, user)
        return _json([_entry(report) for report in standing.history])

    @routes.post("/v1/messages/{message_id}/read", status_code=202, responses=problems(403, 404))
    async def read_message(
        message_id: str, caller: MessagesCaller, user: ActingUser, request: Request
    ) -> ReceiptAnswer:
        """By the recipient; reading implies delivery. Repeating it changes nothing."""
        trace = request.scope["state"]["traceparent"]
        await messages.acknowledge(caller.tenant, message_id, user, ReceiptKind.READ, trace)
        return ReceiptAnswer()

    @routes.post("/v1/messages/{message_id}/delivered", status_code=202, responses=problems(403, 404))
    async def acknowledge_message(
        message_id: str, caller: MessagesCaller, user: ActingUser, request: Request
    ) -> ReceiptAnswer:
        """By the recipient: the message is in their client. Repeating it changes nothing."""
        trace = request.scope["state"]["traceparent"]
        await messages.acknowledge(caller.tenant, message_id, user, ReceiptKind.DELIVERED, trace)
        return ReceiptAnswer()

    @routes.put("/v1/conversations/{conversation_id}/read", status_code=202, responses=problems(403, 404))
    async def read_conversation(
        conversation_id: str, body: ReadUpTo, caller: MessagesCaller, user: ActingUser, request: Request
    ) -> ReceiptAnswer:
        """The acting user has read everything up to `seq`."""
        trace = request.scope["state"]["traceparent"]
        await messages.read_up_to(caller.tenant, conversation_id, user, body.seq, trace)
        return ReceiptAnswer()

    return routes


def view(message: MessageAccepted, status: Status) -> dict[str, Any]:
    """A message as history shows it."""
    return {
        "seq": message.seq,
        "message_id": message.message_id,
        "conversation_id": message.conversation_id,
        "from": message.sender,
        "to": message.to,
        "channels": message.channels,
        "payload": None if message.payload == EXPIRED else msgspec.to_builtins(message.payload),
        "metadata": message.metadata,
        "reply_to": message.reply_to,
        "created_at": rfc3339(message.created_at),
        "expires_at": None if message.expires_at is None else rfc3339(message.expires_at),
        "origin": message.origin,
        "status": status,
    }


def _deliveries(standing: Standing) -> list[dict[str, Any]]:
    return [
        {
            "recipient": report.recipient,
            "channel": report.channel,
            "status": report.status,
            "provider_message_id": report.provider_message_id,
            "reason": report.reason,
            "updated_at": rfc3339(report.at),
        }
        for report in standing.deliveries
    ]


def _entry(report: Report) -> dict[str, Any]:
    return {
        "status": report.status,
        "timestamp": rfc3339(report.at),
        "source": report.source,
        "recipient": report.recipient,
        "channel": report.channel,
        "attempt": report.attempt,
        "reason": report.reason,
    }


def _json(content: object) -> Response:
    return Response(orjson.dumps(content), media_type=JSON)

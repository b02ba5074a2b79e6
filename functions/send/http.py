"""
POST /v1/messages and /v1/messages/batch (A6).

The single send is the hot path of the platform: ``MessagesEndpoint`` answers it without FastAPI's stack, which
costs several times what the send itself does (ADR 0005). The route of the same path in ``router`` documents it
and serves where FastAPI is all there is; both use the same model, the same ``Send`` and the same problems.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Request, Response
from msgspec import structs
from pydantic import Field, StrictBool, StrictInt, StringConstraints, ValidationError

from events import MessageSendRequested, derived_id
from events.vocabulary import File, Media, Payload, Text
from functions.send.func import Send
from shared.domain.errors import Chat4AllError, Conflict, Invalid, TooLarge, Unauthenticated
from shared.domain.identity import MESSAGES
from shared.domain.message import MAX_RECIPIENTS, MAX_TEXT
from shared.http.authenticator import Authenticator
from shared.http.caller import Caller
from shared.http.middleware import header
from shared.http.problems import invalid, problem_response, require_json
from shared.http.rate_limit import MESSAGES as MESSAGES_POLICY
from shared.http.rate_limit import Headers, RateLimiter
from shared.http.routing import Answer, Body, CallerOf, api_router, problems
from shared.observability import metrics, spans
from shared.observability.log import log
from shared.observability.trace import TraceContext
from shared.repositories.timeline import Accepted, MessageIdTaken

MAX_BODY = 512 * 1024
"""Bytes of one message as JSON: the longest text, every character escaped, and room for the rest."""
MAX_BATCH = 500

Id = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Recipient = Annotated[str, StringConstraints(min_length=1, max_length=320)]


class TextPayload(Body):
    type: Literal["text"]
    text: str = Field(description=f"1 to {MAX_TEXT:,} characters", examples=["Olá!"])


class MediaPayload(Body):
    """A picture, sound, film or document that is at a public URL."""

    type: Literal["media"]
    media_type: Literal["image", "audio", "video", "document"]
    url: str = Field(pattern="^https?://", max_length=2048, examples=["https://example.org/cat.jpg"])
    mime_type: str | None = Field(None, max_length=128)
    filename: str | None = Field(None, max_length=255)
    caption: str | None = Field(None, max_length=4096)


class FilePayload(Body):
    type: Literal["file"]
    file_id: Id
    caption: str | None = Field(None, max_length=4096)


class Message(Body):
    """A message to be sent."""

    message_id: str | None = Field(
        None, description="A UUID of yours: sent again, it is the same message", examples=[None]
    )
    conversation_id: Id
    from_: Id | None = Field(None, alias="from", description="Left out with a user token: that user")
    to: Recipient | Annotated[list[Recipient], Field(max_length=MAX_RECIPIENTS)] | None = Field(
        None,
        description="user_ids or addresses such as whatsapp:+5511999998888; left out: all other members",
        examples=[["userB"]],
    )
    channels: Annotated[list[Id], Field(max_length=32)] | None = Field(
        None, description='Channel names or ["all"]; left out: in-app', examples=[["whatsapp", "chat4all"]]
    )
    payload: Annotated[TextPayload | MediaPayload | FilePayload, Field(discriminator="type")]
    metadata: dict[str, str] = Field(
        {}, description='Yours; "priority" is a usual one', examples=[{"priority": "high"}]
    )
    request_delivery_receipt: StrictBool = Field(False, description="Emit message.delivered for this message")
    request_read_receipt: StrictBool = Field(False, description="Emit message.read for this message")
    reply_to: str | None = Field(None, description="message_id of the message that this one answers")
    ttl_seconds: StrictInt | None = Field(None, description="The payload is forgotten after this many seconds")


class AcceptedAnswer(Answer):
    """Stored and numbered: history shows it at once."""

    status: Literal["accepted"]
    message_id: str
    conversation_id: str
    seq: int = Field(description="Its number in the conversation: 1, 2, 3 … without gaps")


class Batch(Body):
    messages: Annotated[list[Any], Field(min_length=1, max_length=MAX_BATCH)] = Field(
        description="Each as in POST /v1/messages; one that is refused does not fail the others"
    )


class BatchAnswer(Answer):
    results: list[dict[str, Any]] = Field(
        description="In the order of the messages: the answer of POST /v1/messages, or status `rejected` and a problem"
    )


def requested(body: Message, caller: Caller) -> MessageSendRequested:
    """
    What the function takes.

    Raises:
        Forbidden: the token may not send for this user.
        Invalid: nobody is named as the sender.
    """
    caller.require(MESSAGES)
    return MessageSendRequested(
        conversation_id=body.conversation_id,
        sender=caller.acting_as(body.from_),
        payload=_payload(body.payload),
        message_id=body.message_id,
        to=tuple(body.to) if isinstance(body.to, list) else body.to,
        channels=None if body.channels is None else tuple(body.channels),
        metadata=body.metadata,
        request_delivery_receipt=body.request_delivery_receipt,
        request_read_receipt=body.request_read_receipt,
        reply_to=body.reply_to,
        ttl_seconds=body.ttl_seconds,
    )


async def accept(
    send: Send, caller: Caller, asked: MessageSendRequested, key: bytes | None, traceparent: str
) -> Accepted:
    """
    A message without a message_id of its own gets the one that its Idempotency-Key stands for, for ever.

    Raises:
        Conflict: the key, or the message_id, is that of another message; and see ``Send.accept``.
    """
    if key is None or asked.message_id is not None:
        return await send.accept(caller.tenant, asked, traceparent=traceparent)
    named = derived_id("idempotency-key", caller.tenant, caller.client_id, key.decode("latin-1"))
    try:
        return await send.accept(caller.tenant, structs.replace(asked, message_id=named), traceparent=traceparent)
    except MessageIdTaken:
        raise Conflict("this Idempotency-Key was used for another message; use a new one for a new message") from None


def answer(accepted: Accepted) -> dict[str, Any]:
    message = accepted.message
    return {
        "status": "accepted",
        "message_id": message.message_id,
        "conversation_id": message.conversation_id,
        "seq": message.seq,
    }


def router(send: Send) -> APIRouter:
    routes = api_router("Messages")

    @routes.post(
        "/v1/messages",
        status_code=202,
        response_model=AcceptedAnswer,
        responses=problems(403, 404, 409, 413, 429),
    )
    async def send_message(body: Message, caller: CallerOf, request: Request) -> Response:
        """
        Store, number and hand over one message.

        The same message_id with the same content is the same message: 202 again, `Idempotent-Replayed: true`.
        """
        traceparent = request.scope["state"]["traceparent"]
        key = header(request.scope, b"idempotency-key")
        accepted = await accept(send, caller, requested(body, caller), key, traceparent)
        return Response(
            orjson.dumps(answer(accepted)),
            202,
            headers={"Idempotent-Replayed": "true"} if accepted.replayed else None,
            media_type="application/json",
        )

    @routes.post("/v1/messages/batch", status_code=202, response_model=BatchAnswer, responses=problems(403, 413, 429))
    async def send_batch(body: Batch, caller: CallerOf, request: Request) -> Response:
        """Up to 500 messages; those of one conversation are numbered in the order given."""
        state = request.scope["state"]
        drafts = [await _prepared(send, caller, item) for item in body.messages]
        stored = await asyncio.gather(
            *(
                _stored(send, caller.tenant, draft, traceparent=state["traceparent"])
                for draft in drafts
                if not isinstance(draft, Exception)
            )
        )
        outcomes = iter(stored)
        results = [
            _result(draft if isinstance(draft, Exception) else next(outcomes), request.url.path, state["trace_id"])
            for draft in drafts
        ]
        return Response(orjson.dumps({"results": results}), 202, media_type="application/json")

    return routes


Receive = Callable[[], Awaitable[dict[str, Any]]]
AsgiSend = Callable[[dict[str, Any]], Awaitable[None]]


class MessagesEndpoint:
    """POST /v1/messages as bare ASGI: trace, token, limit, model, ``Send``, answer; one wide log line."""

    def __init__(self, send: Send, authenticator: Authenticator, limiter: RateLimiter) -> None:
        self._send = send
        self._authenticator = authenticator
        self._limiter = limiter

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: AsgiSend) -> None:
        started = perf_counter()
        given = header(scope, b"traceparent")
        with spans.request("POST", given.decode("latin-1") if given else None) as span:
            status, headers, body = await self._respond(scope, receive, span)
            headers.append((b"traceparent", str(span).encode("ascii")))
            spans.answered("POST", "/v1/messages", status)
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        metrics.accept_seconds.observe(perf_counter() - started)

    async def _respond(self, scope: dict[str, Any], receive: Receive, span: TraceContext) -> tuple[int, Headers, bytes]:
        limit: Headers = []
        try:
            authorization = header(scope, b"authorization")
            caller = self._authenticator.known(authorization)
            if caller is None:
                caller = await self._authenticator.authenticate(authorization)
            limit, refused = await self._limiter.judge(caller.tenant, MESSAGES_POLICY, scope)
            if refused is not None:
                raise refused
            body = await read_body(receive)
            if body:
                require_json(header(scope, b"content-type"))
            asked = requested(parse(body), caller)
            accepted = await accept(self._send, caller, asked, header(scope, b"idempotency-key"), str(span))
        except Unauthenticated as error:
            answered, limit = await self._limiter.turn_away(error, scope)
            return _refused(answered, scope, span, limit)
        except Chat4AllError as error:
            return _refused(error, scope, span, limit)
        except Exception as error:  # noqa: BLE001  the border of the process: nothing leaves but a problem
            log.error("request failed", http_route="/v1/messages", trace_id=span.trace_id, exc_info=error)
            return _refused(error, scope, span, limit)
        message = accepted.message
        spans.about(tenant=caller.tenant, conversation_id=message.conversation_id, message_id=message.message_id)
        log.info(
            "message accepted",
            function="send",
            tenant=caller.tenant,
            message_id=message.message_id,
            conversation_id=message.conversation_id,
            trace_id=span.trace_id,
            span_id=span.span_id,
            outcome="replayed" if accepted.replayed else "accepted",
        )
        said = orjson.dumps(answer(accepted))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(said)), *limit]
        if accepted.replayed:
            headers.append((b"idempotent-replayed", b"true"))
        return 202, headers, said


def _refused(error: Exception, scope: Any, span: TraceContext, limit: Headers) -> tuple[int, Headers, bytes]:
    status, headers, body = problem_response(error, instance=scope["path"], trace_id=span.trace_id)
    return status, headers + limit, body


async def read_body(receive: Receive) -> bytes:
    """
    Raises:
        TooLarge: more than MAX_BODY bytes.
        Invalid: the caller hung up in the middle.
    """
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        chunks, size = [body], len(body)
        while message.get("more_body"):
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Invalid("the request ended before its body did")
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > MAX_BODY:
                break
        body = b"".join(chunks)
    if len(body) > MAX_BODY:
        raise TooLarge(f"a message may have {MAX_BODY:,} bytes; files go by POST /v1/files/initiate")
    return body


def parse(body: bytes) -> Message:
    """
    Raises:
        Invalid: no JSON, or not of the model; errors point at the fields.
    """
    try:
        return Message.model_validate_json(body)
    except ValidationError as error:
        raise _invalid(error) from None


async def _prepared(send: Send, caller: Caller, item: Any) -> Any:
    try:
        try:
            body = Message.model_validate(item)
        except ValidationError as error:
            raise _invalid(error) from None
        return await send.prepare(caller.tenant, requested(body, caller))
    except Chat4AllError as error:
        return error


async def _stored(send: Send, tenant: str, draft: Any, *, traceparent: str) -> Accepted | Chat4AllError:
    try:
        return await send.store(tenant, draft, traceparent=traceparent)
    except Chat4AllError as error:
        return error


def _result(outcome: Accepted | Exception, instance: str, trace_id: str) -> dict[str, Any]:
    if isinstance(outcome, Accepted):
        replayed = {"replayed": True} if outcome.replayed else {}
        return {**answer(outcome), **replayed}
    _, _, body = problem_response(outcome, instance=instance, trace_id=trace_id)
    return {"status": "rejected", "problem": orjson.loads(body)}


def _invalid(error: ValidationError) -> Invalid:
    found = error.errors(include_url=False, include_input=False)
    if found[0]["type"] == "json_invalid":
        detail = f"the body is not JSON: {found[0]['ctx']['error']}"
        return Invalid(errors=[{"pointer": "", "detail": detail}])
    return invalid({**one, "loc": ("body", *_location(one["loc"]))} for one in found)


def _location(loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Without the name of the union's member, which is not in the body."""
    return loc[:1] + loc[2:] if loc[:1] in (("payload",), ("to",)) else loc


def _payload(body: TextPayload | MediaPayload | FilePayload) -> Payload:
    match body:
        case TextPayload():
            return Text(text=body.text)
        case MediaPayload():
            return Media(
                media_type=body.media_type,
                url=body.url,
                mime_type=body.mime_type,
                filename=body.filename,
                caption=body.caption,
            )
        case FilePayload():
            return File(file_id=body.file_id, caption=body.caption)

"""
The host of a function: func-python's contract outside, one typed event inside, one wide log line for each.

The same host is called by our own server, by stock func-python and, without a socket, by the trigger runner.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from time import perf_counter
from typing import Any

from events import BadEvent, CloudEvent, Event, EventData, TimerTicked, from_cloudevent
from events.cloudevent import check_attributes, from_http
from shared.domain.errors import Chat4AllError, Refused
from shared.observability import metrics, spans
from shared.observability.log import bind, log
from shared.observability.trace import TraceContext
from shared.ports import Clock
from shared.runtime.functions import AnyEventFunction, EventFunction
from shared.runtime.subscriber import Answer, Receive, Scope, Send
from shared.runtime.verdict import Verdict, judge

BODY_LIMIT = 1024 * 1024
"""Bytes; the real broker takes no more either."""

REASON = 1024
"""Bytes that a dead letter carries of an answer, on the real broker too."""

LARGEST = 64 * 1024 * 1024
"""Bytes, for a function that takes every event."""

PING = "dev.knative.sources.ping"
"""A PingSource cannot choose its event's type, so on Knative a tick comes under this one."""

_NO_LENGTH = (b"content-length", b"0")
_TOO_LARGE = 413
_METHOD_NOT_ALLOWED = 405


class FunctionHost:
    """``name`` is the service's, as it stands in logs and metrics."""

    def __init__(self, name: str, function: EventFunction | AnyEventFunction, clock: Clock) -> None:
        self._name = name
        self._handle: Callable[[Any], Awaitable[None]] = function.handle
        self._clock = clock
        self._catalogue: dict[str, type[EventData]] = {
            model.TYPE: model for model in function.accepts if issubclass(model, EventData)
        }
        self._takes_all = CloudEvent in function.accepts
        # A dead letter sink must take whatever the log holds, or the event holds its group back for ever.
        self._limit = LARGEST if self._takes_all else BODY_LIMIT
        if TimerTicked in function.accepts:
            self._catalogue[PING] = TimerTicked
        self._seconds = metrics.handle_seconds.labels(name)
        self._age = metrics.event_age_seconds.labels(name)
        self._verdicts = {verdict: metrics.events_handled.labels(name, verdict.name.lower()) for verdict in Verdict}
        self._answers = {
            verdict: Answer(verdict.value, [] if verdict is Verdict.DONE else [_NO_LENGTH]) for verdict in Verdict
        }

    def start(self, cfg: Mapping[str, str]) -> None:
        """Nothing to open: the ports were given."""

    def stop(self) -> None:
        """Nothing to close."""

    def alive(self) -> tuple[bool, str]:
        return True, "alive"

    def ready(self) -> tuple[bool, str]:
        return True, self._name

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        One request: answers 204 or 503 with an empty body, 422 with the reason, 405 to anything but a POST, 413 over
        1 MiB.
        """
        if scope["method"] != "POST":
            headers = [(b"allow", b"POST"), _NO_LENGTH]
            await send({"type": "http.response.start", "status": _METHOD_NOT_ALLOWED, "headers": headers})
            await send(_EMPTY)
            return
        message = await receive()
        body: bytes | None = message.get("body", b"")
        if message.get("more_body") or message["type"] != "http.request" or len(body or b"") > self._limit:
            body = await _rest(message, receive, self._limit)
            if body is None:
                return  # the caller hung up in the middle: half an event is none
            if len(body) > self._limit:
                log.warning("event refused: too large", function=self._name, limit=self._limit)
                await send({"type": "http.response.start", "status": _TOO_LARGE, "headers": [_NO_LENGTH]})
                await send(_EMPTY)
                return
        try:
            event = from_http(scope["headers"], body or b"")
        except BadEvent as error:
            answer = self._answer(*self._refuse(error))
        else:
            answer = await self._answered(event)
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def answer(self, event: CloudEvent) -> Answer:
        """What ``handle`` answers to the event in a request."""
        if len(event.data) > self._limit:
            log.warning("event refused: too large", function=self._name, limit=self._limit)
            return Answer(_TOO_LARGE, [_NO_LENGTH])
        try:
            check_attributes(event.attributes)
        except BadEvent as error:
            return self._answer(*self._refuse(error))
        return await self._answered(event)

    async def _answered(self, event: CloudEvent) -> Answer:
        with spans.processing(event.attributes, self._name) as span:
            return self._answer(*await self._in_span(span, event))

    def _answer(self, verdict: Verdict, reason: str) -> Answer:
        if not reason:
            return self._answers[verdict]
        # The broker keeps the first 1024 bytes of what a refused event was answered with: the parked event's reason.
        told = reason.encode()[:REASON]
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(told))]
        return Answer(verdict.value, headers, told)

    async def _in_span(self, span: TraceContext, cloudevent: CloudEvent) -> tuple[Verdict, str]:
        event: Event[Any] | CloudEvent = cloudevent
        if not self._takes_all:
            try:
                event = replace(from_cloudevent(cloudevent, self._catalogue), traceparent=str(span))
            except BadEvent as error:
                return self._refuse(error)
        data = event.data
        message_id, conversation_id = getattr(data, "message_id", None), getattr(data, "conversation_id", None)
        bind(
            function=self._name,
            event_id=cloudevent.attributes["id"],
            event_type=cloudevent.attributes["type"],
            tenant=cloudevent.attributes.get("tenant"),
            message_id=message_id,
            conversation_id=conversation_id,
            trace_id=span.trace_id,
            span_id=span.span_id,
        )
        spans.about(conversation_id=conversation_id, message_id=message_id)
        return await self._attempt(event)

    def _refuse(self, error: BadEvent) -> tuple[Verdict, str]:
        self._verdicts[Verdict.DEAD].inc()
        spans.ended("dead", type(error).__name__)
        log.warning("not an event for this function", function=self._name, why=str(error))
        return Verdict.DEAD, str(error)

    async def _attempt(self, event: Event[Any] | CloudEvent) -> tuple[Verdict, str]:
        """
        Run the function on ``event`` once; one log line. Raises nothing but a cancellation.

        Returns: the verdict, and for whoever reads the parked event why it can never be handled.
        """
        error: Exception | None = None
        started = perf_counter()
        try:
            await self._handle(event)
        except Exception as caught:  # noqa: BLE001  the one place that catches everything
            error = caught
        seconds = perf_counter() - started
        verdict = judge(error)
        self._seconds.observe(seconds)
        self._verdicts[verdict].inc()
        outcome, ms = verdict.name.lower(), round(seconds * 1000, 2)
        spans.ended(outcome, None if error is None else type(error).__name__)
        if error is None:
            if isinstance(event, Event):
                self._age.observe(max((self._clock.now() - event.time).total_seconds(), 0.0))
            log.info("event handled", outcome=outcome, ms=ms)
        elif isinstance(error, Chat4AllError | BadEvent):
            log.warning("event handled", outcome=outcome, ms=ms, why=_why(error))
        else:
            log.error("event handled", outcome=outcome, ms=ms, exc_info=error)
        return verdict, f"{error.code}: {error.detail}" if isinstance(error, Refused) else ""


_EMPTY: dict[str, Any] = {"type": "http.response.body", "body": b""}


def _why(error: Chat4AllError | BadEvent) -> str:
    # What was refused may quote what somebody wrote; its class says enough.
    if isinstance(error, Refused):
        return error.code
    return f"{error.code}: {error.detail}" if isinstance(error, Chat4AllError) else str(error)


async def _rest(message: Any, receive: Receive, limit: int) -> bytes | None:
    """The whole body, or the first bytes over the limit; None when the caller hung up."""
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit or not message.get("more_body"):
            return b"".join(parts)
        message = await receive()

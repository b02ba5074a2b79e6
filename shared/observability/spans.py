"""
Spans, when somebody collects them: what is called what, by OpenTelemetry's conventions (design.md 13, ADR 17).

    with spans.request("POST", traceparent) as context: ...      SERVER    POST /v1/messages
    with spans.processing(attributes, "deliver") as context: ... CONSUMER  process chat4all.delivery.requested.v1
    with spans.provider_call("whatsapp", delivery_id): ...       CLIENT    send whatsapp

Off until ``record_with``: then the context is made by hand, and each of the other verbs costs one ``if``. They
speak about the span that is open in this task. No attribute holds a text, an address, or what may hold one: paths of
requests, subjects of events and messages of exceptions are left out.

Source: https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/ and .../http/http-spans/
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from enum import Enum
from typing import Protocol

from shared.observability.trace import TraceContext, child, parse

Attributes = Mapping[str, str | int]

_OF_EVENTS = {
    "id": ("messaging.message.id", "cloudevents.event_id"),
    "source": ("cloudevents.event_source",),
    "specversion": ("cloudevents.event_spec_version",),
    "type": ("messaging.destination.name", "cloudevents.event_type"),
    "knativekafkapartition": ("messaging.destination.partition.id",),
    "tenant": ("chat4all.tenant",),
}
"""Attributes of a span by those of its event."""

_SERVER_ERRORS = 500


class Kind(Enum):
    """Named as OpenTelemetry names them."""

    SERVER = "SERVER"
    CONSUMER = "CONSUMER"
    CLIENT = "CLIENT"


class Recorder(Protocol):
    """Who keeps and sends spans: ``shared.observability.otlp``."""

    def span(
        self, name: str, kind: Kind, attributes: Attributes, sender: TraceContext | None
    ) -> AbstractContextManager[TraceContext]:
        """A span that is open inside, and its context. ``sender`` is remote; a CLIENT has none, and a parent here."""
        ...

    def add(self, attributes: Attributes) -> None:
        """To the span that is open in this task."""
        ...

    def rename(self, name: str) -> None: ...

    def fail(self, error_type: str) -> None: ...


_recorder: Recorder | None = None


def record_with(recorder: Recorder | None) -> None:
    """From now on; None: no spans any more."""
    global _recorder
    _recorder = recorder


class _ByHand:
    """What stands for a span when nobody records."""

    __slots__ = ("_context",)

    def __init__(self, context: TraceContext) -> None:
        self._context = context

    def __enter__(self) -> TraceContext:
        return self._context

    def __exit__(self, *_: object) -> None:
        return None


_NO_SPAN = _ByHand(TraceContext("", ""))


def unrecorded(traceparent: str | None) -> AbstractContextManager[TraceContext]:
    """A context below the sender's, and no span: for what is asked for every few seconds and says nothing."""
    return _ByHand(child(traceparent))


def request(method: str, traceparent: str | None) -> AbstractContextManager[TraceContext]:
    """One HTTP request; ``answered`` gives it its name."""
    if _recorder is None:
        return _ByHand(child(traceparent))
    attributes = {"http.request.method": method}
    return _recorder.span(method, Kind.SERVER, attributes, parse(traceparent))


def answered(method: str, route: str | None, status: int) -> None:
    """``route`` is the template, such as /v1/users/{user_id}; None: the path led nowhere."""
    if _recorder is None:
        return
    _recorder.add({"http.response.status_code": status})
    if route is not None:
        _recorder.rename(f"{method} {route}")
        _recorder.add({"http.route": route})
    if status >= _SERVER_ERRORS:
        _recorder.fail(str(status))


def processing(event: Mapping[str, str], function: str) -> AbstractContextManager[TraceContext]:
    """One event, by its CloudEvents attributes, in one function."""
    traceparent = event.get("traceparent")
    if _recorder is None:
        return _ByHand(child(traceparent))
    attributes: dict[str, str | int] = {
        "messaging.system": "knative",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": function,
    }
    for name, conventional in _OF_EVENTS.items():
        if name in event:
            attributes |= dict.fromkeys(conventional, event[name])
    offset = event.get("knativekafkaoffset", "")
    if offset.isdecimal():
        attributes["messaging.kafka.offset"] = int(offset)
    return _recorder.span(f"process {event['type']}", Kind.CONSUMER, attributes, parse(traceparent))


def provider_call(channel: str, delivery_id: str) -> AbstractContextManager[TraceContext]:
    """One call to a provider, below the event that it is made for."""
    if _recorder is None:
        return _NO_SPAN
    attributes = {"chat4all.channel": channel, "chat4all.delivery.id": delivery_id}
    return _recorder.span(f"send {channel}", Kind.CLIENT, attributes, None)


def about(*, tenant: str | None = None, conversation_id: str | None = None, message_id: str | None = None) -> None:
    """What the open span is about, as far as it is known."""
    if _recorder is None:
        return
    facts = {"tenant": tenant, "conversation.id": conversation_id, "message.id": message_id}
    _recorder.add({f"chat4all.{name}": fact for name, fact in facts.items() if fact})


def ended(outcome: str, error_type: str | None = None) -> None:
    """How what the open span covers came out; ``error_type`` is a name out of few, never a message."""
    if _recorder is None:
        return
    _recorder.add({"chat4all.outcome": outcome})
    if error_type is not None:
        _recorder.fail(error_type)

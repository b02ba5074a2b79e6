"""
Spans around one event: what is kept of them, and that nothing is loaded when nobody collects (E9; ADR 17).

The whole way of a message is in tests/flow/test_spans.py.
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar

import pytest

from events import Event, EventData, MessageRead
from shared.observability.trace import TraceContext, parse
from shared.runtime.host import FunctionHost
from shared.runtime.span_export import spans_by, spans_to
from shared.runtime.start_error import SETTINGS_WRONG, StartError
from shared.runtime.subscriber import HostedSubscriber
from shared.testing.collector import Collector

ROOT = Path(__file__).resolve().parents[2]
AT = datetime(2026, 11, 21, 3, 14, 8, tzinfo=UTC)
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "nobody may read this"


def read(traceparent: str | None) -> Event[MessageRead]:
    data = MessageRead(
        message_id="7c8d76f1-0000-4000-8000-000000000001",
        conversation_id="c1",
        recipient="ana",
        channel="chat4all",
        status="READ",  # type: ignore[arg-type]
        at=AT,
    )
    return Event(id="e1", source="/tests", tenant="acme", time=AT, traceparent=traceparent, data=data)


class StillClock:
    def now(self) -> datetime:
        return AT


@dataclass
class Reader:
    accepts: ClassVar[tuple[type[EventData], ...]] = (MessageRead,)

    error: BaseException | None = None
    handled: list[Event[Any]] = field(default_factory=list)

    async def handle(self, event: Event[Any]) -> None:
        self.handled.append(event)
        if self.error:
            raise self.error


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def kept(context: TraceContext) -> bool:
    """The lowest bit; the next one says that the trace_id is random (W3C trace context, level 2)."""
    return bool(int(context.flags, 16) & 1)


async def handle(function: Reader, traceparent: str | None) -> str:
    """The traceparent that the function's own events will carry."""
    host = FunctionHost("reader", function, StillClock())
    await HostedSubscriber("http://reader", host).call(read(traceparent).to_cloudevent(), [], None)
    given = function.handled[-1].traceparent
    assert given is not None
    return given


async def test_a_span_is_below_its_sender_and_linked_to_it(collector: Collector) -> None:
    async with spans_to(collector.url, service="reader"):
        given = await handle(Reader(), f"00-{TRACE}-{SPAN}-01")
    (span,) = collector.spans()
    assert (span.trace_id, span.parent, span.links) == (TRACE, SPAN, ((TRACE, SPAN),))
    assert given == f"00-{TRACE}-{span.span_id}-01"
    assert (span.kind, span.service, span.failed) == ("CONSUMER", "reader", False)


async def test_an_event_without_context_begins_a_trace(collector: Collector) -> None:
    async with spans_to(collector.url, service="reader"):
        given = await handle(Reader(), None)
    (span,) = collector.spans()
    assert (span.parent, span.links) == ("", ())
    begun = parse(given)
    assert begun is not None
    assert (begun.trace_id, begun.span_id) == (span.trace_id, span.span_id)
    assert kept(begun)


async def test_of_a_trace_that_its_sender_does_not_keep_no_span_is_kept(collector: Collector) -> None:
    async with spans_to(collector.url, service="reader"):
        context = parse(await handle(Reader(), f"00-{TRACE}-{SPAN}-00"))
    assert collector.spans() == []
    assert context is not None
    assert (context.trace_id, context.flags) == (TRACE, "00")


async def test_the_ratio_is_of_traces_that_begin_here_and_those_kept_by_others_stay(collector: Collector) -> None:
    async with spans_to(collector.url, service="reader", ratio=0.0):
        begun = parse(await handle(Reader(), None))
        await handle(Reader(), f"00-{TRACE}-{SPAN}-01")
    assert begun is not None, "the context goes on, kept or not"
    assert not kept(begun)
    assert [span.trace_id for span in collector.spans()] == [TRACE]


async def test_a_defect_fails_the_span_and_what_it_says_stays_here(collector: Collector) -> None:
    async with spans_to(collector.url, service="reader"):
        await handle(Reader(ValueError(SECRET)), None)
    (span,) = collector.spans()
    assert span.failed
    assert (span.attributes["error.type"], span.attributes["chat4all.outcome"]) == ("ValueError", "again")
    assert SECRET.encode() not in collector.bodies[0]


async def test_what_is_no_event_of_the_function_is_a_failed_span(collector: Collector) -> None:
    class Other(Reader):
        accepts = ()

    async with spans_to(collector.url, service="reader"):
        host = FunctionHost("f", Other(), StillClock())
        await HostedSubscriber("http://f", host).call(read(None).to_cloudevent(), [], None)
    (span,) = collector.spans()
    assert (span.attributes["error.type"], span.attributes["chat4all.outcome"]) == ("BadEvent", "dead")


async def test_after_the_end_contexts_are_made_by_hand_again(collector: Collector) -> None:
    async with spans_to(collector.url, service="reader"):
        pass
    context = parse(await handle(Reader(), f"00-{TRACE}-{SPAN}-01"))
    assert context is not None
    assert context.trace_id == TRACE
    assert collector.spans() == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_collector_that_never_answers_does_not_hold_up_the_end_for_long() -> None:
    with Collector(silent=True) as collector:
        async with spans_to(collector.url, service="reader"):
            await handle(Reader(), None)
            began = monotonic()
        assert monotonic() - began < 12


async def test_one_function_as_a_process_reads_the_same_settings(collector: Collector) -> None:
    async with spans_by({"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}, service="reader"):
        await handle(Reader(), None)
    assert len(collector.spans()) == 1
    off = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "CHAT4ALL_OTEL_ENDPOINT": ""}
    async with spans_by(off, service="reader"):
        await handle(Reader(), None)
    assert len(collector.spans()) == 1


@pytest.mark.parametrize("ratio", ["1.1", "-1", "much", "nan"])
def test_a_ratio_that_is_none_prevents_the_start(ratio: str) -> None:
    with pytest.raises(StartError) as caught:
        spans_by({"CHAT4ALL_OTEL_SAMPLE_RATIO": ratio}, service="reader")
    assert caught.value.exit_code == SETTINGS_WRONG


OFF = """
import asyncio, sys
import shared.runtime.platform, shared.runtime.__main__
from shared.observability import spans
from shared.runtime.span_export import spans_to

async def main():
    async with spans_to(None, service="x"):
        with spans.request("GET", None), spans.provider_call("whatsapp", "d1"):
            spans.about(tenant="acme"); spans.answered("GET", "/", 200); spans.ended("sent")
        with spans.processing({"type": "t", "id": "e1"}, "f"):
            pass

asyncio.run(main())
heavy = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "google.protobuf", "requests")
print([name for name in sys.modules if name.startswith(heavy)])
"""


def test_without_an_endpoint_nothing_of_the_sdk_is_imported() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", OFF], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout.strip() == "[]"

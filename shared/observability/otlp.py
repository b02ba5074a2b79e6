"""
Spans kept by OpenTelemetry's SDK and sent by OTLP/HTTP in batches from a thread of its own.

Imported only when an endpoint is set: the SDK is the extra ``otel``. What the exporter cannot send it drops after a
while and says so in the log; whoever opens a span never waits for it. OTEL_EXPORTER_OTLP_HEADERS and _CERTIFICATE,
OTEL_RESOURCE_ATTRIBUTES and OTEL_BSP_* are read by the SDK itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

from opentelemetry import context as contexts
from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

from shared.observability.spans import Attributes, Kind
from shared.observability.trace import TraceContext

PATH = "/v1/traces"
SEND_WITHIN = 5.0
"""Seconds for one batch, its repetitions included."""
FLUSH_WITHIN = 3.0
"""Seconds that the end waits for what was not sent yet; what a collector that hangs takes then comes on top."""


class OtlpRecorder:
    """``endpoint`` is the collector's base URL; ``ratio`` of the traces that begin here are kept."""

    def __init__(self, service: str, endpoint: str, ratio: float) -> None:
        self._exporter = OTLPSpanExporter(endpoint.rstrip("/") + PATH, timeout=SEND_WITHIN)
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            resource=Resource.create({"service.name": service}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("chat4all")

    @contextmanager
    def span(
        self, name: str, kind: Kind, attributes: Attributes, sender: TraceContext | None
    ) -> Iterator[TraceContext]:
        links = []
        within: Context | None = None
        if kind is not Kind.CLIENT:
            within = Context()
            if sender is not None:
                remote = _remote(sender)
                within = api.set_span_in_context(api.NonRecordingSpan(remote), within)
                links = [api.Link(remote)] if kind is Kind.CONSUMER else []
        span = self._tracer.start_span(name, within, api.SpanKind[kind.value], attributes, links)
        token = contexts.attach(api.set_span_in_context(span))
        own = span.get_span_context()
        try:
            yield TraceContext(f"{own.trace_id:032x}", f"{own.span_id:016x}", f"{own.trace_flags:02x}")
        except BaseException as error:
            # Its message may quote what somebody wrote; its class says enough.
            self.fail(type(error).__qualname__)
            raise
        finally:
            contexts.detach(token)
            span.end()

    def add(self, attributes: Attributes) -> None:
        api.get_current_span().set_attributes(attributes)

    def rename(self, name: str) -> None:
        api.get_current_span().update_name(name)

    def fail(self, error_type: str) -> None:
        span = api.get_current_span()
        span.set_attribute("error.type", error_type)
        span.set_status(api.StatusCode.ERROR)

    def close(self) -> None:
        """Send what is left and let go. Blocks: for a thread."""
        # A collector that does not answer must not hold up the end: a closed exporter drops what is left.
        late = Timer(FLUSH_WITHIN, self._exporter.shutdown)
        late.start()
        try:
            self._provider.shutdown()
        finally:
            late.cancel()


def _remote(sender: TraceContext) -> api.SpanContext:
    return api.SpanContext(
        trace_id=int(sender.trace_id, 16),
        span_id=int(sender.span_id, 16),
        is_remote=True,
        trace_flags=api.TraceFlags(int(sender.flags, 16)),
    )

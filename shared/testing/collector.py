"""A collector of spans as the platform has it: an HTTP server that takes OTLP protobuf and keeps what came."""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1 import trace_pb2

_OK = ExportTraceServiceResponse().SerializeToString()


@dataclass(frozen=True, slots=True)
class Span:
    """Ids as in a traceparent; ``parent`` is "" for the first of a trace, ``links`` are (trace_id, span_id)."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent: str
    links: tuple[tuple[str, str], ...]
    attributes: Mapping[str, Any]
    failed: bool
    service: str


@dataclass
class Collector:
    """
    Listens inside its context, on a free port of the loopback, in a thread of its own.

    ``status`` is what it answers; ``silent``: it takes requests and never answers.
    """

    status: int = 200
    silent: bool = False
    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    came: threading.Event = field(default_factory=threading.Event)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "Collector":
        listening = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve(listening)))
        self._thread.start()
        listening.wait()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    def spans(self) -> list[Span]:
        """All that came until now."""
        found = []
        for body in list(self.bodies):
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                service = _plain(of_resource.resource.attributes)["service.name"]
                found += [_span(one, service) for scope in of_resource.scope_spans for one in scope.spans]
        return found

    async def _serve(self, listening: threading.Event) -> None:
        self._end = asyncio.Event()
        calls: set[asyncio.Task[None]] = set()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            calls.add(task)
            try:
                await self._answer(reader, writer)
            except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
                pass
            finally:
                calls.discard(task)
                writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        listening.set()
        await self._end.wait()
        server.close()
        for call in tuple(calls):
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers["content-length"]))
            self.paths.append(head[0].split(" ")[1])
            self.bodies.append(body)
            self.came.set()
            if self.silent:
                await self._end.wait()
            writer.write(
                f"HTTP/1.1 {self.status} -\r\ncontent-type: application/x-protobuf\r\n"
                f"content-length: {len(_OK)}\r\n\r\n".encode()
                + _OK
            )
            await writer.drain()


def _span(sent: trace_pb2.Span, service: str) -> Span:
    return Span(
        name=sent.name,
        kind=trace_pb2.Span.SpanKind.Name(sent.kind).removeprefix("SPAN_KIND_"),
        trace_id=sent.trace_id.hex(),
        span_id=sent.span_id.hex(),
        parent=sent.parent_span_id.hex(),
        links=tuple((link.trace_id.hex(), link.span_id.hex()) for link in sent.links),
        attributes=_plain(sent.attributes),
        failed=sent.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        service=service,
    )


def _plain(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}

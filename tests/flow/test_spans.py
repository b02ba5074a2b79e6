"""
The way of a message as spans that a collector gets: one trace, linked over the broker, nothing private (E9; design.md
13, ADR 17). The platform is the real one; it sends to a small OTLP receiver and is stopped before we look.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from shared.runtime.start_error import SETTINGS_WRONG
from shared.testing.collector import Collector, Span
from shared.testing.live import CANARY, Process, Providers, eventually, fresh_id, text, up
from shared.testing.platform import UNLIMITED, free_port, plain_environment

PHONE = "+5511987640101"
REQUESTED, ACCEPTED = "process chat4all.delivery.requested.v1", "process chat4all.message.accepted.v1"


@dataclass(frozen=True)
class Story:
    """A message to WhatsApp, its reader's answer, a refused request and a parked event, all told to a collector."""

    message_id: str
    conversation_id: str
    trace_id: str
    chain: list[dict[str, str]]
    spans: list[Span]
    bodies: list[bytes]
    paths: list[str]
    lines: list[dict[str, str]]

    @property
    def trace(self) -> list[Span]:
        return [span for span in self.spans if span.trace_id == self.trace_id]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.trace if span.name == name]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, environment: Callable[[], dict[str, str]]) -> Story:
    data = tmp_path_factory.mktemp("spans") / "data"
    with Collector() as collector:
        settings = {**environment(), "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        with Process(data, settings=settings).start() as platform:
            shop = platform.tenant("spans")
            with Providers(shop.tenant, platform.url).start("--pace", "0.02") as providers:
                providers.enter(shop)
                shop.users("agent", "customer")
                shop.must("POST", "/v1/users/customer/channels", {"channel": "whatsapp", "identifier": PHONE})
                talk = shop.conversation("agent", "customer")
                body = {"conversation_id": talk, "from": "agent", "channels": ["whatsapp"], "payload": text()}
                answer = shop("POST", "/v1/messages", body)
                said = answer.json()["message_id"]
                eventually(lambda: shop.status(said) == "READ")
                providers.writes("whatsapp", PHONE, "thank you")
                eventually(lambda: len(shop.acting("customer").must("GET", "/v1/conversations")["items"]) == 2)
            assert shop("POST", "/v1/messages", {**body, "payload": {"type": CANARY}}).status_code == 422
            assert shop("GET", f"/v1/users/{CANARY}{PHONE}").status_code == 404
            assert shop("GET", f"/v1/{CANARY}").status_code == 404
            assert shop.http.get("/health").status_code == 200
            refused = {
                "specversion": "1.0", "id": fresh_id(), "source": "/crm", "type": "chat4all.message.send.requested.v1",
                "data": {"conversation_id": "none", "from": "agent", "payload": text()},
            }  # fmt: skip
            headers = {"content-type": "application/cloudevents+json"}
            assert shop("POST", "/v1/events", content=json.dumps(refused), headers=headers).status_code == 202
            eventually(lambda: shop.must("GET", "/v1/parked")["items"])
            chain = shop.chain(said)
            assert platform.stop() == 0
        lines = [json.loads(line) for line in platform.log.read_text(encoding="utf-8").splitlines()]
        trace_id = answer.headers["traceparent"].split("-")[1]
        return Story(
            said, talk, trace_id, chain, collector.spans(), list(collector.bodies), list(collector.paths), lines
        )


def test_a_message_is_one_trace_from_its_request_to_its_provider(story: Story) -> None:
    (request,) = story.named("POST /v1/messages")
    assert (request.kind, request.parent, request.links, request.failed) == ("SERVER", "", (), False)
    (call,) = story.named("send whatsapp")
    assert (call.kind, call.links, call.failed) == ("CLIENT", (), False)
    (delivery,) = [span for span in story.trace if span.span_id == call.parent]
    assert (delivery.name, delivery.kind) == (REQUESTED, "CONSUMER")
    # What the platform itself emits on the way, as the command line shows it, is in that trace too.
    of_trace = {event["type"] for event in story.chain if story.trace_id in event["traceparent"]}
    assert {ACCEPTED, REQUESTED, "process chat4all.status.reported.v1"} <= {f"process {kind}" for kind in of_trace}


def test_every_event_that_is_handled_links_to_the_span_that_caused_it(story: Story) -> None:
    known = {span.span_id: span for span in story.trace}
    handled = [span for span in story.trace if span.kind == "CONSUMER"]
    assert {ACCEPTED, REQUESTED, "process chat4all.status.reported.v1"} <= {span.name for span in handled}
    for span in handled:
        assert span.links == ((story.trace_id, span.parent),)
        assert known[span.parent].kind in {"SERVER", "CONSUMER"}, "an event carries the context of who emitted it"
    # And so every span leads back to the request.
    for span in story.trace:
        while span.parent:
            span = known[span.parent]
        assert span.name == "POST /v1/messages"


def test_spans_carry_the_conventions_attributes(story: Story) -> None:
    (call,) = story.named("send whatsapp")
    span = next(one for one in story.trace if one.span_id == call.parent)
    event = next(one for one in story.chain if one["id"] == span.attributes["messaging.message.id"])
    partition = span.attributes["messaging.destination.partition.id"]
    assert partition.isdigit()
    handled = [one for one in story.trace if one.kind == "CONSUMER"]
    assert {one.attributes["messaging.destination.partition.id"] for one in handled} == {partition}, "one conversation"
    assert span.service == "chat4all"
    assert isinstance(span.attributes["messaging.kafka.offset"], int)
    assert {name: value for name, value in span.attributes.items() if "offset" not in name} == {
        "messaging.system": "knative",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "chat4all.delivery.requested.v1",
        "messaging.destination.partition.id": partition,
        "messaging.consumer.group.name": "deliver-whatsapp",
        "messaging.message.id": event["id"],
        "cloudevents.event_id": event["id"],
        "cloudevents.event_source": event["source"],
        "cloudevents.event_spec_version": "1.0",
        "cloudevents.event_type": event["type"],
        "chat4all.tenant": "spans",
        "chat4all.conversation.id": story.conversation_id,
        "chat4all.message.id": story.message_id,
        "chat4all.outcome": "done",
    }
    delivery_id = call.attributes["chat4all.delivery.id"]
    assert call.attributes == {
        "chat4all.channel": "whatsapp",
        "chat4all.delivery.id": delivery_id,
        "chat4all.tenant": "spans",
        "chat4all.conversation.id": story.conversation_id,
        "chat4all.message.id": story.message_id,
        "chat4all.outcome": "sent",
    }
    (request,) = story.named("POST /v1/messages")
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/messages",
        "http.response.status_code": 202,
        "chat4all.tenant": "spans",
        "chat4all.conversation.id": story.conversation_id,
        "chat4all.message.id": story.message_id,
    }


def test_requests_are_named_by_their_routes_and_probes_have_no_spans(story: Story) -> None:
    names = {span.name for span in story.spans if span.kind == "SERVER"}
    assert {"GET /v1/users/{user_id}", "POST /v1/inbound/{tenant}/{channel}", "POST /auth/token", "GET"} <= names
    assert not [name for name in names if "health" in name]
    assert set(story.paths) == {"/v1/traces"}


def test_a_callback_of_the_provider_begins_a_trace_of_its_own(story: Story) -> None:
    inbound = {span.trace_id for span in story.spans if span.name == "POST /v1/inbound/{tenant}/{channel}"}
    assert inbound
    assert story.trace_id not in inbound


def test_what_was_parked_is_a_failed_span_with_the_name_of_its_error(story: Story) -> None:
    asked = [span for span in story.spans if span.name == "process chat4all.message.send.requested.v1"]
    failed, parked = sorted(asked, key=lambda span: not span.failed)
    assert (failed.attributes["chat4all.outcome"], failed.attributes["error.type"]) == ("dead", "NotFound")
    assert (parked.failed, parked.attributes["messaging.consumer.group.name"]) == (False, "dead-letter")
    assert failed.trace_id == parked.trace_id


def test_the_lines_of_the_log_and_the_spans_have_the_same_ids(story: Story) -> None:
    """Whoever sees a line finds its span; and the other way round."""
    logged = {(line["trace_id"], line["span_id"]) for line in story.lines if "span_id" in line}
    spans = {(span.trace_id, span.span_id) for span in story.spans}
    assert logged
    assert logged <= spans
    assert {(s.trace_id, s.span_id) for s in story.spans if s.kind == "CONSUMER"} <= logged


def test_no_span_holds_what_people_wrote_or_their_addresses(story: Story) -> None:
    assert story.bodies
    for body in story.bodies:
        for private in (CANARY, PHONE, PHONE.removeprefix("+")):
            assert private.encode() not in body


def start(data: Path, before: str, **settings: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; {before}; from shared.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *up(data, free_port())[3:]],
        env=plain_environment() | settings,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_an_endpoint_without_the_packages_that_send_spans_is_one_line_and_code_15(tmp_path: Path) -> None:
    ended = start(
        tmp_path / "data", "sys.modules['opentelemetry.sdk'] = None", CHAT4ALL_OTEL_ENDPOINT="http://127.0.0.1:4318"
    )
    assert ended.returncode == SETTINGS_WRONG
    (line,) = ended.stderr.splitlines()
    assert "the module 'opentelemetry.sdk" in line
    assert "install the extra 'otel'" in line


def test_an_endpoint_that_is_no_url_is_one_line_and_code_15(tmp_path: Path) -> None:
    ended = start(tmp_path / "data", "pass", OTEL_EXPORTER_OTLP_ENDPOINT="localhost:4318")
    assert ended.returncode == SETTINGS_WRONG
    (line,) = ended.stderr.splitlines()
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in line


@pytest.mark.parametrize("collector", [Collector(status=500), Collector(status=400), None], ids=["500", "400", "none"])
def test_a_collector_that_fails_disturbs_no_message(tmp_path: Path, collector: Collector | None) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    settings = {**UNLIMITED, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    if collector is not None:
        with collector:
            _chat(Process(tmp_path / "data", settings={**settings, "CHAT4ALL_OTEL_ENDPOINT": collector.url}))
            assert collector.bodies
    else:
        _chat(Process(tmp_path / "data", settings={**settings, "CHAT4ALL_OTEL_ENDPOINT": endpoint}))


def _chat(platform: Process) -> None:
    with platform.start():
        acme = platform.tenant("acme")
        acme.users("ana", "bruno")
        talk = acme.conversation("ana", "bruno")
        assert [acme.send(talk, "ana")["seq"] for _ in range(20)] == list(range(1, 21))
        assert len(acme.history(talk, limit=50)) == 20
        assert httpx.get(f"{platform.url}/health/ready").status_code == 200
        assert platform.stop() == 0
    lines = [json.loads(line) for line in platform.log.read_text(encoding="utf-8").splitlines()]
    assert not [line for line in lines if "traceback" in line]
    assert len([line for line in lines if line["message"] == "message accepted"]) == 20

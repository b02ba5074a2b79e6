"""What the reader of manifests takes, inherits and refuses; a refusal is one line (observed broker, 3 and 4)."""

from pathlib import Path

import pytest

from shared.runtime.wiring import Delivery, Wiring, read
from shared.runtime.wiring_error import WiringError

SERVICE = """
apiVersion: serving.knative.dev/v1
kind: Service
metadata: {name: f}
spec: {template: {spec: {containers: [{image: i, env: [{name: CHAT4ALL_FUNCTION, value: route}]}]}}}
"""
SINK = SERVICE.replace("name: f", "name: sink")
BROKER = """
apiVersion: eventing.knative.dev/v1
kind: Broker
metadata: {name: b}
"""
TRIGGER = """
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: t}
spec:
  broker: b
  filter: {attributes: {type: chat4all.message.accepted.v1}}
  subscriber: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: f}}
"""
TIMER = """
apiVersion: sources.knative.dev/v1
kind: PingSource
metadata: {name: sweep, annotations: {chat4all.dev/every: PT30S}}
spec:
  schedule: "* * * * *"
  contentType: application/json
  data: '{"name": "sweep"}'
  ceOverrides: {extensions: {timer: sweep}}
  sink: {ref: {apiVersion: eventing.knative.dev/v1, kind: Broker, name: b}}
"""
TO_SINK = "deadLetterSink: {ref: {apiVersion: serving.knative.dev/v1, kind: Service, name: sink}}"


def wiring(folder: Path, *documents: str) -> Wiring:
    (folder / "all.yaml").write_text("---".join((SERVICE, SINK, *documents)))
    (folder / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: ns\nresources: [all.yaml]\n"
    )
    return read(folder)


def delivery(folder: Path, *, broker: str = "", trigger: str = "") -> Delivery:
    (found,) = wiring(
        folder,
        BROKER + (f"spec: {{delivery: {{{broker}}}}}\n" if broker else ""),
        TRIGGER + (f"  delivery: {{{trigger}}}\n" if trigger else ""),
    ).triggers
    return found.delivery


def test_a_trigger_is_read_with_its_group_filter_and_subscriber(tmp_path: Path) -> None:
    (trigger,) = wiring(tmp_path, BROKER, TRIGGER).triggers
    assert trigger.group == "knative-trigger-ns-t"
    assert dict(trigger.filter) == {"type": "chat4all.message.accepted.v1"}
    assert trigger.subscriber == "f"


def test_durations_are_iso_8601(tmp_path: Path) -> None:
    block = f"retry: 5, backoffPolicy: linear, backoffDelay: PT0.5S, timeout: PT1M, {TO_SINK}"
    assert delivery(tmp_path, trigger=block) == Delivery(5, True, 0.5, 60.0, "sink")


def test_without_any_delivery_the_cluster_s_default_holds(tmp_path: Path) -> None:
    assert delivery(tmp_path) == Delivery(10, False, 0.2, None, None)


def test_a_trigger_without_delivery_inherits_the_broker_s_sink_included(tmp_path: Path) -> None:
    block = f"retry: 2, backoffPolicy: linear, backoffDelay: PT0.1S, {TO_SINK}"
    assert delivery(tmp_path, broker=block) == Delivery(2, True, 0.1, None, "sink")


def test_a_trigger_s_delivery_replaces_the_broker_s_as_a_whole(tmp_path: Path) -> None:
    broker = f"retry: 9, backoffPolicy: linear, timeout: PT5S, {TO_SINK}"
    assert delivery(tmp_path, broker=broker, trigger="retry: 1, backoffDelay: PT0.1S") == Delivery(
        1, False, 0.1, None, None
    )


def test_only_a_sink_means_no_retry(tmp_path: Path) -> None:
    assert delivery(tmp_path, trigger=TO_SINK) == Delivery(0, False, 0.2, None, "sink")


def test_retry_and_a_sink_take_the_default_delay(tmp_path: Path) -> None:
    assert delivery(tmp_path, trigger=f"retry: 3, {TO_SINK}") == Delivery(3, False, 0.2, None, "sink")


def test_a_timer_ticks_as_its_annotation_says(tmp_path: Path) -> None:
    (timer,) = wiring(tmp_path, BROKER, TIMER).timers
    assert (timer.name, timer.every) == ("sweep", 30.0)


ANNOTATED = "metadata: {{name: t, annotations: {{kafka.eventing.knative.dev/delivery.order: {}}}}}"


@pytest.mark.parametrize(
    ("documents", "says"),
    [
        ((BROKER, TRIGGER.replace("metadata: {name: t}", ANNOTATED.format("ordered"))), "ordered is not supported"),
        ((BROKER, TRIGGER.replace("metadata: {name: t}", ANNOTATED.format("sorted"))), "sorted is not supported"),
        ((BROKER, TRIGGER + "  filters: [{exact: {type: a}}]\n"), "spec.filters: Extra inputs"),
        ((BROKER, TRIGGER.replace("filter: {attributes", "filter: {exact")), "spec.filter.exact: Extra inputs"),
        ((BROKER, TRIGGER.replace("type: chat4all.message.accepted.v1", 'type: ""')), "without a value"),
        ((BROKER, TRIGGER + "  delivery: {retryAfterMax: PT10S}\n"), "retryAfterMax: Extra inputs"),
        ((BROKER, TRIGGER + "  delivery: {backoffPolicy: fibonacci}\n"), "backoffPolicy"),
        ((BROKER, TRIGGER + "  delivery: {timeout: soon}\n"), "timeout"),
        ((BROKER, TRIGGER + "  delivery: {retry: -1}\n"), "retry"),
        ((BROKER, TRIGGER + f"  delivery: {{{TO_SINK.replace('sink}', 'gone}')}}}\n"), "no Service 'gone'"),
        ((BROKER, TRIGGER.replace("name: f}", "name: g}")), "no Service 'g'"),
        ((TRIGGER,), "no Broker 'b'"),
        ((BROKER, TRIGGER, TRIGGER), "Trigger 't' exists twice"),
        ((BROKER.replace("v1", "v1beta1"),), "is not supported here"),
        ((BROKER.replace("{name: b}", "{name: b, namespace: elsewhere}"),), "'elsewhere' is not 'ns'"),
        ((BROKER, TIMER.replace(", annotations: {chat4all.dev/every: PT30S}", "")), "need the annotation"),
        ((BROKER, TIMER.replace("PT30S", "never")), "no ISO 8601 duration"),
        ((BROKER, TIMER.replace("PT30S", "PT0S")), "no ISO 8601 duration"),
        ((BROKER, TIMER.replace("timer: sweep", "timer: redrive")), "must be its name"),
        (("[a, list]",), "a manifest is a mapping"),
        (("a: [",), "expected"),
    ],
)
def test_what_it_cannot_do_stops_the_start_with_one_line(tmp_path: Path, documents: tuple[str, ...], says: str) -> None:
    with pytest.raises(WiringError) as refused:
        wiring(tmp_path, *(f"\n{document}\n" for document in documents))
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "all.yaml" in str(refused.value)


def test_a_service_without_a_function_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(WiringError, match="its container has no CHAT4ALL_FUNCTION"):
        wiring(tmp_path, SERVICE.replace("name: f", "name: g").replace("CHAT4ALL_FUNCTION", "OTHER"))


def test_a_file_that_is_listed_and_not_there_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("kind: Kustomization\nresources: [gone.yaml]\n")
    with pytest.raises(WiringError, match=r"gone\.yaml"):
        read(tmp_path)

"""What the trials understand of kubectl's answers and of the functions' logs."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from events import CloudEvent
from infra.cluster import pods, wakes
from infra.cluster.hops import awaited, hops, missing
from infra.cluster.logs import lines_of
from infra.cluster.pods import Pod, Running, kill_in, knative, parse
from infra.cluster.wakes import beside, handled, handled_before, memory_of
from shared.runtime.wiring import Delivery, Service, Trigger, Wiring

MADE = "2026-11-30T12:00:00Z"


def item(name: str, labels: dict[str, str], *, ready: str = "True", phase: str = "Running", **more: str) -> Any:
    conditions = [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": ready}]
    status = {"phase": phase, "podIP": "10.244.0.7", "conditions": conditions}
    described = {"name": name, "uid": f"uid of {name}", "labels": labels, "creationTimestamp": MADE, **more}
    return {"metadata": described, "status": status}


ROUTE = {"serving.knative.dev/service": "route", "serving.knative.dev/revision": "route-00002"}
DISPATCHER = {"app.kubernetes.io/component": "dispatcher"}


def seen(*items: Any) -> list[Pod]:
    return parse(json.dumps({"items": items}))


def test_pods_of_services_and_of_deployments_are_told_apart() -> None:
    route, dispatcher = seen(item("route-x", ROUTE), item("dispatcher-y", DISPATCHER, ready="False"))
    assert (route.service, route.revision, route.address, route.ready) == ("route", "route-00002", "10.244.0.7", True)
    assert (dispatcher.service, dispatcher.revision, dispatcher.ready) == ("dispatcher", "", False)
    assert knative([route, route, dispatcher]) == {"route": 2}


def test_a_pod_that_goes_is_known_and_one_that_has_ended_is_none() -> None:
    going, *others = seen(item("a", ROUTE, deletionTimestamp="now"), item("b", ROUTE, phase="Failed"))
    assert going.leaving
    assert knative([going]) == {}
    assert not others


def test_a_pod_that_is_not_scheduled_yet_has_no_address_and_is_not_ready() -> None:
    described = {"name": "a", "uid": "1", "creationTimestamp": MADE}
    (pending,) = parse(json.dumps({"items": [{"metadata": described, "status": {"phase": "Pending"}}]}))
    assert (pending.address, pending.ready, pending.service) == ("", False, "")


def test_who_started_beside_a_wake_was_made_since_or_shortly_before() -> None:
    before, since = item("a", ROUTE, creationTimestamp="2026-11-30T11:59:50Z"), item("b", ROUTE)
    began = datetime(2026, 11, 30, 12, 0, 2, tzinfo=UTC)
    assert beside("send", seen(before), began) == ()
    assert beside("send", seen(before, since, since), began) == ("route",)
    assert beside("route", seen(since), began) == (), "its own pod is what is waited for"


async def test_who_is_woken_while_the_machine_comes_to_rest_is_waited_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = [seen(item("a", ROUTE)), seen(item("b", {**ROUTE, "serving.knative.dev/service": "sweep"}))]
    rested = [True, False]

    async def gone(services: set[str]) -> bool:
        return True

    async def at_rest() -> bool:
        return rested.pop(0)

    monkeypatch.setattr(wakes, "until_gone", gone)
    monkeypatch.setattr(wakes.machine, "at_rest", at_rest)
    monkeypatch.setattr(pods, "pods", lambda: there.pop(0))
    assert await wakes.until_at_rest(["route"]) is False, "as it was the second time"
    assert (there, rested) == ([], [])


def test_restarts_are_those_of_all_its_containers() -> None:
    twice = item("a", ROUTE)
    twice["status"]["containerStatuses"] = [{"name": "queue-proxy", "restartCount": 1}, {"restartCount": 2}]
    (pod, fresh) = seen(twice, item("b", ROUTE))
    assert (pod.uid, pod.restarts, fresh.restarts) == ("uid of a", 3, 0)


def test_who_kills_nobody_says_so() -> None:
    (pod,) = seen(item("route-x", ROUTE))
    with pytest.raises(ProcessLookupError, match="route-x"):
        kill_in(pod)


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """A dispatcher, which no function's variable names; the queue-proxy beside it; and another pod's function."""
    commands = (("-m", "shared.cli.main", "dispatch"), ("-m", "queue.proxy"), ("-m", "shared.runtime"))
    sleeping = (sys.executable, "-c", "import time; time.sleep(60)")
    with ExitStack() as ending:
        running = [ending.enter_context(subprocess.Popen((*sleeping, *words), env={})) for words in commands]
        for one in running:
            ending.callback(one.kill)
        yield running


def test_who_is_killed_is_the_pods_process_of_the_platform_whatever_it_is(
    started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (pod,) = seen(item("dispatcher-y", DISPATCHER))
    dispatcher, beside, other = started
    in_pods = {dispatcher.pid: pod.uid, beside.pid: pod.uid, other.pid: "uid of another"}
    monkeypatch.setattr(pods, "_pod_uid", lambda pid: in_pods.get(pid, ""))
    kill_in(pod)
    assert dispatcher.wait(10) == -signal.SIGKILL
    assert (beside.poll(), other.poll()) == (None, None)


def test_memory_is_of_the_processes_in_the_pods_of_the_service_whatever_their_function_is_called() -> None:
    whatsapp = {"serving.knative.dev/service": "deliver-whatsapp"}
    instagram = {"serving.knative.dev/service": "deliver-instagram"}
    there = seen(item("a", whatsapp), item("b", whatsapp), item("c", instagram))
    running = [
        Running(number, f"uid of {name}", "deliver", number) for number, name in ((10, "a"), (30, "b"), (90, "c"))
    ]
    assert memory_of("deliver-whatsapp", there, running) == 30
    with pytest.raises(LookupError):
        memory_of("deliver-whatsapp", there, running[2:])


def test_memory_is_not_that_of_a_pod_that_is_leaving() -> None:
    there = seen(item("old", ROUTE, deletionTimestamp="now"), item("new", ROUTE))
    assert (
        memory_of("route", there, [Running(1, "uid of old", "route", 200), Running(2, "uid of new", "route", 70)]) == 70
    )


DONE = {"message": "event handled", "outcome": "done"}


def test_a_chain_is_timed_by_the_first_event_that_each_function_handled() -> None:
    def line(function: str, second: str, message_id: str = "m") -> dict[str, str]:
        at = f"2026-11-28T20:00:{second}Z"
        return {**DONE, "function": function, "message_id": message_id, "timestamp": at}

    lines = [line("record-status", "04.000"), line("record-status", "03.500"), line("route", "01.000")]
    done = handled([*lines, line("push", "00.500"), line("deliver", "02.000", "other")], "m")
    assert list(done) == ["route", "record-status"]
    assert done["record-status"] - done["route"] == 2.5


def test_an_attempt_that_failed_has_done_nothing() -> None:
    line = {**DONE, "function": "route", "message_id": "m", "event_id": "e", "ms": 0.0}
    failed = {**line, "outcome": "again", "timestamp": "2026-11-28T20:00:01Z"}
    done = {**line, "timestamp": "2026-11-28T20:00:09Z"}
    assert handled([failed], "m") == {}
    assert handled([failed, done], "m") == {"route": 1795896009.0}
    assert hops([failed, done], {"e": 1795896000.0}) == {"route": {"e": 9000.0}}


def test_a_hop_ends_when_the_handling_begins() -> None:
    line = {**DONE, "event_id": "e", "function": "push", "timestamp": "2026-11-28T20:00:01.020Z"}
    appended = {"e": 1795896001.0}
    found = hops([{**line, "ms": 15.0}, {**line, "event_id": "unknown", "ms": 1.0}], appended)["push"]
    assert {name: round(hop, 1) for name, hop in found.items()} == {"e": 5.0}


def test_an_event_that_came_twice_is_one_hop_the_first() -> None:
    line = {**DONE, "event_id": "e", "function": "push", "ms": 0.0}
    lines = [{**line, "timestamp": f"2026-11-28T20:00:0{second}Z"} for second in (4, 2, 3)]
    assert hops(lines, {"e": 1795896001.0}) == {"push": {"e": 1000.0}}


def test_an_event_that_a_function_wants_and_has_no_line_of_is_missing() -> None:
    def trigger(subscriber: str, **wanted: str) -> Trigger:
        return Trigger(subscriber, "chat4all", wanted, subscriber, Delivery())

    wired = Wiring(
        (
            trigger("deliver-whatsapp", type="a", channel="whatsapp"),
            trigger("deliver-instagram", type="b"),
            trigger("push"),
        ),
        {
            name: Service(name, "chat4all", function, {})
            for name, function in (("deliver-whatsapp", "deliver"), ("deliver-instagram", "deliver"), ("push", "push"))
        },
        (),
    )
    events = [
        CloudEvent({"id": "1", "type": "a", "channel": "whatsapp"}, b""),
        CloudEvent({"id": "2", "type": "a", "channel": "instagram"}, b""),
        CloudEvent({"id": "3", "type": "b"}, b""),
    ]
    wanted = awaited(wired, events)
    assert wanted == {"deliver": {"1", "3"}, "push": {"1", "2", "3"}}
    assert missing(wanted, {"deliver": {"1": 5.0, "3": 6.0}}) == {"deliver": 0, "push": 3}


def test_a_line_that_is_still_being_written_is_left_for_later() -> None:
    whole = '2026-11-28T20:00:01Z stdout F {"message": "event handled"}\n2026-11-28T20:00:01Z stderr F not JSON\n'
    assert list(lines_of(whole)) == [{"message": "event handled"}]
    for written in ("2026-11", "2026-11-28T20:00:02Z stdout F", '2026-11-28T20:00:02Z stdout F {"mess'):
        assert list(lines_of(whole + written)) == [{"message": "event handled"}]


def test_a_line_that_the_kubelet_cut_is_none() -> None:
    cut = '2026-11-28T20:00:01Z stdout P {"message": "event ha\n2026-11-28T20:00:01Z stdout F ndled"}\n'
    assert list(lines_of(cut)) == []


@pytest.mark.parametrize("line", ["2026 stdout F", "", "2026-11-28T20:00:01Z stdout F {oops"])
def test_a_line_of_another_shape_is_none(line: str) -> None:
    """A pod that is killed ends its log anywhere, and the next line begins in the middle."""
    whole = '2026-11-28T20:00:01Z stdout F {"message": "event handled"}\n'
    assert list(lines_of(f"{line}\n{whole}")) == [{"message": "event handled"}]


async def test_an_event_that_a_service_refuses_is_passed_over() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.headers["host"], request.headers["ce-id"]))
        return httpx.Response(204 if request.headers["ce-id"] == "good" else 422)

    asked: list[tuple[str, str]] = []
    events = [CloudEvent({"id": name, "type": "any"}, b"") for name in ("newest", "good", "oldest")]
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://inside") as client:
        assert (await handled_before(client, "send", events)).attributes["id"] == "good"
        assert asked == [("send.chat4all.svc.cluster.local", "newest"), ("send.chat4all.svc.cluster.local", "good")]
        with pytest.raises(LookupError, match="send handles none of the 1 newest events"):
            await handled_before(client, "send", events[:1])

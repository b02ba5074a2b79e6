"""What the trials understand of kubectl's answers and of the functions' logs."""

import json
from typing import Any

import pytest

from infra.cluster.pods import Pod, Running, kill_in, knative, parse
from infra.cluster.wakes import handled, hops, memory_of


def item(name: str, labels: dict[str, str], *, ready: str = "True", phase: str = "Running", **more: str) -> Any:
    conditions = [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": ready}]
    status = {"phase": phase, "podIP": "10.244.0.7", "conditions": conditions}
    return {"metadata": {"name": name, "uid": f"uid of {name}", "labels": labels, **more}, "status": status}


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
    (pending,) = parse(json.dumps({"items": [{"metadata": {"name": "a", "uid": "1"}, "status": {"phase": "Pending"}}]}))
    assert (pending.address, pending.ready, pending.service) == ("", False, "")


def test_restarts_are_those_of_all_its_containers() -> None:
    twice = item("a", ROUTE)
    twice["status"]["containerStatuses"] = [{"name": "queue-proxy", "restartCount": 1}, {"restartCount": 2}]
    (pod, fresh) = seen(twice, item("b", ROUTE))
    assert (pod.uid, pod.restarts, fresh.restarts) == ("uid of a", 3, 0)


def test_who_kills_nobody_says_so() -> None:
    (pod,) = seen(item("route-x", ROUTE))
    with pytest.raises(ProcessLookupError, match="route-x"):
        kill_in(pod)


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


def test_a_chain_is_timed_by_the_first_event_that_each_function_handled() -> None:
    def line(function: str, second: str, message_id: str = "m") -> dict[str, str]:
        at = f"2026-11-28T20:00:{second}Z"
        return {"message": "event handled", "function": function, "message_id": message_id, "timestamp": at}

    lines = [line("record-status", "04.000"), line("record-status", "03.500"), line("route", "01.000")]
    done = handled([*lines, line("push", "00.500"), line("deliver", "02.000", "other")], "m")
    assert list(done) == ["route", "record-status"]
    assert done["record-status"] - done["route"] == 2.5


def test_a_hop_ends_when_the_handling_begins() -> None:
    line = {"message": "event handled", "event_id": "e", "function": "push", "timestamp": "2026-11-28T20:00:01.020Z"}
    appended = {"e": 1795896001.0}
    (found,) = hops([{**line, "ms": 15.0}, {**line, "event_id": "unknown", "ms": 1.0}], appended)["push"]
    assert round(found, 1) == 5.0

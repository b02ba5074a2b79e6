"""What every overlay keeps to, whatever else it says (G1; Kubernetes' restricted Pod Security Standard; issue 7)."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from infra.manifests.kustomize import Manifest, manifests
from shared.runtime.serve import GRACE
from shared.runtime.wiring import EVERY, ORDER

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = [
    "knative",
    "infra/overlays/one-node",
    "infra/overlays/one-node-kafka",
    "infra/overlays/one-node-kafka-broker",
    "infra/overlays/production",
]
SERVING = "serving.knative.dev/v1"
RESTRICTED = {
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
LONGEST_REVISION = 600
"""Seconds: Knative's max-revision-timeout-seconds, unless somebody sets another."""

QUIET = 30
"""
Seconds without a new request for which Knative's proxy holds TERM back (its drainSleepDuration, v1.23); not until those
under way have ended. They are taken from the pod's own time to end, which is its Service's timeoutSeconds.
"""
WAITED_FOR = "CHAT4ALL_SHUTDOWN_GRACE"

LONGEST_START = 600
"""Seconds: Knative's progress-deadline, after which it gives a start up itself."""


@cache
def rendered(overlay: str) -> list[Manifest]:
    return manifests(ROOT / overlay)


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> list[Manifest]:
    return rendered(request.param)


def of_kind(overlay: list[Manifest], kind: str, api: str = "") -> list[Manifest]:
    return [one for one in overlay if one["kind"] == kind and one["apiVersion"].startswith(api)]


def functions(overlay: list[Manifest]) -> list[Manifest]:
    found = of_kind(overlay, "Service", SERVING)
    assert found
    return found


def pods(overlay: list[Manifest]) -> list[tuple[Manifest, dict[str, Any]]]:
    plain = [*functions(overlay), *of_kind(overlay, "Deployment")]
    timed = [(one, one["spec"]["jobTemplate"]["spec"]["template"]["spec"]) for one in of_kind(overlay, "CronJob")]
    return [*((one, one["spec"]["template"]["spec"]) for one in plain), *timed]


def test_every_pod_is_restricted_and_has_no_token(overlay: list[Manifest]) -> None:
    for manifest, pod in pods(overlay):
        name = manifest["metadata"]["name"]
        (container,) = pod["containers"]
        assert container["securityContext"] == RESTRICTED, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["serviceAccountName"] == "chat4all", name
        assert pod["enableServiceLinks"] is False, name
        assert container["resources"]["limits"]["memory"], name
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
    (account,) = of_kind(overlay, "ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    assert not [one for one in overlay if "Role" in one["kind"]], "functions ask nothing of Kubernetes"


def test_every_pod_gets_the_one_image_and_the_settings(overlay: list[Manifest]) -> None:
    for _, pod in pods(overlay):
        (container,) = pod["containers"]
        assert container["image"].partition(":")[0] == "ghcr.io/chat4all/chat4all"
        settings, secret, *log = container["envFrom"]
        assert settings["configMapRef"]["name"].startswith("chat4all")
        assert secret == {"secretRef": {"name": "chat4all"}}
        assert log in ([], [{"secretRef": {"name": "chat4all-log"}}])


def test_functions_and_gateway_are_probed(overlay: list[Manifest]) -> None:
    for manifest in [*functions(overlay), *of_kind(overlay, "Deployment")]:
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        assert container["readinessProbe"]["httpGet"]["path"] == "/health/readiness"
        assert container["livenessProbe"]["httpGet"]["path"] == "/health/liveness"


def test_what_is_slow_or_waits_for_an_engine_is_not_killed(overlay: list[Manifest]) -> None:
    """The port is bound when the engines have answered; Kubernetes' own patience is 1 s, three times."""
    for manifest in [*functions(overlay), *of_kind(overlay, "Deployment")]:
        name, (container,) = manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]["containers"]
        alive, started = container["livenessProbe"], container.get("startupProbe", {})
        assert (alive["timeoutSeconds"], alive["failureThreshold"]) == (10, 6), name
        waits = started.get("periodSeconds", 0) * started.get("failureThreshold", 0)
        assert alive.get("initialDelaySeconds", 0) + waits >= LONGEST_START, name


def test_the_gateway_s_readiness_may_be_slow(overlay: list[Manifest]) -> None:
    for manifest in of_kind(overlay, "Deployment"):
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        assert container["readinessProbe"]["timeoutSeconds"] == 5


def test_nothing_slows_a_cold_start_down(overlay: list[Manifest]) -> None:
    """Only without a period does Knative's proxy ask as often as it can; with a startupProbe the kubelet waits one."""
    for manifest in functions(overlay):
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        assert set(container["readinessProbe"]) == {"httpGet"}
        assert "startupProbe" not in container


def test_every_function_has_bounds(overlay: list[Manifest]) -> None:
    for manifest in functions(overlay):
        name, template = manifest["metadata"]["name"], manifest["spec"]["template"]
        annotations, pod = template["metadata"]["annotations"], template["spec"]
        scale = {key: int(annotations[f"autoscaling.knative.dev/{key}-scale"]) for key in ("min", "max")}
        assert 0 <= scale["min"] <= scale["max"], name
        assert scale["max"] >= 1, f"{name}: 0 is no bound"
        assert 1 <= pod["containerConcurrency"] <= 100, name
        assert pod["timeoutSeconds"] <= LONGEST_REVISION, name
        # Unless told otherwise Knative gives up after 300 s on an answer that has not begun.
        begins = pod.get("responseStartTimeoutSeconds", min(300, pod["timeoutSeconds"]))
        assert begins == pod["timeoutSeconds"], name


def test_what_is_under_way_may_end_before_its_pod_is_killed(overlay: list[Manifest]) -> None:
    """Seen: functions that may take ten minutes were cut 55 s after a rollout, a scale-down or a drain had begun."""
    for manifest in functions(overlay):
        name, pod = manifest["metadata"]["name"], manifest["spec"]["template"]["spec"]
        grace = int(told(pod).get(WAITED_FOR, GRACE))
        assert QUIET + grace < pod["timeoutSeconds"], f"{name}: killed before it gives up"
        if pod["timeoutSeconds"] > 60:
            assert grace >= pod["timeoutSeconds"] - 40, f"{name}: cut though its pod has time left"


def test_only_a_function_of_its_own_timeout_is_told_how_long_it_is_waited_for(overlay: list[Manifest]) -> None:
    """In the ConfigMap it would be for those too whose pods have 60 s."""
    for one in of_kind(overlay, "ConfigMap"):
        assert WAITED_FOR not in one["data"], one["metadata"]["name"]
    for one in of_kind(overlay, "Deployment"):
        assert WAITED_FOR not in told(one["spec"]["template"]["spec"]), one["metadata"]["name"]


def told(pod: dict[str, Any]) -> dict[str, str]:
    (container,) = pod["containers"]
    return {one["name"]: one["value"] for one in container.get("env", []) if "value" in one}


def test_ticks_that_pile_up_reach_the_pod_that_works(overlay: list[Manifest]) -> None:
    """Which does nothing for them; those that wait before it each run in full, longer than their Trigger waits."""
    timers = {
        trigger["spec"]["subscriber"]["ref"]["name"]
        for trigger in of_kind(overlay, "Trigger")
        if "timer" in trigger["spec"]["filter"]["attributes"]
    }
    for manifest in functions(overlay):
        if manifest["metadata"]["name"] in timers:
            assert manifest["spec"]["template"]["spec"]["containerConcurrency"] > 1, manifest["metadata"]["name"]


def test_the_broker_gives_up_before_the_function_is_cut(overlay: list[Manifest]) -> None:
    longest = {one["metadata"]["name"]: one["spec"]["template"]["spec"]["timeoutSeconds"] for one in functions(overlay)}
    for trigger in of_kind(overlay, "Trigger"):
        name, delivery = trigger["metadata"]["name"], trigger["spec"]["delivery"]
        unit = {"S": 1, "M": 60}[delivery["timeout"][-1]]
        assert int(delivery["timeout"][2:-1]) * unit <= longest[trigger["spec"]["subscriber"]["ref"]["name"]], name


def test_every_trigger_is_whole_and_unordered(overlay: list[Manifest]) -> None:
    sinks = {(one["apiVersion"], one["kind"], one["metadata"]["name"]) for one in overlay}
    for one in [*of_kind(overlay, "Trigger"), *(it for it in of_kind(overlay, "Broker") if "delivery" in it["spec"])]:
        block = one["spec"]["delivery"]
        assert set(block) == {"retry", "backoffPolicy", "backoffDelay", "timeout", "deadLetterSink"}
        sink = block["deadLetterSink"]["ref"]
        assert (sink["apiVersion"], sink["kind"], sink["name"]) in sinks, "a sink that is not there loses the event"
        assert one["metadata"].get("annotations", {}).get(ORDER, "unordered") == "unordered"


def test_every_timer_ticks_into_the_broker(overlay: list[Manifest]) -> None:
    brokers = {one["metadata"]["name"] for one in of_kind(overlay, "Broker")}
    for timer in of_kind(overlay, "PingSource"):
        assert timer["spec"]["sink"]["ref"]["name"] in brokers
        assert EVERY in timer["metadata"]["annotations"]


def test_no_function_has_a_public_route_of_its_own(overlay: list[Manifest]) -> None:
    """Events need no token: a Service that a domain is given for would take anybody's, of any tenant."""
    for manifest in functions(overlay):
        assert manifest["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"


def test_the_gateway_listens_until_nobody_is_sent_to_it_any_more(overlay: list[Manifest]) -> None:
    (gateway,) = (one for one in of_kind(overlay, "Deployment") if one["metadata"]["name"] == "realtime")
    pod = gateway["spec"]["template"]["spec"]
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]  # the image has no shell
    assert pause >= 5
    assert pod["terminationGracePeriodSeconds"] > pause + GRACE

"""scripts/deploy from its arguments to what kubectl and kn are told, and what people read (G1, G4, issue 7)."""

import base64
from os.path import relpath
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.deploy import __main__ as deploy
from infra.deploy import plan, secrets_told, ways_to_kafka
from infra.deploy.left_over import labelled
from infra.deploy.misfitting import misfitting
from infra.deploy.unsaid import unsaid
from infra.manifests.kustomize import manifests
from tests.deploy.conftest import FakeCluster

DIGEST = "ghcr.io/chat4all/chat4all@sha256:" + "a" * 64
KSVC = "serving.knative.dev/v1"
TRUE = [{"type": "Ready", "status": "True"}]
PROGRAMMED = [{"type": "Programmed", "status": "True", "observedGeneration": 2}]


def manifest(api: str, kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": "chat4all"}, "spec": spec}


def function(image: str = DIGEST) -> dict[str, Any]:
    told = [{"secretRef": {"name": "chat4all"}}]
    return manifest(KSVC, "Service", "send", template={"spec": {"containers": [{"image": image, "envFrom": told}]}})


TRIGGER = manifest("eventing.knative.dev/v1", "Trigger", "send")
BROKER = manifest("eventing.knative.dev/v1", "Broker", "chat4all")
GATEWAY = manifest(
    "gateway.networking.k8s.io/v1", "Gateway", "chat4all", listeners=[{"protocol": "HTTPS", "hostname": "chat.acme.de"}]
)
KINDS = f"""\
secrets                      v1                            true   Secret
services   kservice,ksvc     {KSVC}                        true   Service
triggers                     eventing.knative.dev/v1       true   Trigger
eventpolicies                eventing.knative.dev/v1alpha1 true   EventPolicy
gateways   gtw               gateway.networking.k8s.io/v1  true   Gateway
"""


def items(*objects: dict[str, Any], conditions: list[dict[str, Any]], seen: int = 2, **spec: Any) -> dict[str, Any]:
    return {
        "items": [
            one
            | {"metadata": one["metadata"] | {"generation": 2}, "spec": one["spec"] | spec}
            | {"status": {"observedGeneration": seen, "conditions": conditions, "url": "http://send.chat4all"}}
            for one in objects
        ]
    }


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "_LOOK_AGAIN", 0.0)


@pytest.fixture
def ready(cluster: FakeCluster) -> FakeCluster:
    """Everything is as it should be; a test puts what is not before it."""
    cluster.answers("kustomize", by=[yaml.safe_dump_all([function(), TRIGGER, GATEWAY])])
    cluster.answers("api-resources", by=[KINDS])
    cluster.answers("secret", by=["secret/chat4all\n"])
    cluster.answers("apply", by=["service/send serverside-applied\ntrigger/send serverside-applied\n"])
    cluster.answers("ksvc", by=[{"items": []}, items(function(), conditions=TRUE)])
    cluster.answers("deployments.apps", by=[{"items": []}])
    cluster.answers("gateways.gateway.networking.k8s.io", by=[items(GATEWAY, conditions=PROGRAMMED)])
    cluster.answers("triggers.eventing.knative.dev", by=[items(TRIGGER, conditions=TRUE)])
    cluster.answers("-l", by=[""])
    return cluster


@pytest.fixture
def with_broker(ready: FakeCluster) -> FakeCluster:
    """The same with a Broker, which most have."""
    ready.answers("kustomize", by=[yaml.safe_dump_all([function(), TRIGGER, GATEWAY, BROKER])])
    ready.answers("api-resources", by=[KINDS + "brokers eventing.knative.dev/v1 true Broker\n"])
    ready.answers("brokers.eventing.knative.dev", by=[items(BROKER, conditions=TRUE)])
    return ready


def run(*arguments: str) -> int:
    return deploy.main(arguments)


def test_an_overlay_is_checked_applied_and_waited_for(ready: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("production", "--image", DIGEST) == 0
    said = capsys.readouterr()
    assert [line.split()[:2] for line in said.out.splitlines()] == [
        ["applied", "2"],
        ["ready", "3"],
        ["url", "https://chat.acme.de"],
    ]
    assert not said.err
    kinds = [next(word for word in one["told"] if not word.startswith("-")) for one in ready.told]
    assert kinds == ["kustomize", "api-resources", *["chat4all"] * 3, "apply", *["chat4all"] * 4]
    (applied,) = (one for one in ready.told if "apply" in one["told"])
    assert "--server-side" in applied["told"]
    assert list(yaml.safe_load_all(applied["given"])) == labelled([function(), TRIGGER, GATEWAY])


def test_the_image_goes_on_top_of_the_overlay(ready: FakeCluster) -> None:
    run("production", "--image", DIGEST)
    on_top = yaml.safe_load(ready.told[0]["given"])
    assert on_top["images"] == [
        {"name": "ghcr.io/chat4all/chat4all", "newName": "ghcr.io/chat4all/chat4all", "digest": DIGEST.split("@")[1]}
    ]
    assert on_top["resources"][0].endswith("infra/overlays/production")


def test_it_goes_before_an_image_that_the_overlay_names_otherwise(tmp_path: Path) -> None:
    """By the real kustomize: what is in one's own registry has another name there."""
    on_top = {
        "resources": [relpath(Path(deploy.__file__).parents[1] / "overlays/first-tenant", tmp_path)],
        "images": [{"name": plan.IMAGE, "newName": "registry.acme.example/chat4all", "digest": "sha256:" + "b" * 64}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(on_top))
    (made,) = yaml.safe_load_all(deploy._rendered(tmp_path, plan.Image.read(DIGEST)))
    (container,) = made["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == DIGEST


def test_an_image_that_no_container_would_have_is_not_passed_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the real kustomize: where it was renamed two overlays down, its new name is not in the one on top."""
    (tmp_path / "below").mkdir()
    below = {
        "resources": [relpath(Path(deploy.__file__).parents[1] / "overlays/first-tenant", tmp_path / "below")],
        "images": [{"name": plan.IMAGE, "newName": "registry.acme.de/chat4all", "digest": "sha256:" + "b" * 64}],
    }
    (tmp_path / "below/kustomization.yaml").write_text(yaml.safe_dump(below))
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump({"namespace": "chat4all", "resources": ["below"]}))
    assert run(str(tmp_path), "--image", DIGEST, "--dry-run") == 1
    said = capsys.readouterr()
    assert "no container" in said.err
    assert "registry.acme.de/chat4all" in said.err
    assert not said.out


@pytest.mark.parametrize(
    ("kustomization", "why"),
    [
        ("resources: [", "cannot be read"),
        ("- resources", "is no kustomization"),
        ("images: [{newName: registry.acme.de/chat4all}]", "each with a name"),
        ("images: [chat4all]", "each with a name"),
        ("images: 1", "each with a name"),
    ],
)
def test_a_broken_kustomization_is_said_in_a_line(
    kustomization: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kustomization.yaml").write_text(kustomization)
    assert run(str(tmp_path), "--image", DIGEST, "--dry-run") == 1
    said = capsys.readouterr()
    assert why in said.err
    assert (said.err.count("\n"), said.out) == (1, "")


def test_the_context_is_handed_on_to_every_command(ready: FakeCluster) -> None:
    assert run("production", "--image", DIGEST, "--context", "east") == 0
    assert all(one["told"][:2] == ["--context", "east"] for one in ready.told if "kustomize" not in one["told"])


@pytest.mark.parametrize(
    "image", ["ghcr.io/chat4all/chat4all:latest", "registry:5000/chat4all", "registry.acme.example/chat4all@sha256:…"]
)
def test_an_image_without_a_version_is_not_deployed(
    ready: FakeCluster, capsys: pytest.CaptureFixture[str], image: str
) -> None:
    ready.answers("kustomize", by=[yaml.safe_dump_all([function(image)])])
    assert run("production") == 1
    assert "--image" in capsys.readouterr().err
    assert len(ready.told) == 1, "nothing was asked of the cluster"


def test_what_the_cluster_lacks_is_said_before_anything_is_applied(
    ready: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    sink = manifest("eventing.knative.dev/v1alpha1", "KafkaSink", "dead-letters")
    ready.answers("kustomize", by=[yaml.safe_dump_all([function(), sink])])
    assert run("production", "--image", DIGEST) == 1
    assert "does not know eventing.knative.dev/v1alpha1 KafkaSink:" in capsys.readouterr().err
    assert not [one for one in ready.told if "apply" in one["told"]]


AWAY = (
    "error: unable to retrieve the complete list of server APIs: metrics.k8s.io/v1beta1: the server is currently unable"
)


def test_an_api_that_is_away_and_not_wanted_stops_nothing(ready: FakeCluster) -> None:
    ready.answers("api-resources", by=[KINDS], code=1, stderr=AWAY)
    assert run("production", "--image", DIGEST) == 0


@pytest.mark.parametrize(
    ("listed", "says"), [(KINDS.replace("Trigger", "Other"), "eventing.knative.dev/v1 Trigger"), ("", "metrics")]
)
def test_a_kind_that_may_be_of_an_api_that_is_away_is_missed_with_kubectl_s_words(
    ready: FakeCluster, capsys: pytest.CaptureFixture[str], listed: str, says: str
) -> None:
    ready.answers("api-resources", by=[listed], code=1, stderr=AWAY)
    assert run("production", "--image", DIGEST) == 1
    said = capsys.readouterr().err
    assert says in said
    assert f"kubectl: {AWAY}" in said
    assert not [one for one in ready.told if "apply" in one["told"]]


def test_a_missing_secret_is_said_before_anything_is_applied(
    ready: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    ready.answers("secret", by=[""])
    assert run("production", "--image", DIGEST) == 1
    said = capsys.readouterr().err
    assert all(f"{name}.env.example" in said for name in ("secret", "log", "kafka"))
    assert not [one for one in ready.told if "apply" in one["told"]]


def test_a_secret_that_the_overlay_brings_along_is_not_missed(ready: FakeCluster) -> None:
    ready.answers("secret", by=[""])
    secret = manifest("v1", "Secret", "chat4all") | {"stringData": {"CHAT4ALL_SECRET_KEY": "A" * 43 + "="}}
    ready.answers("kustomize", by=[yaml.safe_dump_all([function(), TRIGGER, secret])])
    assert run("production", "--image", DIGEST) == 0


def test_the_secret_of_knative_s_own_way_to_kafka_is_missed_too(
    ready: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    ready.answers("chat4all-kafka", by=[""])
    broker = manifest("v1", "ConfigMap", "broker") | {"data": {"auth.secret.ref.name": "chat4all-kafka"}}
    empty = manifest("v1", "ConfigMap", "empty")
    ready.answers("kustomize", by=[yaml.safe_dump_all([function(), TRIGGER, broker, empty])])
    ready.answers("api-resources", by=[KINDS + "configmaps v1 true ConfigMap\n"])
    assert run("production", "--image", DIGEST) == 1
    assert "no Secret chat4all-kafka in" in capsys.readouterr().err


def test_secrets_of_jobs_and_of_the_registry_are_wanted_too() -> None:
    pod = {"spec": {"containers": [{"envFrom": [{"secretRef": {"name": "of-job"}}]}]}}
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "chat4all"},
        "imagePullSecrets": [{"name": "registry"}],
    }
    job = manifest("batch/v1", "CronJob", "job", jobTemplate={"spec": {"template": pod}})
    assert plan.secrets_wanted([function(), job, account]) == {"chat4all", "of-job", "registry"}


def test_containers_that_run_first_count_and_so_does_what_a_pod_says_of_its_registry() -> None:
    told = [{"secretRef": {"name": "of-init"}}]
    pod = {"imagePullSecrets": [{"name": "of-pod"}], "initContainers": [{"image": "i:latest", "envFrom": told}]}
    made = manifest("apps/v1", "Deployment", "made", template={"spec": pod | {"containers": [{"image": DIGEST}]}})
    assert plan.secrets_wanted([made]) == {"of-init", "of-pod"}
    assert plan.unversioned([made]) == ["made"]
    assert plan.images([made]) == {"i:latest", DIGEST}


def test_a_config_map_that_says_nothing_is_no_traceback() -> None:
    empty = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "empty"}, "data": None}
    assert plan.secrets_wanted([empty]) == set()
    assert plan.misled([empty], "chat4all") == []


def test_what_kubectl_refuses_is_said_in_its_words(ready: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    ready.answers("apply", by=[""], code=1, stderr='namespaces "chat4all" is forbidden')
    assert run("production", "--image", DIGEST) == 1
    assert capsys.readouterr().err == 'kubectl: namespaces "chat4all" is forbidden\n'


def test_ready_of_before_does_not_count(ready: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    ready.answers(
        "ksvc", by=[{"items": []}, items(function(), conditions=TRUE, seen=1), items(function(), conditions=TRUE)]
    )
    assert run("production", "--image", DIGEST) == 0
    assert "2 of 3; Service send is not" in capsys.readouterr().out


def test_what_is_not_there_yet_is_not_ready(ready: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    ready.answers("triggers.eventing.knative.dev", by=[{"items": []}, items(TRIGGER, conditions=TRUE)])
    assert run("production", "--image", DIGEST) == 0
    assert "2 of 3" in capsys.readouterr().out


LATER = [{"type": "Ready", "status": "Unknown"}]


def test_a_function_that_runs_is_changed_when_all_triggers_are_ready(ready: FakeCluster) -> None:
    """What its next revision emits before a Trigger for it is ready is missed for ever."""
    ready.answers("ksvc", by=[items(function(), conditions=TRUE)])
    trigger = "triggers.eventing.knative.dev"
    ready.answers(trigger, by=[items(TRIGGER, conditions=LATER), items(TRIGGER, conditions=TRUE)])
    assert run("production", "--image", DIGEST) == 0
    order = [word for one in ready.told for word in one["told"] if word in ("apply", trigger)]
    assert order == ["apply", trigger, trigger, "apply", trigger]
    first, second = (
        [it["kind"] for it in yaml.safe_load_all(one["given"])] for one in ready.told if "apply" in one["told"]
    )
    assert (first, second) == (["Trigger", "Gateway"], ["Service"])


@pytest.mark.parametrize(
    "conditions",
    [[], [{"type": "Programmed", "status": "True", "observedGeneration": 1}], [{"type": "Accepted", "status": "True"}]],
)
def test_while_nobody_can_get_in_it_is_not_ready(
    ready: FakeCluster, capsys: pytest.CaptureFixture[str], conditions: list[dict[str, Any]]
) -> None:
    gateway = GATEWAY | {"metadata": GATEWAY["metadata"] | {"generation": 2}, "status": {"conditions": conditions}}
    ready.answers("gateways.gateway.networking.k8s.io", by=[{"items": [gateway]}])
    assert run("production", "--image", DIGEST, "--timeout", "0") == 1
    assert "Gateway chat4all" in capsys.readouterr().err


def route(*parents: dict[str, str], generation: int = 2) -> dict[str, Any]:
    told = manifest("gateway.networking.k8s.io/v1", "HTTPRoute", "send", parentRefs=[{"name": "chat4all"}])
    conditions = [
        [
            {"type": kind, "status": status, "message": f"{kind} {status}", "observedGeneration": generation}
            for kind, status in one.items()
        ]
        for one in parents
    ]
    status = {"parents": [{"conditions": one} for one in conditions]}
    return told | {"metadata": told["metadata"] | {"generation": 2}, "status": status}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (route(), "no gateway has taken it yet"),
        (route({"Accepted": "True", "ResolvedRefs": "False"}), "ResolvedRefs False"),
        (route({"Accepted": "False", "ResolvedRefs": "True"}), "Accepted False"),
        (route({"Accepted": "True", "ResolvedRefs": "True"}, generation=1), "its controller has not seen it yet"),
        (route({"Accepted": "True", "ResolvedRefs": "True"}), ""),
    ],
)
def test_a_route_is_ready_when_its_gateway_took_it_and_found_what_it_leads_to(found: dict[str, Any], why: str) -> None:
    seen = plan.look_at(found)
    assert (seen.state is plan.State.READY, seen.why) == (not why, why)


def test_a_gateway_that_nobody_gives_a_status_is_not_waited_for() -> None:
    unwatched = GATEWAY | {"metadata": GATEWAY["metadata"] | {"annotations": {"chat4all.dev/unwatched": "true"}}}
    assert plan.waited_for([unwatched]) == {}


def test_a_job_without_a_version_is_seen_too() -> None:
    pod = {"spec": {"containers": [{"image": "ghcr.io/chat4all/chat4all:latest"}]}}
    assert plan.unversioned([manifest("batch/v1", "CronJob", "job", jobTemplate={"spec": {"template": pod}})]) == [
        "job"
    ]


@pytest.mark.parametrize(("namespace", "code"), [("chat4all", 0), ("elsewhere", 1)])
def test_events_for_a_broker_of_another_namespace_are_not_deployed(
    ready: FakeCluster, capsys: pytest.CaptureFixture[str], namespace: str, code: int
) -> None:
    broker = manifest("eventing.knative.dev/v1", "Broker", "chat4all")
    told = manifest("v1", "ConfigMap", "chat4all") | {"data": {"K_SINK": f"http://ingress/{namespace}/chat4all"}}
    ready.answers("kustomize", by=[yaml.safe_dump_all([function(), broker, told])])
    ready.answers(
        "api-resources", by=[KINDS + "configmaps v1 true ConfigMap\nbrokers eventing.knative.dev/v1 true Broker\n"]
    )
    ready.answers("brokers.eventing.knative.dev", by=[items(broker, conditions=TRUE)])
    assert run("production", "--image", DIGEST) == code
    assert ("K_SINK" in capsys.readouterr().err) is bool(code)


def test_a_broker_that_is_none_of_the_overlay_is_told_without_the_cluster(
    ready: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    told = manifest("v1", "ConfigMap", "chat4all") | {"data": {"K_SINK": "http://ingress/chat4all/other"}}
    _telling(ready, BROKER, told)
    assert run("production", "--image", DIGEST, "--dry-run") == 1
    assert "K_SINK of the ConfigMap chat4all" in (said := capsys.readouterr().err)
    assert "let it end in /chat4all/ and the Broker's name" in said
    assert len(ready.told) == 1, "nothing was asked of the cluster"


def test_a_revision_that_fails_ends_the_wait_with_its_reason(
    ready: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = [
        {"type": "Ready", "status": "False", "message": "RevisionFailed"},
        {"type": "ConfigurationsReady", "status": "False", "message": "Unable to fetch image"},
    ]
    ready.answers("ksvc", by=[items(function(), conditions=failed)])
    assert run("production", "--image", DIGEST) == 1
    assert "Service send: Unable to fetch image" in capsys.readouterr().err


def _failing(message: str) -> dict[str, Any]:
    """As Knative's Configuration says it of its newest revision."""
    why = f'Revision "send-00001" failed with message: {message}.'
    return items(function(), conditions=[{"type": "ConfigurationsReady", "status": "False", "message": why}])


REFUSED_POD = 'pods "send-00001-deployment-5d8f7-" is forbidden: '


@pytest.mark.parametrize(
    ("message", "state"),
    [
        (REFUSED_POD + "no PriorityClass with name chat4all-live was found", plan.State.HELD),
        (REFUSED_POD + 'error looking up service account c/c: serviceaccount "c" not found', plan.State.HELD),
        (REFUSED_POD + "exceeded quota: q, requested: cpu=1, used: cpu=9, limited: cpu=9", plan.State.HELD),
        ('Internal error occurred: failed calling webhook "a.b": connection refused', plan.State.HELD),
        ("0/3 nodes are available: 3 Insufficient cpu", plan.State.WAITING),
        ("Initial scale was never achieved", plan.State.FAILED),
        ("Container failed with: settings: access is forbidden", plan.State.FAILED),
        ('Unable to fetch image "registry.acme.de/chat4all:1": not found', plan.State.FAILED),
    ],
)
def test_only_what_may_pass_is_waited_for(message: str, state: plan.State) -> None:
    (failing,) = _failing(message)["items"]
    assert plan.look_at(failing).state is state


def test_pods_that_were_refused_at_first_may_be_made_yet(ready: FakeCluster) -> None:
    refused = _failing(REFUSED_POD + "no PriorityClass with name chat4all-live was found")
    ready.answers("ksvc", by=[{"items": []}, refused, refused, items(function(), conditions=TRUE)])
    assert run("production", "--image", DIGEST) == 0


def test_pods_that_go_on_being_refused_end_the_wait(
    ready: FakeCluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy, "_STANDS_AFTER", 0.0)
    ready.answers("ksvc", by=[{"items": []}, _failing(REFUSED_POD + "exceeded quota: small")])
    assert run("production", "--image", DIGEST) == 1
    said = capsys.readouterr().err
    assert said.startswith("this will not get ready:\n  Service send: ")
    assert "exceeded quota: small" in said


def test_time_that_is_up_names_what_is_missing(ready: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    waits = [{"type": "Ready", "status": "Unknown", "message": "IngressNotConfigured"}]
    ready.answers("ksvc", by=[items(function(), conditions=waits)])
    assert run("production", "--image", DIGEST, "--timeout", "0") == 1
    assert "Service send: IngressNotConfigured" in capsys.readouterr().err


def test_a_service_that_was_gone_back_with_is_named(ready: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    traffic = [{"revisionName": "send-00003", "percent": 100}]
    ready.answers("ksvc", by=[items(function(), conditions=TRUE, traffic=traffic)])
    assert run("production", "--image", DIGEST) == 0
    assert "send: send-00003=100; its newest revision waits" in capsys.readouterr().out


def test_what_is_left_over_is_told_with_what_deletes_it(
    with_broker: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    eventing = "eventing.knative.dev/v1"
    rows = f"{KSVC} Service send <none>\n{KSVC} Service gone <none>\n{eventing} Trigger gone <none>\n"
    with_broker.answers("-l", by=[rows + f"{eventing}beta1 Broker gone <none>\n"])
    assert run("production", "--image", DIGEST, "--context", "east") == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left over")]
    command = "kubectl --context east -n chat4all delete"
    assert told == [
        f"left over    Trigger gone: {command} triggers.eventing.knative.dev gone",
        "left over    Broker gone (its topic goes with it, and all events that are there): "
        f"{command} brokers.eventing.knative.dev gone",
        f"left over    Service gone: {command} services.serving.knative.dev gone",
    ]
    (asked,) = (one["told"] for one in with_broker.told if "-l" in one["told"])
    assert asked[asked.index("-l") + 1] == "app.kubernetes.io/part-of=chat4all"
    assert asked[asked.index("get") + 1] == (
        "brokers.eventing.knative.dev,gateways.gateway.networking.k8s.io,secrets,services.serving.knative.dev,"
        "triggers.eventing.knative.dev"
    ), "only kinds that the cluster has"
    assert not [one for one in with_broker.told if "delete" in one["told"]]


def test_settings_of_a_revision_that_is_kept_are_not_told(
    with_broker: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    more = f"brokers eventing.knative.dev/v1 true Broker\nrevisions rev {KSVC} true Revision\n"
    with_broker.answers("api-resources", by=[KINDS + more])
    rows = [f"v1 Secret {name} <none>\n" for name in ("chat4all-old", "chat4all-older", "chat4all")]
    with_broker.answers("-l", by=["".join(rows)])
    told = [{"secretRef": {"name": "chat4all-old"}}]
    revision = manifest(KSVC, "Revision", "send-00001", containers=[{"image": DIGEST, "envFrom": told}])
    with_broker.answers("revisions.serving.knative.dev", by=[{"items": [revision]}])
    assert run("production", "--image", DIGEST) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("left over"))
    assert line == "left over    Secret chat4all-older: kubectl -n chat4all delete secrets chat4all-older"


def test_who_may_not_look_for_what_is_left_over_has_deployed_all_the_same(
    with_broker: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    with_broker.answers("-l", by=[""], code=1, stderr="secrets is forbidden")
    assert run("production", "--image", DIGEST) == 0
    assert "left over    cannot be told: kubectl: secrets is forbidden" in capsys.readouterr().out


def test_a_part_of_its_own_is_told_nothing_and_is_not_left_over_for_the_platform(ready: FakeCluster) -> None:
    """All of the platform would look left over beside it; and its things beside the platform, if they had our label."""
    ready.answers("kustomize", by=[yaml.safe_dump_all([TRIGGER, GATEWAY])])
    assert run("production") == 0
    assert not [one for one in ready.told if "-l" in one["told"]]
    (applied,) = (one for one in ready.told if "apply" in one["told"])
    assert not [one for one in yaml.safe_load_all(applied["given"]) if "labels" in one["metadata"]]


def test_a_dry_run_says_what_it_would_do_and_asks_no_cluster(
    ready: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("production", "--image", DIGEST, "--dry-run") == 0
    assert "would apply  Service send" in capsys.readouterr().out
    assert [one for one in ready.told if "kustomize" not in one["told"]] == []


def test_an_image_that_is_none_yet_hides_nothing_else(ready: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    secret = manifest("v1", "Secret", "chat4all") | {"stringData": {"CHAT4ALL_SECRET_KEY": ""}}
    ready.answers("kustomize", by=[yaml.safe_dump_all([function("chat4all"), TRIGGER, secret])])
    assert run("production", "--dry-run") == 1
    said = capsys.readouterr()
    assert "would apply  Service send" in said.out
    assert all(words in said.err for words in ("which image?", "CHAT4ALL_SECRET_KEY in the Secret chat4all is empty"))


def test_a_dry_run_lists_in_the_order_of_the_deeds(ready: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    """What runs already is changed when all Triggers are ready; a dry run does not know what that is, and says so."""
    assert run("production", "--image", DIGEST, "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()[:4]) for line in lines] == [
        "would apply Trigger send",
        "would apply Gateway chat4all",
        "would wait for 1",
        "would apply Service send",
        "would wait for 1",
        "would wait for 1",
        "would wait for 1",
        "would need Secret chat4all",
    ]
    assert "triggers.eventing.knative.dev in chat4all" in lines[2]
    assert "runs already" in lines[2]


def _with_proxies(cluster: FakeCluster, proxies: str) -> None:
    told = manifest("v1", "ConfigMap", "chat4all") | {"data": {"CHAT4ALL_TRUSTED_PROXIES": proxies}}
    cluster.answers("kustomize", by=[yaml.safe_dump_all([function(), TRIGGER, told])])
    cluster.answers("api-resources", by=[KINDS + "configmaps v1 true ConfigMap\n"])


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_the_network_of_the_pods_must_be_named(
    ready: FakeCluster, capsys: pytest.CaptureFixture[str], dry: tuple[str, ...]
) -> None:
    """Functions with an HTTP face would not start with what the overlay production has in its place."""
    settings = Path(deploy.__file__).parents[1] / "overlays/production/settings.env"
    (line,) = (one for one in settings.read_text().splitlines() if one.startswith("CHAT4ALL_TRUSTED_PROXIES="))
    _with_proxies(ready, line.partition("=")[2])
    assert run("production", "--image", DIGEST, *dry) == 1
    said = capsys.readouterr()
    assert "CHAT4ALL_TRUSTED_PROXIES" in said.err
    assert "docs/guides/production.md" in said.err
    assert ("would apply  Service send" in said.out) is bool(dry), "a dry run is to be read all the same"
    assert not [one for one in ready.told if "apply" in one["told"]]


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_network_of_pods_that_is_named_is_taken(ready: FakeCluster, dry: tuple[str, ...]) -> None:
    _with_proxies(ready, "127.0.0.1, ::1,10.244.0.0/16,")
    assert run("production", "--image", DIGEST, *dry) == 0


def _secret(name: str, **said: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "chat4all"},
        "stringData": said,
    }


def _telling(cluster: FakeCluster, *more: dict[str, Any]) -> None:
    cluster.answers("kustomize", by=[yaml.safe_dump_all([function(), TRIGGER, *more])])


def _filled(example: str) -> dict[str, Any]:
    """A Secret as secretGenerator makes it of an example that nobody touched."""
    lines = (Path(deploy.__file__).parents[1] / "overlays" / example).read_text().splitlines()
    values = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    data = {name: base64.b64encode(value.encode()).decode() for name, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "chat4all"}, "data": data}


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_examples_that_nobody_filled_in_are_not_deployed(
    ready: FakeCluster, capsys: pytest.CaptureFixture[str], dry: tuple[str, ...]
) -> None:
    told = manifest("v1", "ConfigMap", "chat4all") | {"data": {"CHAT4ALL_PUBLIC_URL": "https://chat4all.example.org"}}
    gateway = manifest(
        "gateway.networking.k8s.io/v1", "Gateway", "chat4all", listeners=[{"hostname": "files.chat4all.example.org"}]
    )
    examples = (_filled(f"production/{name}.env.example") for name in ("secret", "log", "kafka"))
    _telling(ready, told, gateway, *examples)
    assert run("production", "--image", DIGEST, *dry) == 1
    said = capsys.readouterr().err
    lines = {line.split()[0]: line for line in said.splitlines()[1:]}
    assert set(lines) == {
        "CHAT4ALL_PUBLIC_URL",
        "/spec/listeners/0/hostname",
        "CHAT4ALL_SECRET_KEY",
        "CHAT4ALL_CASSANDRA_PASSWORD",
        "CHAT4ALL_S3_ACCESS_KEY",
        "CHAT4ALL_S3_SECRET_KEY",
        "CHAT4ALL_REDIS_URL",
        "CHAT4ALL_NATS_URL",
        "CHAT4ALL_KAFKA_PROPERTIES",
        "password",
    }
    assert "configMapGenerator" in lines["CHAT4ALL_PUBLIC_URL"]
    assert "patches" in lines["/spec/listeners/0/hostname"]
    assert "urlsafe_b64encode(os.urandom(32))" in lines["CHAT4ALL_SECRET_KEY"]
    assert "still says PASSWORD and USER" in lines["CHAT4ALL_NATS_URL"]
    assert "docs/guides/production.md" in said
    assert not [one for one in ready.told if "apply" in one["told"]]


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_what_no_function_would_start_with_is_not_deployed(
    ready: FakeCluster, capsys: pytest.CaptureFixture[str], dry: tuple[str, ...]
) -> None:
    told = {"CHAT4ALL_PUBLC_URLL": "https://chat.acme.de", "CHAT4ALL_LOG_LEVEL": "zzz", "K_SINK": "x/chat4all/chat4all"}
    broker = manifest("eventing.knative.dev/v1", "Broker", "chat4all")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "chat4all", "namespace": "chat4all"}}
    _telling(
        ready,
        broker,
        manifest("v1", "ConfigMap", "chat4all") | {"data": told},
        secret | {"stringData": {"CHAT4ALL_SECRET_KEY": "hidden-and-no-key"}},
    )
    assert run("production", "--image", DIGEST, *dry) == 1
    said = capsys.readouterr()
    lines = {line.split()[0]: line for line in said.err.splitlines()[1:]}
    assert set(lines) == {"CHAT4ALL_PUBLC_URLL", "CHAT4ALL_LOG_LEVEL", "CHAT4ALL_SECRET_KEY"}
    assert "unknown" in lines["CHAT4ALL_PUBLC_URLL"]
    assert "ConfigMap chat4all" in lines["CHAT4ALL_LOG_LEVEL"]
    assert "urlsafe_b64encode(os.urandom(32))" in lines["CHAT4ALL_SECRET_KEY"]
    assert "docs/reference/settings.md" in said.err
    assert "hidden" not in said.err + said.out
    assert not [one for one in ready.told if "apply" in one["told"]]


@pytest.mark.parametrize(
    ("made", "heading"),
    [
        ([_secret("chat4all", CHAT4ALL_REDIS_URL="redis://redis:6379/0")], secrets_told.HEADING),
        (
            [
                manifest("v1", "ConfigMap", "broker") | {"data": {"auth.secret.ref.name": "chat4all-kafka"}},
                _secret("chat4all-log", CHAT4ALL_KAFKA_PROPERTIES='{"sasl.username": "c", "sasl.password": "a"}'),
                _secret("chat4all-kafka", user="c", password="b"),
            ],
            ways_to_kafka.HEADING,
        ),
    ],
)
def test_secrets_that_cannot_do_are_not_deployed(
    ready: FakeCluster, capsys: pytest.CaptureFixture[str], made: list[dict[str, Any]], heading: str
) -> None:
    send = function()
    send["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "CHAT4ALL_FUNCTION", "value": "send"}]
    ready.answers("kustomize", by=[yaml.safe_dump_all([send, TRIGGER, *made])])
    assert run("production", "--image", DIGEST) == 1
    assert heading in capsys.readouterr().err.splitlines()
    assert not [one for one in ready.told if "apply" in one["told"]]


def test_what_a_container_is_told_itself_counts_too() -> None:
    env = [
        {"name": "CHAT4ALL_FUNCTION", "value": "send"},
        {"name": "CHAT4ALL_LOG_LEVEL", "value": "zzz"},
        {"name": "CHAT4ALL_SECRET_KEY", "valueFrom": {"secretKeyRef": {"name": "chat4all", "key": "key"}}},
    ]
    told = manifest(KSVC, "Service", "send", template={"spec": {"containers": [{"image": DIGEST, "env": env}]}})
    (line,) = misfitting([told])
    assert line.startswith("CHAT4ALL_LOG_LEVEL in the Service send")


@pytest.mark.parametrize(
    ("key", "fits"),
    [
        (base64.urlsafe_b64encode(bytes(32)).decode(), True),
        (f"{base64.urlsafe_b64encode(bytes(32)).decode()}, {base64.urlsafe_b64encode(bytes(32)).decode()}\n", True),
        (base64.urlsafe_b64encode(bytes(16)).decode(), False),
        (f"{base64.urlsafe_b64encode(bytes(32)).decode()},old", False),
        (",", False),
    ],
)
def test_keys_are_such_as_the_vault_takes(key: str, fits: bool) -> None:
    secret = {"kind": "Secret", "metadata": {"name": "chat4all"}, "stringData": {"CHAT4ALL_SECRET_KEY": key}}
    assert (misfitting([secret]) == []) is fits


@pytest.mark.parametrize("overlay", sorted(path.parent.name for path in deploy._OVERLAYS.glob("*/kustomization.yaml")))
def test_functions_would_start_with_what_every_overlay_tells_them(overlay: str) -> None:
    """By the real kustomize. What is still to be said, as the network of the pods, is told as that, and once."""
    assert misfitting(manifests(deploy._OVERLAYS / overlay)) == []


@pytest.mark.parametrize("example", ["production", "one-node-kafka-broker"])
def test_examples_that_nobody_filled_in_are_only_unsaid(example: str) -> None:
    assert misfitting([_filled(f"{example}/secret.env.example")]) == []


def test_what_is_no_value_is_said_and_no_traceback() -> None:
    told = manifest("v1", "ConfigMap", "chat4all") | {"data": {"CHAT4ALL_TRUSTED_PROXIES": None}}
    secret = {"kind": "Secret", "metadata": {"name": "chat4all"}, "data": {"CHAT4ALL_SECRET_KEY": "abcde"}}
    (line,) = unsaid([told, secret])
    assert line.startswith("CHAT4ALL_SECRET_KEY in the Secret chat4all is no base64")


@pytest.mark.parametrize(("value", "refused"), [("chat-ever!", True), ("YWJj ZGVm", True), ("YWJj\nZGVm\n", False)])
def test_base64_is_what_the_api_server_takes_for_it(value: str, refused: bool) -> None:
    """Python's own reader passes over what it does not know: a password in clear was taken for one."""
    secret = {"kind": "Secret", "metadata": {"name": "chat4all"}, "data": {"CHAT4ALL_SECRET_KEY": value}}
    assert any("is no base64" in line for line in unsaid([secret])) is refused


@pytest.mark.parametrize(
    ("host", "left"),
    [
        ("EXAMPLE.org", True),
        ("chat.acme.example", True),
        ("files.acme.example:9000", True),
        ("chat.acme.de", False),
        ("example.acme.de", False),
        ("acme-example.de", False),
        ("my.example.acme.de", False),
    ],
)
def test_a_host_that_nobody_owns_is_left_from_the_examples(host: str, left: bool) -> None:
    told = manifest("v1", "ConfigMap", "chat4all") | {"data": {"CHAT4ALL_PUBLIC_URL": f"https://{host}/"}}
    assert bool(unsaid([told])) is left


def test_a_registry_that_nobody_owns_is_named_once() -> None:
    (line,) = unsaid([function("registry.acme.example/chat4all:1"), function("registry.acme.example/chat4all:1")])
    assert line.startswith("the image registry.acme.example/chat4all:1")
    assert "images" in line


def test_a_secret_in_clear_is_looked_at_too(ready: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "chat4all", "namespace": "chat4all"}}
    _telling(ready, secret | {"stringData": {"CHAT4ALL_SECRET_KEY": None}})
    assert run("production", "--image", DIGEST, "--dry-run") == 1
    assert "CHAT4ALL_SECRET_KEY" in capsys.readouterr().err


def test_what_is_filled_in_is_deployed_and_not_shown(ready: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    told = manifest("v1", "ConfigMap", "chat4all") | {"data": {"CHAT4ALL_PUBLIC_URL": "https://my-example.org.acme.de"}}
    secret = _filled("production/kafka.env.example")
    secret["data"]["password"] = base64.b64encode(b"PASSWORDS-are-long").decode()
    _telling(ready, told, secret)
    assert run("production", "--image", DIGEST, "--dry-run") == 0
    said = capsys.readouterr()
    assert "PASSWORDS" not in said.out + said.err


def test_an_overlay_with_nothing_on_top_is_told_what_to_say() -> None:
    """The real rendering of infra/overlays/production."""
    lines = unsaid(manifests(Path(deploy.__file__).parents[1] / "overlays/production"))
    assert sorted(line.split()[0] for line in lines) == [
        "/spec/listeners/1/hostname",
        "/spec/listeners/2/hostname",
        "CHAT4ALL_PUBLIC_URL",
        "CHAT4ALL_S3_PUBLIC_ENDPOINT",
        "CHAT4ALL_TRUSTED_PROXIES",
    ]


def test_rollback_sends_all_requests_to_a_revision(cluster: FakeCluster) -> None:
    cluster.answers("patch", by=["patched"])
    assert run("--rollback", "deliver-whatsapp-00004") == 0
    assert cluster.commands() == [
        "kubectl -n chat4all patch ksvc deliver-whatsapp --type merge -p "
        '{"spec": {"traffic": [{"revisionName": "deliver-whatsapp-00004", "percent": 100}]}}'
    ]


def test_kn_is_taken_where_there_is_one(cluster: FakeCluster) -> None:
    cluster.install("kn")
    cluster.answers("update", by=["updated"])
    assert run("--traffic", "send-00004=90", "@latest=10", "-n", "here", "--context", "east") == 0
    assert cluster.commands() == [
        "kn service update send -n here --context east --traffic send-00004=90 --traffic @latest=10"
    ]


def test_the_newest_revision_gets_its_requests_back(cluster: FakeCluster) -> None:
    cluster.answers("patch", by=["patched"])
    assert run("--latest", "send") == 0
    assert '[{"latestRevision": true, "percent": 100}]' in cluster.commands()[0]


def test_a_dry_run_of_a_rollback_prints_the_command(cluster: FakeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--rollback", "send-00004", "--dry-run") == 0
    assert "patch ksvc send" in capsys.readouterr().out
    assert not cluster.told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--rollback", "send"), "no revision"),
        (("--traffic", "send-00004=90", "@latest=20"), "110 percent"),
        (("--traffic", "send-00004=90", "push-00001=10"), "no revision of send"),
        (("--traffic", "send-00004"), "REVISION=PERCENT"),
        (("--traffic", "@latest=100"), "--latest SERVICE"),
        (("nowhere",), "no overlay nowhere"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_done(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert run(*arguments) == 1
    assert says in capsys.readouterr().err
    assert not cluster.told


@pytest.mark.parametrize("arguments", [(), ("production", "--rollback", "send-00004"), ("--latest",)])
def test_wrong_usage_is_2(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--rollback", "send-00004", "--image", DIGEST), "--image says nothing without an overlay"),
        (("--latest", "send", "--timeout", "5"), "--timeout says nothing without an overlay"),
        (("production", "-n", "here"), "--namespace says nothing with an overlay"),
        (("production", "--timeout", "-1"), "0 or more"),
        (("production", "--timeout", "nan"), "0 or more"),
        (("production", "--timeout", "inf"), "0 or more"),
        (("production", "--timeout", "soon"), "0 or more"),
        (("production", "--image", ""), "no name of an image"),
        (("production", "--image", "a b"), "no name of an image"),
        (("production", "--image", "a b:1"), "no name of an image"),
        (("production", "--image", "chat4all:1 2"), "no name of an image"),
        (("production", "--image", "http://registry.acme.de/chat4all:1"), "no name of an image"),
        (("production", "--image", "http://registry.acme.de/" + DIGEST), "no name of an image"),
        (("production", "--image", "@" + DIGEST.split("@")[1]), "no name of an image"),
        (("production", "--image", "chat4all:latest"), "name a version"),
        (("production", "--image", "chat4all"), "name a version"),
        (("production", "--image", "registry:5000/chat4all"), "name a version"),
        (("production", "--image", "chat4all@sha256:abc"), "64 hexadecimal"),
    ],
)
def test_an_option_that_cannot_be_meant_is_wrong_usage(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert not cluster.told


@pytest.mark.parametrize(
    "image",
    [
        "chat4all:1",
        "registry:5000/chat4all:1.2-rc_1",
        "REGISTRY/a__b/c-d.e:1",
        f"[::1]:5000/a:1@{DIGEST.split('@')[1]}",
    ],
)
def test_what_registries_take_is_an_image(image: str) -> None:
    assert str(plan.Image.read(image)) == image


def test_without_kubectl_it_says_what_to_install(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert run("--rollback", "send-00004") == 1
    assert "kubectl is not installed" in capsys.readouterr().err

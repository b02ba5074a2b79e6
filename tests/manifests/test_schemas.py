"""
Every overlay, put together, against the schemas of Kubernetes, Knative and the Gateway API (G1, issue 7).

By its definition a Trigger keeps fields that nobody knows; our own reader refuses them (tests/wiring/test_reader.py).
"""

import copy
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from infra.manifests.definitions import MODULE, SCHEMAS
from infra.manifests.kustomize import Manifest, RenderError, manifests, render
from infra.manifests.schemas import UnknownKindError, problems

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / "knative", *sorted(path.parent for path in ROOT.glob("infra/overlays/**/kustomization.yaml"))]
NOT_TO_BE_HAD = {
    "sources.knative.dev/v1 KafkaSource",
    "eventing.knative.dev/v1alpha1 KafkaSink",
    *(f"kafka.strimzi.io/v1 {kind}" for kind in ("Kafka", "KafkaNodePool", "KafkaUser", "KafkaTopic")),
    "k8ssandra.io/v1alpha1 K8ssandraCluster",
    "medusa.k8ssandra.io/v1alpha1 MedusaBackupSchedule",
    "minio.min.io/v2 Tenant",
    "gateway.envoyproxy.io/v1alpha1 ClientTrafficPolicy",
    "monitoring.coreos.com/v1 PodMonitor",
    "monitoring.coreos.com/v1 PrometheusRule",
}
"""Their schemas are in no registry used here; tests/manifests/test_production.py looks at what we say in them."""


@cache
def rendered(folder: Path) -> list[Manifest]:
    return manifests(folder)


def one(folder: Path, kind: str, name: str) -> Manifest:
    (found,) = (it for it in rendered(folder) if it["kind"] == kind and it["metadata"]["name"] == name)
    return copy.deepcopy(found)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_what_an_overlay_makes_is_taken_as_it_is(folder: Path) -> None:
    wrong: list[str] = []
    for manifest in rendered(folder):
        kind = f"{manifest['apiVersion']} {manifest['kind']}"
        try:
            wrong += [f"{kind} {manifest['metadata']['name']}: {problem}" for problem in problems(manifest)]
        except UnknownKindError:
            if kind not in NOT_TO_BE_HAD:
                wrong.append(f"no schema of {kind}")
    assert not wrong


def container(manifest: Manifest) -> dict[str, Any]:
    (found,) = manifest["spec"]["template"]["spec"]["containers"]
    return found  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("kind", "name", "break_it", "says"),
    [
        ("Service", "route", lambda m: container(m).update(securityContxt={}), "securityContxt"),
        ("Service", "route", lambda m: container(m)["securityContext"].update(runAsNonRoot="yes"), "boolean"),
        ("Service", "route", lambda m: m["spec"]["template"]["spec"].update(containerConcurrency="ten"), "integer"),
        ("Service", "route", lambda m: m["spec"].update(replicas=2), "replicas"),
        ("Trigger", "route", lambda m: m["spec"].update(broker=1), "string"),
        ("Trigger", "route", lambda m: m["spec"]["subscriber"].update(ref="route"), "object"),
        ("Trigger", "route", lambda m: m["spec"]["delivery"].update(retry="3"), "integer"),
        ("Broker", "chat4all", lambda m: m["spec"]["delivery"].update(retry="3"), "integer"),
        ("PingSource", "sweep", lambda m: m["spec"].update(interval="PT30S"), "interval"),
        ("Deployment", "realtime", lambda m: m["spec"].update(replica=2), "replica"),
        ("Deployment", "realtime", lambda m: m["spec"].pop("selector"), "selector"),
        ("ConfigMap", "chat4all-kafka-broker", lambda m: m["data"].update(partitions=60), "string"),
        ("ServiceAccount", "chat4all", lambda m: m.update(automount=False), "automount"),
    ],
)
def test_a_wrong_field_is_refused(kind: str, name: str, break_it: Callable[[Manifest], Any], says: str) -> None:
    manifest = one(ROOT / "knative", kind, name)
    assert not list(problems(manifest))
    break_it(manifest)
    assert says in " ".join(problems(manifest))


def test_a_route_of_more_rules_than_the_gateway_api_takes_is_refused() -> None:
    route = one(ROOT / "infra/overlays/entry", "HTTPRoute", "send")
    route["spec"]["rules"] *= 17
    assert "too long" in " ".join(problems(route))


def test_a_kind_that_nobody_knows_is_no_success() -> None:
    with pytest.raises(UnknownKindError):
        list(problems({"apiVersion": "eventing.knative.dev/v2", "kind": "Broker", "metadata": {"name": "b"}}))


def test_a_folder_that_kustomize_refuses_says_why(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [gone.yaml]\n")
    with pytest.raises(RenderError, match=r"gone\.yaml"):
        render(tmp_path)


def test_the_schemas_are_of_the_versions_that_the_cluster_runs() -> None:
    pinned = dict(re.findall(r"^\t(\S+) (v\S+)$", (MODULE / "go.mod").read_text(), re.MULTILINE))
    for path in SCHEMAS.glob("*.json"):
        module, version = re.findall(r'"\$comment":"(\S+) (\S+) ', path.read_text())[0]
        assert pinned[module] == version, f"python -m infra.manifests has not made {path.name} for {version}"

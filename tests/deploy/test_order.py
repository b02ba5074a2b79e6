"""The order in which the real renderings are applied: whatever is named is there before whoever names it."""

from functools import cache
from pathlib import Path

import pytest

from infra.deploy.named import named
from infra.deploy.order import in_order
from infra.manifests.kustomize import Manifest, manifests

OVERLAYS = Path(__file__).resolve().parents[2] / "infra/overlays"


@cache
def rendered(overlay: str) -> list[Manifest]:
    return manifests(OVERLAYS / overlay)


def key(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


@pytest.mark.parametrize("overlay", sorted(path.parent.name for path in OVERLAYS.glob("*/kustomization.yaml")))
@pytest.mark.parametrize("backwards", [False, True])
def test_whatever_is_named_is_applied_first(overlay: str, backwards: bool) -> None:
    """However kustomize sorts."""
    brought, applied, early = {key(one) for one in rendered(overlay)}, set[tuple[str, str]](), list[str]()
    for one in in_order(reversed(rendered(overlay)) if backwards else rendered(overlay)):
        early += [f"{key(one)} before {it}" for it in sorted((named(one) & brought) - applied)]
        if ("Namespace", one["metadata"].get("namespace")) in brought - applied:
            early.append(f"{key(one)} before its namespace")
        applied.add(key(one))
    assert not early
    assert applied == brought


def test_what_production_names_is_seen() -> None:
    found = {it for one in rendered("production") for it in named(one)}
    (settings,) = (name for kind, name in found if kind == "ConfigMap" and name != "chat4all-kafka-broker")
    assert ("ConfigMap", settings) in map(key, rendered("production"))
    assert found - {("ConfigMap", settings)} == {
        ("PriorityClass", "chat4all-live"),
        ("PriorityClass", "chat4all-later"),
        ("ServiceAccount", "chat4all"),
        ("ConfigMap", "chat4all-kafka-broker"),
        ("Secret", "chat4all"),
        ("Secret", "chat4all-kafka"),
        ("Secret", "chat4all-tls"),
        ("Secret", "chat4all-files-tls"),
        ("Secret", "chat4all-log"),
    }


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ({"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "it", "key": "k"}}}]}]}, "Secret"),
        ({"containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "it", "key": "k"}}}]}]}, "ConfigMap"),
        ({"volumes": [{"secret": {"secretName": "it"}}]}, "Secret"),
        ({"volumes": [{"projected": {"sources": [{"configMap": {"name": "it"}}]}}]}, "ConfigMap"),
        ({"imagePullSecrets": [{"name": "it"}]}, "Secret"),
        ({"auth": {"secret": {"ref": {"name": "it"}}}}, "Secret"),
        ({"config": {"apiVersion": "v1", "kind": "ConfigMap", "name": "it"}}, "ConfigMap"),
    ],
)
def test_a_name_is_found_wherever_it_is_said(field: dict[str, object], kind: str) -> None:
    assert named({"kind": "Any", "metadata": {"name": "any"}, "spec": field}) == {(kind, "it")}


def test_pods_are_made_after_what_nobody_foresaw_and_before_what_leads_to_them() -> None:
    pod = {"template": {"spec": {"containers": [{"image": "i"}]}}}
    kinds = ["HTTPRoute", "Deployment", "ExternalSecret", "NetworkPolicy", "ServiceAccount", "Namespace"]
    made = [{"kind": kind, "spec": pod if kind == "Deployment" else {}} for kind in kinds]
    assert [one["kind"] for one in in_order(made)] == kinds[::-1]

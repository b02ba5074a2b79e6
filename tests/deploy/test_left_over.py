"""What an earlier deployment made and this one does not; what controllers made is theirs."""

from pathlib import Path

import pytest

from infra.deploy.left_over import Found, asked_for, labelled, left_over, naming, unnamed
from infra.deploy.named import named
from infra.deploy.plan import is_platform
from infra.manifests.kustomize import manifests

OVERLAYS = Path(__file__).resolve().parents[2] / "infra/overlays"
ROUTE = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}
SEND = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {"name": "send"}}


def found(version: str, kind: str, name: str = "gone", owned: bool = False) -> Found:
    return Found(version, kind, name, owned)


def test_what_controllers_made_and_what_is_rendered_is_not_left_over() -> None:
    seen = [
        found("serving.knative.dev/v1", "Service", "send"),
        found("v1", "Service", "send", owned=True),
        found("apps/v1", "Deployment", "send-00001-deployment", owned=True),
        found("v1", "Service", "realtime"),
    ]
    assert left_over([SEND], seen) == [seen[-1]]


def test_another_version_of_what_is_rendered_is_the_same() -> None:
    assert left_over([SEND], [found("serving.knative.dev/v2", "Service", "send")]) == []


def test_it_is_told_in_an_order_to_delete_it_in() -> None:
    kinds = ["HTTPRoute", "Trigger", "Broker", "Service", "ServiceAccount", "ConfigMap", "Secret"]
    seen = [found("v1", kind) for kind in reversed(kinds)]
    assert [one.kind for one in left_over([], seen)] == kinds


@pytest.mark.parametrize("overlay", ["production", "one-node", "one-node-kafka", "one-node-kafka-broker"])
def test_kinds_of_every_overlay_are_looked_for_by_any_other(overlay: str) -> None:
    """An overlay without any route still sees those of the overlay before it."""
    here = {
        (one["apiVersion"], one["kind"]): one["kind"]
        for one in manifests(OVERLAYS / overlay)
        if "namespace" in one["metadata"]
    }
    assert asked_for([], here) == sorted(here.values())


def test_everything_that_is_applied_says_whose_it_is() -> None:
    rendered = manifests(OVERLAYS / "production")
    for one, before in zip(labelled(rendered), rendered, strict=True):
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "chat4all"
        assert labels.items() >= (before["metadata"].get("labels") or {}).items()
        assert one | {"metadata": {}} == before | {"metadata": {}}, "selectors and pods stay as they are"


def test_labels_that_are_null_are_none_and_those_of_others_stay() -> None:
    theirs = {"app.kubernetes.io/part-of": "theirs"}
    routes = [ROUTE | {"metadata": {"name": "chat4all", "labels": labels}} for labels in (None, theirs)]
    null, other, _ = labelled([*routes, SEND])
    assert null["metadata"]["labels"] == {"app.kubernetes.io/part-of": "chat4all"}
    assert other["metadata"]["labels"] == theirs


@pytest.mark.parametrize("overlay", ["production", "one-node", "one-node-kafka", "one-node-kafka-broker"])
def test_every_overlay_of_the_platform_is_one(overlay: str) -> None:
    assert is_platform(manifests(OVERLAYS / overlay))


def test_who_names_a_secret_is_asked_whatever_it_is() -> None:
    """Of what production makes, all kinds that name something."""
    kinds = {("v1", "Secret"): "secrets"} | {
        (one["apiVersion"], one["kind"]): one["kind"] for one in manifests(OVERLAYS / "production") if named(one)
    }
    asked = set(naming(kinds)) | {"Service"}  # a Knative Service's revisions have what it names
    assert asked == set(kinds.values()) - {"secrets"}
    account = {"kind": "ServiceAccount", "metadata": {}, "imagePullSecrets": [{"name": "registry"}]}
    left = [found("v1", "Secret", "registry"), found("v1", "Secret", "old")]
    assert unnamed(left, [account]) == left[1:]

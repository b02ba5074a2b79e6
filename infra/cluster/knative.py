"""Knative's own manifests, of the very modules that are built, with what one node without a network needs changed."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

PROGRAMS = {
    "knative.dev/serving/cmd/activator": "serving-activator",
    "knative.dev/serving/cmd/autoscaler": "serving-autoscaler",
    "knative.dev/serving/cmd/controller": "serving-controller",
    "knative.dev/serving/cmd/queue": "serving-queue",
    "knative.dev/serving/cmd/webhook": "serving-webhook",
    "knative.dev/eventing/cmd/broker/filter": "eventing-broker-filter",
    "knative.dev/eventing/cmd/broker/ingress": "eventing-broker-ingress",
    "knative.dev/eventing/cmd/controller": "eventing-controller",
    "knative.dev/eventing/cmd/in_memory/channel_controller": "eventing-channel-controller",
    "knative.dev/eventing/cmd/in_memory/channel_dispatcher": "eventing-channel-dispatcher",
    "knative.dev/eventing/cmd/mtchannel_broker": "eventing-broker-controller",
    "knative.dev/eventing/cmd/mtping": "eventing-ping-source",
    "knative.dev/eventing/cmd/webhook": "eventing-webhook",
}
"""The Go package of every program of Knative that is used, and the name of its image."""

RETENTION = "scale-to-zero-pod-retention-period"
INGRESS_CLASS = "one-node.ingress.networking.knative.dev"

_SOURCES = {
    "serving": (
        ("knative.dev/serving", "config/core"),
        ("knative.dev/networking", "config"),
        ("knative.dev/caching", "config/image.yaml"),
    ),
    "eventing": (
        ("knative.dev/eventing", "config/core"),
        # The controller's environment refers to these maps, so it would not start without them.
        ("knative.dev/eventing", "third_party/eventing-integrations-latest"),
        ("knative.dev/eventing", "config/channels/in-memory-channel"),
        ("knative.dev/eventing", "config/brokers/mt-channel-broker"),
    ),
    "gateway": (
        ("sigs.k8s.io/gateway-api", "config/crd/standard/gateway.networking.k8s.io_gatewayclasses.yaml"),
        ("sigs.k8s.io/gateway-api", "config/crd/standard/gateway.networking.k8s.io_gateways.yaml"),
        ("sigs.k8s.io/gateway-api", "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"),
    ),
}
_NOT_FOR_ONE_NODE = {"HorizontalPodAutoscaler", "PodDisruptionBudget", "Image"}
_UNUSED = {"job-sink", "request-reply"}
SETTINGS = {
    "config-network": {
        "ingress-class": INGRESS_CLASS,
        "autocreate-cluster-domain-claims": "true",
        # Asked first by its address and then by that of its Service, a pod that becomes ready between the two is taken
        # for one in a mesh, and its revision then waits at each start until kubelet and kube-proxy know of it.
        "mesh-compatibility-mode": "disabled",
    },
    "config-domain": {"chat4all.test": ""},
    "config-autoscaler": {
        "stable-window": "10s",
        "scale-to-zero-grace-period": "5s",
        RETENTION: "0s",
        "allow-zero-initial-scale": "true",
        "initial-scale": "0",  # one machine does not start all functions at once
    },
    # Each of 46 leases is written every ten seconds by default. Here a program's only other holder is its next pod,
    # which waits for two minutes where the one before was killed.
    "config-leader-election": {"lease-duration": "120s", "renew-deadline": "100s", "retry-period": "40s"},
    "config-deployment": {
        "registries-skipping-tag-resolving": "dev.local",  # there is no registry to ask for a digest
        "queue-sidecar-cpu-request": "5m",
        "queue-sidecar-memory-request": "20Mi",
        "progress-deadline": "120s",
    },
}
_ORDER = {
    "Namespace": 0,
    "ServiceAccount": 1,
    "ClusterRole": 2,
    "Role": 2,
    "ClusterRoleBinding": 3,
    "RoleBinding": 3,
    "ConfigMap": 4,
    "Secret": 4,
    "Service": 5,
    "Deployment": 6,
}

# A status is written by Knative's own controllers: that they are asked whether it is valid, and what it lacks, costs
# two calls of a webhook for most of what a start writes.
_NOT_OF_A_STATUS = {
    "name": "not-of-a-status",
    "expression": "!has(request.subResource) || request.subResource != 'status'",
}

Manifest = dict[str, Any]


def render(folder_of_module: Callable[[str], Path], target: Path) -> None:
    """Writes ``definitions.yaml``, ``serving.yaml`` and ``eventing.yaml``."""
    target.mkdir()
    definitions: list[Manifest] = []
    for name, sources in _SOURCES.items():
        manifests = [
            _adapted(one)
            for module, path in sources
            for one in _manifests(folder_of_module(module) / path)
            if _used(one)
        ]
        definitions += [one for one in manifests if one["kind"] == "CustomResourceDefinition"]
        others = [one for one in manifests if one["kind"] != "CustomResourceDefinition"]
        if others:
            _write(target / f"{name}.yaml", sorted(others, key=lambda one: _ORDER.get(one["kind"], 9)))
    _write(target / "definitions.yaml", definitions)


def _manifests(path: Path) -> Iterator[Manifest]:
    for file in sorted(path.rglob("*.yaml")) if path.is_dir() else [path]:
        yield from filter(None, yaml.safe_load_all(file.read_text()))


def _used(manifest: Manifest) -> bool:
    if manifest["kind"] in _NOT_FOR_ONE_NODE:
        return False
    return not (manifest["kind"] in ("Deployment", "StatefulSet") and manifest["metadata"]["name"] in _UNUSED)


def _adapted(manifest: Manifest) -> Manifest:
    manifest = _with_local_images(manifest)
    name = manifest["metadata"]["name"]
    if manifest["kind"] == "ConfigMap":
        settings = {key: value for key, value in (manifest.get("data") or {}).items() if key != "_example"}
        manifest["data"] = settings | SETTINGS.get(name, {})
        manifest["metadata"].get("annotations", {}).pop("knative.dev/example-checksum", None)
    for webhook in manifest.get("webhooks", ()) if manifest["kind"].endswith("WebhookConfiguration") else ():
        webhook.setdefault("matchConditions", []).append(_NOT_OF_A_STATUS)
    if manifest["kind"] == "Deployment":
        for container in manifest["spec"]["template"]["spec"]["containers"]:
            _slim(container)
    return manifest


def _slim(container: Manifest) -> None:
    container["imagePullPolicy"] = "Never"
    container.setdefault("resources", {}).pop("limits", None)
    container["resources"].setdefault("requests", {})["cpu"] = "10m"
    environment = container.setdefault("env", [])
    if all(one["name"] != "GOGC" for one in environment):
        environment.append({"name": "GOGC", "value": "400"})  # as the node's servers: memory is there
    container.pop("livenessProbe", None)  # on a busy machine it kills what is only slow
    if probe := container.get("readinessProbe"):
        probe |= {"initialDelaySeconds": 0, "periodSeconds": 2}


def _with_local_images(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: _with_local_images(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_with_local_images(value) for value in part]
    if isinstance(part, str) and part.startswith("ko://"):
        return f"dev.local/{PROGRAMS.get(part.removeprefix('ko://'), 'not-built')}:1"
    return part


def _write(file: Path, manifests: list[Manifest]) -> None:
    with file.open("w") as output:
        yaml.safe_dump_all(manifests, output, sort_keys=False, width=1000)

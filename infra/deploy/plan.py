"""What is to be done, and whether it is done: decided from what was rendered and what the cluster says."""

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from infra.manifests.kustomize import Manifest

IMAGE = "ghcr.io/chat4all/chat4all"
"""The name that the manifests give to the image."""

COMPONENT = "app.kubernetes.io/component"

LATEST = "@latest"
"""Whatever revision of a Service is the newest one that is ready."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PART = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"(?:(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
"""As registries take them."""
_REVISION = re.compile(r"(?P<service>[a-z0-9-]+)-[0-9]{5}")
_WAITED_FOR = {
    "serving.knative.dev Service": "ksvc",
    "eventing.knative.dev Broker": "brokers.eventing.knative.dev",
    "eventing.knative.dev Trigger": "triggers.eventing.knative.dev",
    "eventing.knative.dev KafkaSink": "kafkasinks.eventing.knative.dev",
    "sources.knative.dev PingSource": "pingsources.sources.knative.dev",
    "sources.knative.dev KafkaSource": "kafkasources.sources.knative.dev",
    "apps Deployment": "deployments.apps",
    "gateway.networking.k8s.io Gateway": "gateways.gateway.networking.k8s.io",
    "gateway.networking.k8s.io HTTPRoute": "httproutes.gateway.networking.k8s.io",
}
_UNWATCHED = "chat4all.dev/unwatched"
"""On what nobody gives a status: the Gateway of scripts/cluster."""

_REFUSED_POD = re.compile(r'pods? "[^"]*" is forbidden|failed calling webhook')
"""
Knative hands on what the API server said of a pod that a ReplicaSet wanted to make: no such class or account, no quota.
The ReplicaSet asks again, and then the revision comes right.
"""

_NO_ROOM = re.compile(r"\bnodes are available\b")
"""Of the scheduler, while a node is added or somebody else's pod is evicted."""

_OF_KAFKA = "auth.secret.ref.name"
"""In the ConfigMap of a Kafka Broker: its Secret. Without it nothing of Eventing gets ready."""


class Refused(Exception):
    """It cannot be done; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Image:
    """``version`` is a tag, or a digest, which nobody can move."""

    name: str
    version: str

    @classmethod
    def read(cls, text: str) -> "Image":
        """
        Raises:
            Refused: it names no version, or is no name of an image.

        >>> Image.read("registry:5000/chat4all:1.2").kustomization
        {'name': 'ghcr.io/chat4all/chat4all', 'newName': 'registry:5000/chat4all', 'newTag': '1.2'}
        """
        name, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise Refused(f"{text}: a digest is sha256: and 64 hexadecimal digits")
        bare, tag = _without_tag(name)
        if not _NAME.fullmatch(bare) or (tag and not _TAG.fullmatch(tag)):
            raise Refused(f"{text}: no name of an image, such as registry.acme.example/chat4all:0.1.0")
        if at:
            return cls(name, digest)
        if tag in ("", "latest"):
            raise Refused(f"{text}: name a version, NAME:TAG or better NAME@sha256:DIGEST")
        return cls(bare, tag)

    def __str__(self) -> str:
        return f"{self.name}{'@' if self.version.startswith('sha256:') else ':'}{self.version}"

    @property
    def kustomization(self) -> dict[str, str]:
        kind = "digest" if self.version.startswith("sha256:") else "newTag"
        return {"name": IMAGE, "newName": self.name, kind: self.version}


def _without_tag(name: str) -> tuple[str, str]:
    """A colon before a slash is that of a port."""
    bare, colon, tag = name.rpartition(":")
    return (bare, tag) if colon and "/" not in tag else (name, "")


@dataclass(frozen=True, slots=True)
class Traffic:
    """How the requests of one Service are split: percent by revision, 100 in all."""

    service: str
    percent: Mapping[str, int]

    @classmethod
    def read(cls, service: str, parts: Sequence[str]) -> "Traffic":
        """
        Arguments:
            parts: ``REVISION=PERCENT``; a revision is its name or ``@latest``.

        Raises:
            Refused: they make no 100, or a revision is of another Service.

        >>> Traffic.read("send", ["send-00004=90", "@latest=10"]).manifest
        [{'revisionName': 'send-00004', 'percent': 90}, {'latestRevision': True, 'percent': 10}]
        """
        percent: dict[str, int] = {}
        for part in parts:
            revision, _, share = part.partition("=")
            if not share.isdigit():
                raise Refused(f"{part}: write REVISION=PERCENT")
            if revision != LATEST and service_of(revision) != service:
                raise Refused(f"{revision} is no revision of {service}")
            percent[revision] = int(share)
        if sum(percent.values()) != 100:
            raise Refused(f"{', '.join(parts)}: that is {sum(percent.values())} percent, not 100")
        return cls(service, percent)

    @property
    def manifest(self) -> list[dict[str, object]]:
        return [
            {"latestRevision": True, "percent": share} if revision == LATEST
            else {"revisionName": revision, "percent": share}
            for revision, share in self.percent.items()
        ]  # fmt: skip


def service_of(revision: str) -> str:
    """
    Raises:
        Refused: no revision is named like this.

    >>> service_of("deliver-whatsapp-00012")
    'deliver-whatsapp'
    """
    found = _REVISION.fullmatch(revision)
    if found is None:
        raise Refused(f"{revision} is no revision; `kubectl get revisions` shows their names, such as send-00004")
    return found["service"]


def namespace_of(manifests: Iterable[Manifest]) -> str:
    """Where everything of the overlay lives. Raises Refused when that is not one namespace."""
    found = {one["metadata"]["namespace"] for one in manifests if "namespace" in one["metadata"]}
    if len(found) != 1:
        raise Refused(f"an overlay has one namespace, this one {', '.join(sorted(found)) or 'none'}")
    return str(found.pop())


def missing_kinds(manifests: Iterable[Manifest], known: Container[tuple[str, str]]) -> list[str]:
    """What the cluster does not know, such as ``sources.knative.dev/v1 KafkaSource``; ``known``: version and kind."""
    wanted = {(one["apiVersion"], one["kind"]) for one in manifests}
    return sorted(f"{version} {kind}" for version, kind in wanted if (version, kind) not in known)


def _template(manifest: Manifest) -> dict[str, Any]:
    """Of the pods that it makes, be it by a Job; nothing where it makes none."""
    spec = manifest.get("spec") or {}
    template: dict[str, Any] = spec.get("jobTemplate", {}).get("spec", spec).get("template", {})
    return template


def _pod(manifest: Manifest) -> dict[str, Any]:
    pod: dict[str, Any] = _template(manifest).get("spec", {})
    return pod


def component_of(manifest: Manifest) -> str:
    """What policies know its pods by; nothing where it does not say."""
    labels = (_template(manifest).get("metadata") or {}).get("labels") or {}
    return str(labels.get(COMPONENT, ""))


def containers(manifest: Manifest) -> list[dict[str, Any]]:
    """Of its pods, those that run first among them."""
    pod = _pod(manifest)
    return [*pod.get("initContainers", []), *pod.get("containers", [])]


def unversioned(manifests: Iterable[Manifest]) -> list[str]:
    """Those whose image is whatever it happens to be."""
    return [
        one["metadata"]["name"]
        for one in manifests
        for container in containers(one)
        if _is_loose(container.get("image", ":"))
    ]


def images(manifests: Iterable[Manifest]) -> set[str]:
    return {container["image"] for one in manifests for container in containers(one) if "image" in container}


def _is_loose(image: str) -> bool:
    name, at, digest = image.partition("@")
    return not _DIGEST.fullmatch(digest) if at else name.endswith(":latest") or ":" not in name.rpartition("/")[2]


def misled(manifests: Sequence[Manifest], namespace: str) -> list[str]:
    """Names of ConfigMaps whose K_SINK is no Broker of this overlay: every event would be refused."""
    brokers = {f"/{namespace}/{one['metadata']['name']}" for one in manifests if one["kind"] == "Broker"}
    return [
        one["metadata"]["name"]
        for one in manifests
        if one["kind"] == "ConfigMap"
        if (sink := _data(one).get("K_SINK")) and not sink.endswith(tuple(brokers))
    ]


def _data(config_map: Manifest) -> Mapping[str, str]:
    return config_map.get("data") or {}


def told_by_name(manifest: Manifest) -> set[str]:
    """Names of the variables that its containers are told one by one."""
    return {one["name"] for container in containers(manifest) for one in container.get("env") or []}


def secrets_told_to(manifest: Manifest) -> set[str]:
    """Names of the Secrets that its containers get all variables of."""
    return {
        source["secretRef"]["name"]
        for container in containers(manifest)
        for source in container.get("envFrom", [])
        if "secretRef" in source
    }


def secrets_wanted(manifests: Sequence[Manifest]) -> set[str]:
    """
    Names of Secrets that the overlay does not bring along: what functions are told, Knative's way to Kafka, and the
    registry's password.
    """
    told = {name for one in manifests for name in secrets_told_to(one)}
    pull = {
        secret["name"]
        for one in manifests
        for by in (one if one["kind"] == "ServiceAccount" else _pod(one),)
        for secret in by.get("imagePullSecrets", [])
    }
    return (told | secrets_of_brokers(manifests) | pull) - {
        one["metadata"]["name"] for one in manifests if one["kind"] == "Secret"
    }


def secrets_of_brokers(manifests: Iterable[Manifest]) -> set[str]:
    """Names of those by which Knative itself comes to Kafka."""
    return {secret for one in manifests if one["kind"] == "ConfigMap" if (secret := _data(one).get(_OF_KAFKA))}


def after_triggers(manifests: Iterable[Manifest], running: Container[str]) -> list[Manifest]:
    """
    What is changed only when all Triggers are ready: functions that run already, whose next revision may emit what no
    Trigger took before. A Trigger starts at the end of the topic, and one whose function is new waits for that.
    """
    return [
        one
        for one in manifests
        if one["kind"] in ("Service", "Deployment") and "template" in one.get("spec", {})
        if one["metadata"]["name"] in running
    ]


def is_platform(manifests: Iterable[Manifest]) -> bool:
    """Whether it is the platform, whose `send` no part on top of it has; a Broker is not in every overlay."""
    return any(one["kind"] == "Service" and one["metadata"]["name"] == "send" for one in manifests)


def triggers(manifests: Iterable[Manifest]) -> list[Manifest]:
    return [one for one in manifests if one["kind"] == "Trigger"]


def waited_for(manifests: Iterable[Manifest]) -> dict[str, set[str]]:
    """The names of what gets ready by and by, under what kubectl calls it."""
    found: dict[str, set[str]] = {}
    for one in manifests:
        if one["metadata"].get("annotations", {}).get(_UNWATCHED):
            continue
        if resource := _WAITED_FOR.get(f"{one['apiVersion'].partition('/')[0]} {one['kind']}"):
            found.setdefault(resource, set()).add(one["metadata"]["name"])
    return found


class State(Enum):
    READY = "ready"
    WAITING = "waiting"
    HELD = "held"
    """It says that it failed, of something that may pass: it counts when it stands."""

    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Seen:
    kind: str
    name: str
    state: State
    why: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}: {self.why}"


def look_at(manifest: Manifest) -> Seen:
    """
    How far an object is, by its own status: what was said of an older generation of it does not count.

    A Knative object that says False may come round: a Broker whose sink is starting does. A Service that says so of its
    newest revision does not, unless its pods were refused or found no room: Knative says this as finally as the rest.
    """
    kind, name, status = manifest["kind"], manifest["metadata"]["name"], manifest.get("status", {})
    if kind == "HTTPRoute":
        return _look_at_route(manifest)
    conditions = {one["type"]: one for one in status.get("conditions", [])}
    ready = conditions.get({"Deployment": "Available", "Gateway": "Programmed"}.get(kind, "Ready"), {})
    why = ready.get("message") or ready.get("reason") or "nothing was said of it yet"
    generation = manifest["metadata"].get("generation")
    if status.get("observedGeneration", ready.get("observedGeneration", generation)) != generation:
        return Seen(kind, name, State.WAITING, "its controller has not seen it yet")
    if ready.get("status") == "True":
        wanted, have = manifest.get("spec", {}).get("replicas", 0), status.get("updatedReplicas", 0)
        if kind == "Deployment" and have < wanted:
            return Seen(kind, name, State.WAITING, f"{have} of {wanted} replicas are new")
        return Seen(kind, name, State.READY)
    if kind == "Service" and conditions.get("ConfigurationsReady", {}).get("status") == "False":
        why = conditions["ConfigurationsReady"].get("message") or why
        return Seen(kind, name, _state_of_failure(why), why)
    return Seen(kind, name, State.WAITING, why)


def _state_of_failure(why: str) -> State:
    if _NO_ROOM.search(why):
        return State.WAITING
    return State.HELD if _REFUSED_POD.search(why) else State.FAILED


def _look_at_route(manifest: Manifest) -> Seen:
    """A route has a status for each gateway that it wants to lead there, and each condition a generation of its own."""
    kind, name, generation = manifest["kind"], manifest["metadata"]["name"], manifest["metadata"].get("generation")
    parents = manifest.get("status", {}).get("parents", [])
    if len(parents) < len(manifest["spec"]["parentRefs"]):
        return Seen(kind, name, State.WAITING, "no gateway has taken it yet")
    for parent in parents:
        conditions = {
            one["type"]: one for one in parent["conditions"] if one.get("observedGeneration", generation) == generation
        }
        for wanted in ("Accepted", "ResolvedRefs"):
            found = conditions.get(wanted, {})
            if found.get("status") != "True":
                why = found.get("message") or found.get("reason") or "its controller has not seen it yet"
                return Seen(kind, name, State.WAITING, why)
    return Seen(kind, name, State.READY)


def public_addresses(manifests: Iterable[Manifest]) -> list[str]:
    """Of the gateways, such as ``https://chat4all.example.org``."""
    return [
        f"{listener['protocol'].lower()}://{listener['hostname']}"
        for one in manifests
        if one["kind"] == "Gateway"
        for listener in one["spec"]["listeners"]
        if "hostname" in listener
    ]


def pinned(manifests: Iterable[Manifest]) -> dict[str, str]:
    """Services whose newest revision does not get all requests, and who gets them."""
    found = {}
    for one in manifests:
        traffic = one.get("spec", {}).get("traffic", []) if one["kind"] == "Service" else []
        if [part for part in traffic if not part.get("latestRevision") and part.get("percent")]:
            shares = (f"{part.get('revisionName', LATEST)}={part.get('percent', 0)}" for part in traffic)
            found[one["metadata"]["name"]] = " ".join(shares)
    return found

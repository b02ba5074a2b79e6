"""What earlier deployments put there and this one does not: nobody deletes it but people, who are told."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from infra.deploy.named import named
from infra.deploy.order import place
from infra.deploy.plan import is_platform
from infra.manifests.kustomize import Manifest

_LABEL, _PLATFORM = "app.kubernetes.io/part-of", "chat4all"
SELECTOR = f"{_LABEL}={_PLATFORM}"
NAMED = ("ConfigMap", "Secret", "ServiceAccount")
"""What may be used still although no deployment of today makes it."""

_EVER = {
    ("", "ConfigMap"),
    ("", "Secret"),
    ("", "Service"),
    ("", "ServiceAccount"),
    ("apps", "Deployment"),
    ("autoscaling", "HorizontalPodAutoscaler"),
    ("batch", "CronJob"),
    ("eventing.knative.dev", "Broker"),
    ("eventing.knative.dev", "KafkaSink"),
    ("eventing.knative.dev", "Trigger"),
    ("gateway.envoyproxy.io", "ClientTrafficPolicy"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "HTTPRoute"),
    ("networking.k8s.io", "NetworkPolicy"),
    ("policy", "PodDisruptionBudget"),
    ("serving.knative.dev", "Service"),
    ("sources.knative.dev", "KafkaSource"),
    ("sources.knative.dev", "PingSource"),
}
"""What overlays of ours make in a namespace: one may have no Trigger any more, and the cluster still have some."""

_NAMING = {
    ("", "ConfigMap"),
    ("", "ServiceAccount"),
    ("apps", "Deployment"),
    ("apps", "ReplicaSet"),
    ("batch", "CronJob"),
    ("eventing.knative.dev", "Broker"),
    ("eventing.knative.dev", "KafkaSink"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("serving.knative.dev", "Revision"),
    ("sources.knative.dev", "KafkaSource"),
}
"""Who names ConfigMaps, Secrets and accounts: a revision, or a ReplicaSet, that one may go back to has its own."""


@dataclass(frozen=True, slots=True)
class Found:
    """``owned``: a controller made it and takes it away; labels are inherited, so it may have ours."""

    version: str
    kind: str
    name: str
    owned: bool

    def __str__(self) -> str:
        last = " (its topic goes with it, and all events that are there)" if self.kind == "Broker" else ""
        return f"{self.kind} {self.name}{last}"

    @property
    def key(self) -> tuple[str, str, str]:
        return (_group(self.version), self.kind, self.name)


def labelled(manifests: Sequence[Manifest]) -> list[Manifest]:
    """
    Everything that does not say whose it is says so, also what an overlay on top adds, such as its Secrets.

    A part of its own stays as it is: the next deployment of the platform would take it for left over.
    """
    if not is_platform(manifests):
        return [*manifests]
    return [one | {"metadata": one["metadata"] | {"labels": {_LABEL: _PLATFORM} | _labels(one)}} for one in manifests]


def _labels(manifest: Manifest) -> dict[str, str]:
    return manifest["metadata"].get("labels") or {}


def asked_for(manifests: Iterable[Manifest], resources: Mapping[tuple[str, str], str]) -> list[str]:
    """
    What kubectl calls the kinds of which something may be left over.

    Arguments:
        resources: what kubectl calls each version and kind that the cluster has in namespaces.
    """
    wanted = _EVER | {(_group(one["apiVersion"]), one["kind"]) for one in manifests}
    return _resources(wanted, resources)


def naming(resources: Mapping[tuple[str, str], str]) -> list[str]:
    """What kubectl calls the kinds of which one may name what is left over."""
    return _resources(_NAMING, resources)


def left_over(manifests: Iterable[Manifest], found: Iterable[Found]) -> list[Found]:
    """Who leads to something goes before it, and that before what it names: they can be deleted from the top."""
    rendered = {(_group(one["apiVersion"]), one["kind"], one["metadata"]["name"]) for one in manifests}
    left = [one for one in found if not one.owned and one.key not in rendered]
    return sorted(left, key=lambda one: (-place(one.kind), one.kind, one.name))


def unnamed(left: Iterable[Found], objects: Iterable[Manifest]) -> list[Found]:
    """Without the ConfigMaps, Secrets and accounts that one of these still names."""
    used = {it for one in objects for it in named(one)}
    return [one for one in left if (one.kind, one.name) not in used]


def by_group(resources: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    """What kubectl calls a kind, whichever version of it is there."""
    return {(_group(version), kind): name for (version, kind), name in resources.items()}


def _resources(wanted: Container[tuple[str, str]], resources: Mapping[tuple[str, str], str]) -> list[str]:
    return sorted(name for (version, kind), name in resources.items() if (_group(version), kind) in wanted)


def _group(version: str) -> str:
    """
    >>> _group("apps/v1"), _group("v1")
    ('apps', '')
    """
    return version.partition("/")[0] if "/" in version else ""

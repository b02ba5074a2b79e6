"""In which order an overlay is applied: whatever is named goes in front of whoever names it."""

from collections.abc import Iterable

from infra.deploy.plan import containers
from infra.manifests.kustomize import Manifest

_NAMED = ("Namespace", "PriorityClass", "Secret", "ConfigMap", "ServiceAccount", "NetworkPolicy")
"""A pod without its class or account is refused, and Knative calls its revision failed. A wall is there before it."""

_LEADING = (
    "HorizontalPodAutoscaler",
    "KafkaSink",
    "Broker",
    "Trigger",
    "KafkaSource",
    "PingSource",
    "Gateway",
    "HTTPRoute",
)
"""What leads to something that runs."""


def in_order(manifests: Iterable[Manifest]) -> list[Manifest]:
    """kustomize has an order of its own, in which a Knative Service goes before its PriorityClass."""
    return sorted(manifests, key=lambda one: place(one["kind"], runs=bool(containers(one))))


def place(kind: str, *, runs: bool = False) -> int:
    """
    Less is sooner. A kind that nobody foresaw, and that makes no pods, goes in front of those who do: they may need it.

    >>> place("Certificate") < place("Deployment", runs=True) < place("HTTPRoute")
    True
    """
    if kind in _NAMED:
        return _NAMED.index(kind)
    if kind in _LEADING:
        return len(_NAMED) + 2 + _LEADING.index(kind)
    return len(_NAMED) + runs

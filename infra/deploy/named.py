"""What an object names by its fields: it is to be there first, and is still used while somebody names it."""

from collections.abc import Iterator

from infra.manifests.kustomize import Manifest

_NAMES = {
    "priorityClassName": "PriorityClass",
    "serviceAccountName": "ServiceAccount",
    "auth.secret.ref.name": "Secret",  # in the ConfigMap of a Kafka Broker
}
_REFERENCES = {
    "configMap": "ConfigMap",
    "configMapKeyRef": "ConfigMap",
    "configMapRef": "ConfigMap",
    "secret": "Secret",
    "secretKeyRef": "Secret",
    "secretRef": "Secret",
}


def named(manifest: Manifest) -> set[tuple[str, str]]:
    """Kind and name of each class, account, ConfigMap and Secret."""
    return set(_named({field: value for field, value in manifest.items() if field not in ("kind", "metadata")}))


def _named(value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, list):
        for one in value:
            yield from _named(one)
    if not isinstance(value, dict):
        return
    if value.get("kind") in _REFERENCES.values() and "name" in value:  # spec.config of a Broker
        yield value["kind"], value["name"]
    for field, inner in value.items():
        if field in _NAMES and isinstance(inner, str):
            yield _NAMES[field], inner
        elif field in _REFERENCES and isinstance(inner, dict):
            to = inner.get("ref", inner)  # spec.auth of a KafkaSink has one more level
            if name := to.get("secretName") or to.get("name"):
                yield _REFERENCES[field], name
        elif field == "imagePullSecrets":
            yield from (("Secret", one["name"]) for one in inner or [])
        yield from _named(inner)

"""
Writes the schemas of what Kubernetes itself does not know: Knative's objects and those of the Gateway API.

They come from the CustomResourceDefinitions in the Go modules that ``infra/cluster/go/knative`` pins by its go.sum,
so they are those of the versions that scripts/cluster runs. Descriptions are left out; what an object does not
declare is refused, which the API server would silently drop.
"""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SCHEMAS = Path(__file__).parent / "schemas"
MODULE = Path(__file__).parent.parent / "cluster/go/knative"

_SOURCES = {
    "knative.dev/serving": ("config/core/300-resources/service.yaml", "config/core/300-resources/domain-mapping.yaml"),
    "knative.dev/eventing": (
        "config/core/resources/broker.yaml",
        "config/core/resources/trigger.yaml",
        "config/core/resources/pingsource.yaml",
        "config/core/resources/sinkbindings.yaml",
    ),
    "sigs.k8s.io/gateway-api": (
        "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
        "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
        "config/crd/standard/gateway.networking.k8s.io_referencegrants.yaml",
    ),
}
_NOT_JUDGED = {"description", "default", "format"}


@dataclass(frozen=True, slots=True)
class Definition:
    """One version of one kind: the JSON Schema, and where it is from."""

    api_version: str
    kind: str
    schema: dict[str, Any]

    @property
    def path(self) -> Path:
        return SCHEMAS / f"{self.kind.lower()}-{self.api_version.replace('/', '-')}.json"

    @property
    def text(self) -> str:
        return json.dumps(self.schema, separators=(",", ":"), sort_keys=True) + "\n"


def definitions() -> Iterator[Definition]:
    """Every served version that the modules define. Raises CalledProcessError without Go or its proxy."""
    for module, files in _SOURCES.items():
        at = json.loads(_go("mod", "download", "-json", module))
        for file in files:
            source = Path(at["Dir"]) / file
            origin = f"{module} {at['Version']} {file} sha256:{hashlib.sha256(source.read_bytes()).hexdigest()}"
            for document in filter(None, yaml.safe_load_all(source.read_text())):
                yield from _versions(document, origin)


def closed(schema: Any) -> Any:
    """
    The same as JSON Schema, where an object may hold only what it declares.

    >>> closed({"type": "object", "properties": {"a": {"type": "string", "nullable": True}}})
    {'type': 'object', 'properties': {'a': {'type': ['string', 'null']}}, 'additionalProperties': False}
    >>> closed({"x-kubernetes-int-or-string": True})
    {'type': ['integer', 'string']}
    """
    if isinstance(schema, list):
        return [closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: value for name, value in schema.items() if name not in _NOT_JUDGED and not name.startswith("x-")}
    if schema.get("x-kubernetes-int-or-string"):
        kept.pop("anyOf", None)
        return kept | {"type": ["integer", "string"]}
    if "properties" in kept:
        kept["properties"] = {name: closed(value) for name, value in kept["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            kept.setdefault("additionalProperties", False)
    for name in ("items", "additionalProperties"):
        if name in kept:
            kept[name] = closed(kept[name])
    if kept.pop("nullable", False):
        kept["type"] = [kept["type"], "null"]
    return kept


def _versions(document: dict[str, Any], origin: str) -> Iterator[Definition]:
    spec = document["spec"]
    for version in spec["versions"]:
        if not version["served"]:
            continue
        schema = closed(version["schema"]["openAPIV3Schema"])
        given = {name: value for name, value in schema.get("properties", {}).items() if name != "status"}
        known = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
        yield Definition(
            api_version=f"{spec['group']}/{version['name']}",
            kind=spec["names"]["kind"],
            schema=schema | {"$comment": origin, "properties": given | known, "required": ["apiVersion", "kind"]},
        )


def _go(*arguments: str) -> str:
    return subprocess.run(("go", *arguments), cwd=MODULE, check=True, capture_output=True, text=True).stdout

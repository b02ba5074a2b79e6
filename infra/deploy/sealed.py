"""Who is told which secret, of the Secrets that the overlay makes: one that all need, one that few may have."""

from collections.abc import Iterator, Mapping, Sequence

from infra.deploy.plan import containers
from infra.deploy.unsaid import values_of
from infra.manifests.kustomize import Manifest
from shared.domain.sealing_keys import NEW_KEY

HEADING = (
    "functions would be told too little or too much (docs/guides/production.md, secret.env, log.env and kafka.env):"
)
_KEY, _KAFKA = "CHAT4ALL_SECRET_KEY", "CHAT4ALL_KAFKA_PROPERTIES"
_POLICY, _COMPONENT = "kafka", "app.kubernetes.io/component"


def sealed(manifests: Sequence[Manifest]) -> list[str]:
    """A line for each. What a Secret holds that somebody made by hand is nobody's to read."""
    made = {one["metadata"]["name"]: values_of(one) for one in manifests if one["kind"] == "Secret"}
    functions = (one for one in manifests if one["kind"] == "Service" and containers(one))
    told = {one["metadata"]["name"]: set(_secrets(one)) for one in functions}
    return [*_without_key(told, made), *_with_kafka(told, made, manifests)]


def _without_key(told: Mapping[str, set[str]], made: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    without = [
        names
        for names in told.values()
        if names and names <= made.keys() and not any(_KEY in made[name] for name in names)
    ]
    if without:
        read = ", ".join(sorted(set[str]().union(*without)))
        yield f"{_KEY} is in no Secret that functions read ({read}): nobody would get a token; make one by: {NEW_KEY}"


def _with_kafka(
    told: Mapping[str, set[str]], made: Mapping[str, Mapping[str, object]], manifests: Sequence[Manifest]
) -> Iterator[str]:
    """Only where a policy says who may go there at all."""
    may = {component for one in manifests for component in _let_in(one)}
    for name in (name for name, values in made.items() if may and _KAFKA in values):
        if others := sorted(service for service, names in told.items() if name in names and service not in may):
            yield (
                f"{_KAFKA} in the Secret {name} is told to {len(others)} functions that may not go to Kafka "
                f"({', '.join(others[:3])}, …): move the line from secret.env into log.env"
            )


def _secrets(manifest: Manifest) -> Iterator[str]:
    for container in containers(manifest):
        yield from (one["secretRef"]["name"] for one in container.get("envFrom", []) if "secretRef" in one)


def _let_in(manifest: Manifest) -> Iterator[str]:
    if manifest["kind"] == "NetworkPolicy" and manifest["metadata"]["name"] == _POLICY:
        for one in manifest["spec"]["podSelector"].get("matchExpressions", []):
            if one["key"] == _COMPONENT:
                yield from one["values"]

"""Who is told which secret, of the Secrets that the overlay makes: one that all need, one that few may have."""

import json
from collections.abc import Iterator, Mapping, Sequence

from infra.deploy.plan import containers, secrets_told_to
from infra.deploy.unsaid import values_of
from infra.manifests.kustomize import Manifest
from shared.domain.sealing_keys import NEW_KEY

HEADING = (
    "functions would be told too little or too much (docs/guides/production.md, secret.env, log.env and kafka.env):"
)
_KEY, _KAFKA = "CHAT4ALL_SECRET_KEY", "CHAT4ALL_KAFKA_PROPERTIES"
_POLICY, _COMPONENT = "kafka", "app.kubernetes.io/component"


def wrongly_told(manifests: Sequence[Manifest]) -> list[str]:
    """A line for each. What a Secret holds that somebody made by hand is nobody's to read."""
    made = {one["metadata"]["name"]: values_of(one) for one in manifests if one["kind"] == "Secret"}
    functions = (one for one in manifests if one["kind"] == "Service" and containers(one))
    told = {one["metadata"]["name"]: secrets_told_to(one) for one in functions}
    return [*_without_key(told, made), *_with_kafka(told, made, manifests), *_two_ways(made)]


def _without_key(told: Mapping[str, set[str]], made: Mapping[str, Mapping[str, str | None]]) -> Iterator[str]:
    without = [
        names
        for names in told.values()
        if names and names <= made.keys() and not any(_KEY in made[name] for name in names)
    ]
    if without:
        read = ", ".join(sorted(set[str]().union(*without)))
        yield f"{_KEY} is in no Secret that functions read ({read}): nobody would get a token; make one by: {NEW_KEY}"


def _with_kafka(
    told: Mapping[str, set[str]], made: Mapping[str, Mapping[str, str | None]], manifests: Sequence[Manifest]
) -> Iterator[str]:
    """Only where a policy says who may go there at all."""
    may = {component for one in manifests for component in _let_in(one)}
    for name in (name for name, values in made.items() if may and _KAFKA in values):
        if others := sorted(service for service, names in told.items() if name in names and service not in may):
            yield (
                f"{_KAFKA} in the Secret {name} is told to {len(others)} functions that may not go to Kafka "
                f"({', '.join(others[:3])}, …): move the line from secret.env into log.env"
            )


def _two_ways(made: Mapping[str, Mapping[str, str | None]]) -> Iterator[str]:
    """Knative's own way to Kafka and that of functions, which are one user of it."""
    ours = {name: (said["sasl.username"], said["sasl.password"]) for name, said in _properties(made)}
    theirs = {
        name: (said["user"], said["password"]) for name, said in made.items() if {"user", "password"} <= said.keys()
    }
    for one, way in ours.items():
        for other in (name for name, its in theirs.items() if its != way):
            yield f"user or password of Kafka in the Secret {one} (log.env) and in {other} (kafka.env) differ"


def _properties(made: Mapping[str, Mapping[str, str | None]]) -> Iterator[tuple[str, Mapping[str, object]]]:
    for name, values in made.items():
        try:
            said = json.loads(values.get(_KAFKA) or "{}")
        except ValueError:  # misfitting.py says so
            continue
        if isinstance(said, dict) and {"sasl.username", "sasl.password"} <= said.keys():
            yield name, said


def _let_in(manifest: Manifest) -> Iterator[str]:
    if manifest["kind"] == "NetworkPolicy" and manifest["metadata"]["name"] == _POLICY:
        for one in manifest["spec"]["podSelector"].get("matchExpressions", []):
            if one["key"] == _COMPONENT:
                yield from one["values"]

"""
Knative's own way to Kafka and that of functions, where the overlay makes the Secrets of both.

They may be two users, one of them with fewer rights; but one user has one password.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

from infra.deploy.plan import secrets_of_brokers
from infra.deploy.unsaid import is_unsaid, values_of
from infra.manifests.kustomize import Manifest

HEADING = "Kafka would refuse one of the two ways to it (docs/guides/production.md, secret.env, log.env and kafka.env):"
_PROPERTIES = "CHAT4ALL_KAFKA_PROPERTIES"


def differing(manifests: Sequence[Manifest]) -> list[str]:
    """A line for each two Secrets with two passwords of one user; it shows neither."""
    made = {one["metadata"]["name"]: _said(one) for one in manifests if one["kind"] == "Secret"}
    knatives = {name: made[name] for name in sorted(secrets_of_brokers(manifests) & made.keys())}
    return [
        f"{_PROPERTIES} in the Secret {one} and password in the Secret {other} are two passwords of one user of Kafka: "
        "write the same password into both"
        for one, ours in _properties(made)
        for other, theirs in knatives.items()
        if {"user", "password"} <= theirs.keys() and theirs["user"] == ours["sasl.username"]
        if theirs["password"] != ours["sasl.password"]
    ]


def _said(secret: Manifest) -> dict[str, str]:
    return {name: said for name, said in values_of(secret).items() if said and not is_unsaid(secret, name, said)}


def _properties(made: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[str, Mapping[str, object]]]:
    for name, values in made.items():
        try:
            said = json.loads(values.get(_PROPERTIES, "{}"))
        except ValueError:  # misfitting.py says so
            continue
        if isinstance(said, dict) and {"sasl.username", "sasl.password"} <= said.keys():
            yield name, said

"""Who is told which secret, of the Secrets that the overlay makes: one that all need, one that few may have."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

from infra.deploy.plan import COMPONENT, component_of, containers, secrets_told_to, told_by_name
from infra.deploy.unsaid import values_of
from infra.manifests.kustomize import Manifest
from shared.domain.sealing_keys import NEW_KEY

HEADING = (
    "functions would be told too little or too much (docs/guides/production.md, secret.env, log.env and kafka.env):"
)
_FUNCTION, _KEY, _KAFKA = "CHAT4ALL_FUNCTION", "CHAT4ALL_SECRET_KEY", "CHAT4ALL_KAFKA_PROPERTIES"
_POLICY, _SHOWN = "kafka", 3


def wrongly_told(manifests: Sequence[Manifest]) -> list[str]:
    """A line for each. What a Secret holds that somebody made by hand is nobody's to read."""
    made = {one["metadata"]["name"]: values_of(one).keys() for one in manifests if one["kind"] == "Secret"}
    return [*_without_key(manifests, made), *_with_kafka(manifests, made)]


def _without_key(manifests: Iterable[Manifest], made: Mapping[str, Set[str]]) -> Iterator[str]:
    """Only of functions of the platform: what else an overlay brings along may have a Secret of its own."""
    functions = (one for one in manifests if _FUNCTION in (said := told_by_name(one)) and _KEY not in said)
    read = [names for one in functions if (names := secrets_told_to(one))]
    if without := [names for names in read if names <= made.keys() and not any(_KEY in made[name] for name in names)]:
        all_read = ", ".join(sorted(set[str]().union(*without)))
        yield f"{_KEY} is in no Secret that functions read ({all_read}); none starts without. Make one by: {NEW_KEY}"


def _with_kafka(manifests: Sequence[Manifest], made: Mapping[str, Set[str]]) -> Iterator[str]:
    """Only where a policy says who may go there at all."""
    if not (may := _let_in(manifests)):
        return
    away = [one for one in manifests if containers(one) and component_of(one) not in may]
    for secret in (name for name, said in made.items() if _KAFKA in said):
        if told := sorted(one["metadata"]["name"] for one in away if secret in secrets_told_to(one)):
            more = f" and {len(told) - _SHOWN} more" if told[_SHOWN:] else ""
            yield (
                f"{_KAFKA} in the Secret {secret} is told to pods that the NetworkPolicy {_POLICY} does not let go "
                f"there ({', '.join(told[:_SHOWN])}{more}): move the line into a Secret that they do not read, as from "
                f"secret.env into log.env, or take {secret} out of their envFrom"
            )


def _let_in(manifests: Iterable[Manifest]) -> set[str]:
    """The components that the policy lists; none where it chooses in another way, which is not read here."""
    chosen = [
        expression
        for one in manifests
        if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == _POLICY
        for expression in one["spec"]["podSelector"].get("matchExpressions", [])
        if expression["key"] == COMPONENT
    ]
    if any(expression["operator"] != "In" for expression in chosen):
        return set()
    return {component for expression in chosen for component in expression["values"]}

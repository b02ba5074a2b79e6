"""Who is told which secret, in the overlays as they are and with Secrets of somebody's own (issue 7)."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from infra.deploy.secrets_told import wrongly_told
from infra.manifests.kustomize import Manifest, manifests

OVERLAYS = Path(__file__).resolve().parents[2] / "infra/overlays"
KEY, KAFKA = "CHAT4ALL_SECRET_KEY", "CHAT4ALL_KAFKA_PROPERTIES"
FUNCTION = {"name": "CHAT4ALL_FUNCTION", "value": "send"}


@cache
def production() -> tuple[Manifest, ...]:
    return tuple(manifests(OVERLAYS / "production"))


def secret(name: str, *variables: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": dict.fromkeys(variables, "x"),
    }


def pods(kind: str, name: str, *secrets: str, component: str = "", env: Sequence[Manifest] = ()) -> Manifest:
    container = {"env": list(env), "envFrom": [{"secretRef": {"name": secret}} for secret in secrets]}
    labels = {"app.kubernetes.io/component": component or name}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    return {"kind": kind, "metadata": {"name": name}, "spec": {"template": template}}


def wall(*expressions: dict[str, Any]) -> Manifest:
    spec = {"podSelector": {"matchExpressions": list(expressions)}}
    return {"kind": "NetworkPolicy", "metadata": {"name": "kafka"}, "spec": spec}


def let_in(*components: str) -> Manifest:
    return wall({"key": "app.kubernetes.io/component", "operator": "In", "values": list(components)})


def test_what_was_made_by_hand_is_nobodys_to_read() -> None:
    assert wrongly_told(production()) == []
    assert wrongly_told([*production(), secret("chat4all-log", KAFKA)]) == []


def test_the_key_is_missed_where_the_overlay_makes_all_that_functions_read() -> None:
    without = [secret("chat4all", "CHAT4ALL_REDIS_URL"), secret("chat4all-log", KAFKA)]
    (line,) = wrongly_told([*production(), *without])
    assert KEY in line
    assert "none starts without" in line
    assert "urlsafe_b64encode" in line
    assert wrongly_told([*production(), secret("chat4all", KEY), without[1]]) == []


@pytest.mark.parametrize("of_the_platform", [[], [pods("Service", "send", "chat4all", env=[FUNCTION])]])
def test_what_is_no_function_of_the_platform_needs_no_key(of_the_platform: list[Manifest]) -> None:
    """A part of its own, or a Service more in the platform's overlay."""
    bot = [pods("Service", "bot", "bot"), secret("bot", "BOT_PASSWORD")]
    assert wrongly_told([*of_the_platform, *bot]) == []


def test_the_key_may_come_by_name_from_where_it_is_kept() -> None:
    kept = {"name": KEY, "valueFrom": {"secretKeyRef": {"name": "of-the-vault", "key": "key"}}}
    send = pods("Service", "send", "chat4all", env=[FUNCTION, kept])
    assert wrongly_told([send, secret("chat4all", "CHAT4ALL_REDIS_URL")]) == []


def test_the_password_of_kafka_is_for_those_who_may_go_there() -> None:
    (line,) = wrongly_told([*production(), secret("chat4all", KEY, KAFKA), secret("chat4all-log", KAFKA)])
    assert f"{KAFKA} in the Secret chat4all is told to pods that the NetworkPolicy kafka" in line
    assert "(channels, complete-upload, conversations and 24 more)" in line
    assert "log.env" in line


def test_one_that_reads_what_it_may_not_is_named_with_both_ways_out() -> None:
    audit = pods("Service", "audit", "chat4all-log", env=[FUNCTION])
    (line,) = wrongly_told([let_in("events"), audit, secret("chat4all-log", KEY, KAFKA)])
    assert "(audit): move the line" in line
    assert "or take chat4all-log out of their envFrom" in line


def test_all_pods_count_by_the_label_that_the_wall_knows_them_by() -> None:
    """A Deployment holds sockets; and what a Service is called is not what its pods are."""
    made = secret("chat4all", KEY, KAFKA)
    sockets = pods("Deployment", "realtime", "chat4all")
    (line,) = wrongly_told([let_in("events"), sockets, pods("Service", "log", "chat4all", component="events"), made])
    assert "(realtime)" in line


def test_pods_without_a_label_are_not_let_in() -> None:
    bare = pods("Deployment", "bare", "chat4all")
    bare["spec"]["template"]["metadata"] = {"labels": None}
    (line,) = wrongly_told([let_in("events"), bare, secret("chat4all", KEY, KAFKA)])
    assert "(bare)" in line


@pytest.mark.parametrize("said", [{"operator": "Exists"}, {"operator": "NotIn", "values": ["bot"]}])
def test_a_wall_that_chooses_in_another_way_is_not_read(said: dict[str, Any]) -> None:
    other = wall({"key": "app.kubernetes.io/component", **said})
    assert wrongly_told([other, pods("Service", "send", "chat4all"), secret("chat4all", KEY, KAFKA)]) == []


def test_where_no_wall_is_before_kafka_all_may_have_its_password() -> None:
    small = manifests(OVERLAYS / "one-node-kafka-broker")
    assert wrongly_told([*small, secret("chat4all", KEY, KAFKA)]) == []

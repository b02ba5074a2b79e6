"""Knative's own way to Kafka and that of functions: one password of one user (issue 7)."""

import json

from infra.deploy.ways_to_kafka import differing
from infra.manifests.kustomize import Manifest

BROKER: Manifest = {
    "kind": "ConfigMap",
    "metadata": {"name": "chat4all-kafka-broker"},
    "data": {"auth.secret.ref.name": "chat4all-kafka"},
}


def secret(name: str, **said: str) -> Manifest:
    return {"kind": "Secret", "metadata": {"name": name}, "stringData": said}


def ours(user: str, password: str) -> Manifest:
    said = {"sasl.username": user, "sasl.password": password}
    return secret("chat4all-log", CHAT4ALL_KAFKA_PROPERTIES=json.dumps(said))


def knatives(user: str, password: str, name: str = "chat4all-kafka") -> Manifest:
    return secret(name, user=user, password=password)


def test_one_user_has_one_password() -> None:
    assert differing([BROKER, ours("chat4all", "s3cr3t"), knatives("chat4all", "s3cr3t")]) == []
    (line,) = differing([BROKER, ours("chat4all", "s3cr3t"), knatives("chat4all", "another")])
    assert "in the Secret chat4all-log and password in the Secret chat4all-kafka" in line
    assert line.endswith("write the same password into both")
    assert "s3cr3t" not in line
    assert "another" not in line


def test_two_users_may_be_meant() -> None:
    assert differing([BROKER, ours("reader", "s3cr3t"), knatives("chat4all", "another")]) == []


def test_knative_s_way_is_the_one_that_the_broker_names() -> None:
    database = knatives("chat4all", "another", name="bot-db")
    assert differing([BROKER, ours("chat4all", "s3cr3t"), knatives("chat4all", "s3cr3t"), database]) == []
    assert differing([ours("chat4all", "s3cr3t"), database]) == []


def test_what_is_said_elsewhere_is_not_said_twice() -> None:
    """What nobody filled in yet, and what is no JSON or no base64."""
    assert differing([BROKER, ours("chat4all", "PASSWORD"), knatives("chat4all", "s3cr3t")]) == []
    assert differing([BROKER, ours("chat4all", "s3cr3t"), knatives("chat4all", "PASSWORD")]) == []
    broken = secret("chat4all-log", CHAT4ALL_KAFKA_PROPERTIES="x")
    assert differing([BROKER, broken, knatives("chat4all", "s3cr3t")]) == []
    undone = {"kind": "Secret", "metadata": {"name": "chat4all-kafka"}, "data": {"user": "abcde", "password": "abcde"}}
    assert differing([BROKER, ours("chat4all", "s3cr3t"), undone]) == []

"""Who is told which secret, in the overlays as they are and with Secrets of somebody's own (issue 7)."""

import json
from functools import cache
from pathlib import Path

from infra.deploy.secrets_told import wrongly_told
from infra.manifests.kustomize import Manifest, manifests

OVERLAYS = Path(__file__).resolve().parents[2] / "infra/overlays"
KEY, KAFKA = "CHAT4ALL_SECRET_KEY", "CHAT4ALL_KAFKA_PROPERTIES"


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


def test_what_was_made_by_hand_is_nobodys_to_read() -> None:
    assert wrongly_told(production()) == []
    assert wrongly_told([*production(), secret("chat4all-log", KAFKA)]) == []


def test_the_key_is_missed_where_the_overlay_makes_all_that_functions_read() -> None:
    without = [secret("chat4all", "CHAT4ALL_REDIS_URL"), secret("chat4all-log", KAFKA)]
    (line,) = wrongly_told([*production(), *without])
    assert KEY in line
    assert "urlsafe_b64encode" in line
    assert wrongly_told([*production(), secret("chat4all", KEY), without[1]]) == []


def test_the_password_of_kafka_is_for_those_who_may_go_there() -> None:
    (line,) = wrongly_told([*production(), secret("chat4all", KEY, KAFKA), secret("chat4all-log", KAFKA)])
    assert f"{KAFKA} in the Secret chat4all is told to 26 functions" in line
    assert "log.env" in line


def test_where_no_wall_is_before_kafka_all_may_have_its_password() -> None:
    small = manifests(OVERLAYS / "one-node-kafka-broker")
    assert wrongly_told([*small, secret("chat4all", KEY, KAFKA)]) == []


def test_both_ways_to_kafka_are_of_one_user() -> None:
    said = json.dumps({"sasl.username": "chat4all", "sasl.password": "s3cr3t"})
    ours = secret("chat4all-log") | {"stringData": {KAFKA: said}}
    same, other = (
        secret("chat4all-kafka") | {"stringData": {"user": "chat4all", "password": password}}
        for password in ("s3cr3t", "another")
    )
    assert wrongly_told([*production(), ours, same]) == []
    (line,) = wrongly_told([*production(), ours, other])
    assert "chat4all-log (log.env) and in chat4all-kafka (kafka.env) differ" in line
    assert "s3cr3t" not in line
    assert wrongly_told([*production(), secret("chat4all-log", KAFKA), other]) == [], (
        "what is no JSON is told elsewhere"
    )

"""Where a deployment puts the platform's settings, and what it tells the cluster."""

from subprocess import CompletedProcess
from typing import cast

import pytest

from infra.cluster.cluster import Cluster
from infra.cluster.deployment import IN_MEMORY, KAFKA, Deployment, parted


class TakesAll:
    """A cluster that does what it is told, and notes it."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        self.told.append(" ".join(arguments))
        return ""

    def run(self, command: tuple[str, ...], **_: object) -> CompletedProcess[str]:
        return CompletedProcess(command, 0, "CHAT4ALL_NAME=value", "")

    def import_image(self) -> str:
        return "chat4all:1"


def test_passwords_and_addresses_that_may_hold_one_are_in_the_secret() -> None:
    secret = {
        "CHAT4ALL_SECRET_KEY": "k",
        "CHAT4ALL_MINIO_SECRET_KEY": "k",
        "CHAT4ALL_CASSANDRA_PASSWORD": "p",
        "CHAT4ALL_REDIS_URL": "redis://:p@10.250.0.1",
        "CHAT4ALL_NATS_URL": "nats://u:p@10.250.0.1",
    }
    public = {"CHAT4ALL_MODE": "servers", "K_SINK": "http://broker"}
    assert parted({**secret, **public}) == (public, secret)


@pytest.mark.parametrize("overlay", [IN_MEMORY, KAFKA])
def test_the_channel_of_the_broker_is_told_to_answer_at_once_when_it_is_there_and_before_anybody_waits(
    overlay: str,
) -> None:
    """Who was taken into a group heard of it a minute later: push waits for a row that its publisher writes then."""
    cluster = TakesAll()
    Deployment(cast(Cluster, cluster), overlay, lambda *_: None).deploy()
    told = [(number, one) for number, one in enumerate(cluster.told) if "async-handler=true" in one]
    if overlay == KAFKA:
        assert not told
        return
    ((at, command),) = told
    assert "annotate inmemorychannels --all" in command
    assert "wait brokers" in cluster.told[at - 1]
    assert "wait triggers" in cluster.told[at + 1]

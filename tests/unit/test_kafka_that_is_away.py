"""A Kafka that is away is named with its address, whatever was asked of it (E8)."""

import socket
from collections.abc import Awaitable, Callable

import pytest

from shared.adapters.kafka import topics
from shared.adapters.kafka.cluster import Cluster
from shared.domain.errors import Unavailable


@pytest.mark.parametrize(
    "ask",
    [
        lambda cluster: topics.ensure(cluster, topics.Topic("t")),
        lambda cluster: topics.remove(cluster, "t"),
        lambda cluster: topics.Check(cluster, "t")(),
    ],
    ids=["ensure", "remove", "check"],
)
async def test_nobody_listens_where_it_is_to_be(
    monkeypatch: pytest.MonkeyPatch, ask: Callable[[Cluster], Awaitable[object]]
) -> None:
    monkeypatch.setattr(topics, "_WITHIN", 0.5)
    monkeypatch.setattr(topics, "_ANSWER", 0.5)
    with socket.socket() as bound:  # and nobody else takes the port
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(Unavailable) as away:
            await ask(Cluster(address))
    assert away.value.detail.startswith(f"Kafka at {address} does not answer: ")
    assert "change" not in away.value.detail

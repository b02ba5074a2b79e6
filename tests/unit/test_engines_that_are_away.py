"""A command for which the servers are not there says so at once; only a platform waits for them (E8)."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shared.domain.errors import Unavailable
from shared.runtime.engine_addresses import engine_addresses
from shared.runtime.platform import all_tenants, create_tenant, limit_tenant
from shared.runtime.wiring_error import WiringError
from shared.settings import Settings, load_settings


@pytest.fixture
def closed() -> Iterator[int]:
    """A port that nobody listens on: bound, so that nobody else takes it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield int(bound.getsockname()[1])


def _servers(data_dir: Path, kafka: int, cassandra: int, others: int = 1) -> Settings:
    return load_settings(
        data_dir=data_dir,
        mode="servers",
        kafka_bootstrap_servers=f"127.0.0.1:{kafka}",
        cassandra_port=cassandra,
        redis_url=f"redis://127.0.0.1:{others}/0",
        nats_url=f"nats://127.0.0.1:{others}",
    )


def test_a_tenant_is_not_made_and_it_is_said_what_to_start(tmp_path: Path, closed: int) -> None:
    settings = _servers(tmp_path, closed, closed)
    began = time.monotonic()
    for change in (
        lambda: create_tenant(settings, "acme"),
        lambda: limit_tenant(settings, "acme", requests=1, messages=None),
        lambda: all_tenants(settings),
    ):
        with pytest.raises(Unavailable, match=rf"kafka is not there .*127\.0\.0\.1:{closed}.*scripts/stack up"):
            change()
    assert time.monotonic() - began < 10


def test_each_address_of_an_engine_is_looked_at(tmp_path: Path, closed: int) -> None:
    with ExitStack() as stack:
        there = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        settings = load_settings(
            kafka_bootstrap_servers=f"127.0.0.1:{there},127.0.0.1:{closed}",
            cassandra_contact_points="127.0.0.1,localhost",
            cassandra_port=there,
            redis_url=f"redis://:s3cr3t@127.0.0.1:{closed}/0",
            s3_endpoint=f"http://127.0.0.1:{there}",
        )
        found = {engine.name: engine for engine in engine_addresses(settings)}
        assert list(found["kafka"].silent()) == [f"127.0.0.1:{closed}"]
        assert found["cassandra"].silent() == {}
        assert list(found["redis"].silent()) == [f"127.0.0.1:{closed}"]
        assert found["object store"].silent() == {}
        assert [engine.needed for engine in found.values()] == [True, True, False, False, True]


def test_what_can_be_no_address_is_a_wrong_setting() -> None:
    with pytest.raises(WiringError, match="address"):
        list(engine_addresses(load_settings(kafka_bootstrap_servers="k1:nine")))

"""The addresses of the real engines: said once in the settings, read twice (the lean way, for a quick start)."""

import asyncio
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from pydantic import SecretStr

from shared.adapters.cassandra.tables import CassandraTables
from shared.adapters.local.clock import SystemClock
from shared.adapters.memory.tables import MemoryTables
from shared.runtime.engines import FIELDS, Engines
from shared.runtime.open_ports import open_by
from shared.runtime.wiring_error import WiringError
from shared.settings import Settings

KEY = urlsafe_b64encode(bytes(32)).decode()


def test_every_address_is_a_setting_with_the_same_default() -> None:
    engines, settings = Engines(), Settings(mode="servers")
    assert {name: getattr(settings, name) for name in FIELDS} == {name: getattr(engines, name) for name in FIELDS}


def test_a_function_of_its_own_reads_from_the_environment_what_the_platform_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = {
        "CHAT4ALL_KAFKA_BOOTSTRAP_SERVERS": "k1:9092,k2:9092",
        "CHAT4ALL_KAFKA_PARTITIONS": "60",
        "CHAT4ALL_KAFKA_PROPERTIES": '{"security.protocol": "ssl"}',
        "CHAT4ALL_CASSANDRA_PORT": "19042",
        "CHAT4ALL_CASSANDRA_PASSWORD": "geheim",
        "CHAT4ALL_REDIS_URL": "redis://r:6379/1",
        "PATH": "/bin",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    engines, settings = Engines.read(given), Settings()
    plain = {name: getattr(settings, name) for name in FIELDS}
    password = plain["cassandra_password"]
    assert isinstance(password, SecretStr)
    assert engines == Engines(**{**plain, "cassandra_password": password.get_secret_value()})
    assert "geheim" not in repr(engines)


@pytest.mark.parametrize(
    "given",
    [
        {"CHAT4ALL_CASSANDRA_PORT": "nine"},
        {"CHAT4ALL_KAFKA_PROPERTIES": "security.protocol=ssl"},
        {"CHAT4ALL_KAFKA_PROPERTIES": '{"retries": 3}'},
    ],
)
def test_what_does_not_fit_stops_the_start(given: dict[str, str]) -> None:
    with pytest.raises(WiringError):
        Engines.read(given)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"CHAT4ALL_MODE": "cloud"}, "CHAT4ALL_MODE=cloud"),
        ({"CHAT4ALL_MODE": "embedded"}, "CHAT4ALL_DATA_DIR"),
        ({"CHAT4ALL_MODE": "servers"}, "CHAT4ALL_SECRET_KEY"),
        ({"CHAT4ALL_MODE": "knative", "CHAT4ALL_SECRET_KEY": KEY}, "K_SINK"),
    ],
)
async def test_a_mode_says_which_setting_it_lacks(given: dict[str, str], named: str) -> None:
    with pytest.raises(WiringError, match=named):
        async with open_by(given):
            pass


async def test_behind_a_broker_a_function_starts_without_kafka_and_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So most need neither the way there nor the Secret (infra/overlays/production)."""

    class Tables(MemoryTables):
        async def ping(self) -> None: ...

        async def close(self) -> None: ...

    async def connect(*_: object) -> Tables:
        return Tables(SystemClock())

    monkeypatch.setattr(CassandraTables, "connect", connect)
    given = {
        "CHAT4ALL_MODE": "knative",
        "CHAT4ALL_SECRET_KEY": KEY,
        "CHAT4ALL_OBJECT_STORE": "s3",
        "CHAT4ALL_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "K_SINK": "http://broker/chat4all/chat4all",
    }
    async with asyncio.timeout(10), open_by(given) as opened:
        assert opened.dependencies.keys() == {"cassandra", "broker", "redis", "nats", "objects"}


@pytest.mark.parametrize("mode", ["embedded", "servers", "knative"])
@pytest.mark.parametrize("wrong", ["notafernet", f"{KEY},another", KEY[:-4], "çç"])
async def test_a_key_that_is_none_is_told_before_anything_is_made(tmp_path: Path, mode: str, wrong: str) -> None:
    folder = tmp_path / "data"
    given = {"CHAT4ALL_MODE": mode, "CHAT4ALL_DATA_DIR": str(folder), "CHAT4ALL_SECRET_KEY": wrong, "K_SINK": "/a/b"}
    with pytest.raises(WiringError, match=r"CHAT4ALL_SECRET_KEY.*make one by: python3") as stopped:
        async with open_by(given):
            pass
    assert wrong not in str(stopped.value)
    assert not folder.exists()

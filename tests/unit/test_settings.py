"""What the environment says wrong stops the start with one line, and shows no secret (E8)."""

from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from typer.testing import CliRunner

from shared.cli.main import app
from shared.settings import SettingsError, load_settings, misfits

KEY = urlsafe_b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NATS_URL", "nats://user:hidden@host:notaport"),
        ("NATS_URL", "nats://host:4222, nats://"),
        ("NATS_URL", ""),
        ("NATS_URL", "nats://user:hid/den@host:4222"),
        ("REDIS_URL", "redis:localhost"),
        ("REDIS_URL", "http://host:6379"),
        ("REDIS_URL", "redis://:hidden@host:65536/0"),
    ],
)
def test_an_address_that_cannot_be_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"CHAT4ALL_{name}", value)
    with pytest.raises(SettingsError) as stopped:
        load_settings()
    assert f"CHAT4ALL_{name}" in str(stopped.value)
    assert "hid" not in str(stopped.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NATS_URL", "nats://one:4222,tls://user:secret@two"),
        ("REDIS_URL", "rediss://user:secret@host:6379/1"),
        ("REDIS_URL", "unix:///run/redis.sock"),
        ("REDIS_URL", "redis://[::1]:6379/0?protocol=3"),
    ],
)
def test_an_address_that_may_be_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"CHAT4ALL_{name}", value)
    assert getattr(load_settings(), name.lower()) == value


@pytest.mark.parametrize("name", ["Bad One", "", "-a", "a" * 64])
def test_a_tenant_that_cannot_be_stops_the_start_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("CHAT4ALL_BOOTSTRAP_TENANT", name)
    with pytest.raises(SettingsError, match=r"CHAT4ALL_BOOTSTRAP_TENANT.*lower case letters"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("CHAT4ALL_PUBLC_URLL", "https://chat.acme.de", "unknown"),
        ("CHAT4ALL_LOG_LEVEL", "zzz", "'DEBUG', 'INFO'"),
        ("CHAT4ALL_KAFKA_PARTITIONS", "many", "integer"),
        ("CHAT4ALL_KAFKA_PARTITIONS", "0", "greater"),
        ("CHAT4ALL_KAFKA_PROPERTIES", "{hidden", "JSON"),
        ("CHAT4ALL_KAFKA_PROPERTIES", "[]", "dict"),
        ("CHAT4ALL_S3_ENDPOINT", "minio", "pattern"),
        ("CHAT4ALL_NATS_URL", "nats://user:hidden@host:notaport", "nats or tls"),
    ],
)
def test_what_would_stop_a_start_is_found_without_one(name: str, value: str, why: str) -> None:
    """Of what somebody else would be told; nothing is read of the environment."""
    found = misfits({name: value, "CHAT4ALL_MODE": "knative", "K_SINK": "http://broker"})
    assert list(found) == [name]
    assert why in found[name]
    assert "hid" not in found[name]


def test_what_would_start_has_no_misfits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT4ALL_LOG_LEVEL", "zzz")
    told = {
        "KAFKA_PROPERTIES": '{"security.protocol": "SSL"}',
        "S3_ENDPOINT": "https://s3.acme.de",
        "LOG_LEVEL": "DEBUG",
    }
    told |= {"FUNCTION": "send", "CHANNEL": "whatsapp", "SIMULATORS": "false", "CASSANDRA_PASSWORD": "any"}
    assert misfits({f"CHAT4ALL_{name}": value for name, value in told.items()}) == {}


@pytest.mark.parametrize("wrong", ["notafernet", f"{KEY},hidden"])
def test_a_key_that_is_none_stops_the_start_and_is_not_shown(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("CHAT4ALL_SECRET_KEY", wrong)
    with pytest.raises(SettingsError, match=r"CHAT4ALL_SECRET_KEY.*make one by: python3") as stopped:
        load_settings()
    assert wrong not in str(stopped.value)
    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize("given", ["", KEY, f"{KEY}, {KEY}"])
def test_keys_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("CHAT4ALL_SECRET_KEY", given)
    kept = load_settings().secret_key
    assert kept is not None
    assert kept.get_secret_value() == given


@pytest.mark.parametrize(
    ("command", "code"), [("up", 15), ("run send", 15), ("dispatch", 15), ("tenants create acme", 1)]
)
def test_a_command_says_it_in_one_line_and_makes_no_data_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, code: int
) -> None:
    monkeypatch.setenv("CHAT4ALL_SECRET_KEY", "notafernet")
    monkeypatch.setenv("CHAT4ALL_DATA_DIR", str(tmp_path / "data"))
    ended = CliRunner().invoke(app, command.split())
    assert ended.exit_code == code
    (line,) = ended.stderr.splitlines()
    assert "CHAT4ALL_SECRET_KEY" in line
    assert not (tmp_path / "data").exists()

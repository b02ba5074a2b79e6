"""What the environment says wrong stops the start with one line, and shows no secret (E8)."""

import pytest

from shared.settings import SettingsError, load_settings, misfits


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

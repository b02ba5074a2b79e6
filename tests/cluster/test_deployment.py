"""Where a deployment puts the platform's settings."""

from infra.cluster.deployment import parted


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

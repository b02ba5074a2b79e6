"""Where a deployment puts the platform's settings, and what it tells the cluster."""

from infra.cluster.deployment import IN_MEMORY, parted
from infra.cluster.layout import REPOSITORY
from infra.manifests.kustomize import manifests


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


def test_the_channel_is_made_to_answer_at_once() -> None:
    """Its Broker hands on what is of messaging.knative.dev; a channel that is there already is not looked at again."""
    (broker,) = (one for one in manifests(REPOSITORY / "infra/overlays" / IN_MEMORY) if one["kind"] == "Broker")
    assert broker["metadata"]["annotations"]["messaging.knative.dev/async-handler"] == "true"

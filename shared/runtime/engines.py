"""Where the servers are that the modes `servers` and `knative` stand on; read without pydantic, for a quick start."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec

from shared.runtime.wiring_error import WiringError

PREFIX = "CHAT4ALL_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """Each field is the setting of its name in ``shared.settings``, with the same default."""

    kafka_bootstrap_servers: str = "127.0.0.1:9092"
    kafka_topic: str = "knative-broker-chat4all-chat4all"
    kafka_group_prefix: str = ""
    kafka_partitions: int = 12
    kafka_replication_factor: int = 1
    kafka_properties: dict[str, str] = field(default_factory=dict, repr=False)
    cassandra_contact_points: str = "127.0.0.1"
    cassandra_port: int = 9042
    cassandra_keyspace: str = "chat4all"
    cassandra_replication_factor: int = 1
    cassandra_datacenter: str | None = None
    cassandra_username: str | None = None
    cassandra_password: str | None = field(default=None, repr=False)
    redis_url: str = field(default="redis://127.0.0.1:6379/0", repr=False)
    nats_url: str = field(default="nats://127.0.0.1:4222", repr=False)

    @classmethod
    def read(cls, cfg: Mapping[str, str]) -> "Engines":
        """
        From the environment of a function that is a process of its own.

        Raises:
            WiringError: a value does not fit.
        """
        given: dict[str, Any] = {name: cfg[PREFIX + name.upper()] for name in FIELDS if PREFIX + name.upper() in cfg}
        try:
            if "kafka_properties" in given:
                given["kafka_properties"] = msgspec.json.decode(given["kafka_properties"], type=dict[str, str])
            return msgspec.convert(given, cls, strict=False)
        except msgspec.ValidationError as error:
            raise WiringError(f"a setting of the servers does not fit: {error}") from None
        except msgspec.DecodeError:
            raise WiringError(f"{PREFIX}KAFKA_PROPERTIES is no JSON object of strings") from None


FIELDS = tuple(one.name for one in fields(Engines))

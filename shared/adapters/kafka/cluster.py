"""Where Kafka is and how to speak to it, the same for every client we open."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException

LIBRARY = logging.getLogger("librdkafka")
"""What the library itself says, from warnings on."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """
    ``servers``: host:port, comma-separated. ``properties``: anything else librdkafka needs to get in
    (security.protocol, sasl.*, ssl.*); they hold secrets and are never logged.
    """

    servers: str
    properties: Mapping[str, str] = field(default_factory=dict, repr=False)

    def settings(self, **own: Any) -> dict[str, Any]:
        """For a client of librdkafka; in names of ``own``, callbacks excepted, an underscore stands for a dot."""
        return {
            "bootstrap.servers": self.servers,
            "client.id": "chat4all",
            "logger": LIBRARY,
            "log.connection.close": False,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1000,  # 10 s by default: a broker that came back would be ignored for long
            "topic.metadata.refresh.interval.ms": 5000,  # how soon a new partition is noticed; 5 minutes by default
            "allow.auto.create.topics": False,
            **self.properties,
            **{name if callable(value) else name.replace("_", "."): value for name, value in own.items()},
        }


def reason(error: KafkaException | KafkaError) -> str:
    """One line for people."""
    inner = error.args[0] if isinstance(error, KafkaException) and error.args else error
    return inner.str() if isinstance(inner, KafkaError) else str(inner)


def code(error: KafkaException) -> int:
    """The KafkaError constant of an exception."""
    inner = error.args[0] if error.args else None
    return inner.code() if isinstance(inner, KafkaError) else KafkaError.UNKNOWN

"""What functions need of the world, as protocols; docstrings state the obligations, contracts test them."""

from dataclasses import dataclass, field

from shared.domain.webhook import WebhookPolicy
from shared.ports.cache import Cache
from shared.ports.channels import Channels
from shared.ports.clock import Clock, Ids
from shared.ports.event_log import EventLog
from shared.ports.event_sink import EventSink
from shared.ports.fan_out import FanOut
from shared.ports.object_store import ObjectStore
from shared.ports.outbox import Outbox
from shared.ports.scanner import Scanner
from shared.ports.sweeper import Sweeper
from shared.ports.tables import Tables
from shared.ports.vault import PasswordHasher, Vault
from shared.ports.webhook_sender import WebhookSender


@dataclass(frozen=True, slots=True)
class Ports:
    """What ``new(ports)`` of a function takes its fields from; the runtime fills it."""

    clock: Clock
    ids: Ids
    tables: Tables
    outbox: Outbox
    sink: EventSink
    log: EventLog
    cache: Cache
    fan_out: FanOut
    vault: Vault
    hasher: PasswordHasher
    channels: Channels
    sweeper: Sweeper
    webhooks: WebhookSender
    objects: ObjectStore
    scanner: Scanner
    webhook_policy: WebhookPolicy = field(default_factory=WebhookPolicy)


__all__ = [
    "Cache",
    "Channels",
    "Clock",
    "EventLog",
    "EventSink",
    "FanOut",
    "Ids",
    "ObjectStore",
    "Outbox",
    "PasswordHasher",
    "Ports",
    "Scanner",
    "Sweeper",
    "Tables",
    "Vault",
    "WebhookSender",
]

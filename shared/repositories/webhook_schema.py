"""Tables of webhooks: who subscribes, what is on its way to them, and what they answered."""

from shared.ports.tables import Table, Type

WEBHOOKS = Table(
    "webhooks",
    partition={"tenant": Type.TEXT},
    clustering={"webhook_id": Type.TEXT},
    columns={
        "url": Type.TEXT,
        "events": Type.TEXT,  # names, separated by spaces
        "description": Type.TEXT,
        "enabled": Type.BOOL,
        "disabled_reason": Type.TEXT,
        "failing_since": Type.TIME,
        "keys": Type.BYTES,  # JSON list, the newest first, sealed by the vault
        "created_at": Type.TIME,
        "updated_at": Type.TIME,
        "version": Type.INT,
    },
    conditional=True,
)

WEBHOOK_DELIVERIES = Table(
    "webhook_deliveries",
    partition={"tenant": Type.TEXT, "delivery_id": Type.TEXT},
    columns={
        "webhook_id": Type.TEXT,
        "notification_id": Type.TEXT,
        "type": Type.TEXT,
        "body": Type.BYTES,  # as it is sent, each time
        "created_at": Type.TIME,
        "due_at": Type.TIME,  # what its entry of the due list is kept under
        "state": Type.TEXT,  # shared.domain.webhook.State
        "tries": Type.INT,
        "made": Type.INT,
        "until": Type.TIME,
        "status_code": Type.INT,
        "reason": Type.TEXT,
        "finished_at": Type.TIME,
        "version": Type.INT,
    },
    conditional=True,
    expiring=True,
)

WEBHOOK_LOG = Table(
    "webhook_log",
    partition={"tenant": Type.TEXT, "webhook_id": Type.TEXT, "hour": Type.INT},
    clustering={"place": Type.TEXT},  # milliseconds since 1970, 15 digits, and the delivery_id
    expiring=True,
    immutable=True,
)
"""The deliveries of a webhook by time: an index, in partitions that stay small."""

WEBHOOK_TRIES = Table(
    "webhook_tries",
    partition={"tenant": Type.TEXT, "delivery_id": Type.TEXT},
    clustering={"number": Type.INT},
    columns={
        "at": Type.TIME,
        "milliseconds": Type.INT,
        "status_code": Type.INT,
        "problem": Type.TEXT,
        "excerpt": Type.TEXT,  # the beginning of what was answered
        "truncated": Type.BOOL,
    },
    expiring=True,
    immutable=True,
)

WEBHOOK_TABLES = (WEBHOOKS, WEBHOOK_DELIVERIES, WEBHOOK_LOG, WEBHOOK_TRIES)

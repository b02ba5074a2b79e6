"""Where engines without a common transaction keep what is promised and not yet handed over (design.md 4)."""

from shared.ports.tables import Table, Type

OUTBOX = Table(
    "outbox",
    partition={"tenant": Type.TEXT, "minute": Type.INT, "shard": Type.INT},
    clustering={"entry_id": Type.TEXT},
    columns={
        "owner": Type.TEXT,  # the tenant whose it is
        "table": Type.TEXT,  # of the claims
        "claims": Type.BYTES,  # JSON: rows
        "puts": Type.BYTES,  # JSON: [{table, row, ttl}]
        "events": Type.BYTES,  # JSON: structured CloudEvents
        "created_at": Type.TIME,
    },
    expiring=True,
    short_lived=True,
)
"""Entries by the minute since the epoch in which the sweeper may look at them; the tenant is the platform's."""

OUTBOX_SWEPT = Table(
    "outbox_swept",
    partition={"tenant": Type.TEXT, "shard": Type.INT},
    columns={"minute": Type.INT},
)
"""Up to which minute a shard holds nothing that was not looked at. Late or low is harmless."""

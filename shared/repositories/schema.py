"""
Every table, declared once: partition key, clustering key, typed columns (design.md 6).

The tenant comes first in every key. Rows that belong to no tenant (what is due when) live under the
platform's own tenant "-", which no tenant can be named.
"""

from shared.ports.tables import Table, Type
from shared.repositories.file_schema import FILE_TABLES
from shared.repositories.identity_schema import IDENTITY_TABLES
from shared.repositories.identity_schema import PLATFORM as PLATFORM
from shared.repositories.outbox_schema import OUTBOX, OUTBOX_SWEPT
from shared.repositories.webhook_schema import WEBHOOK_TABLES

_TENANT = {"tenant": Type.TEXT}
_CONVERSATION = {**_TENANT, "conversation_id": Type.TEXT}

CONVERSATIONS = Table(
    "conversations",
    partition=_CONVERSATION,
    columns={
        "type": Type.TEXT,  # private | group
        "created_at": Type.TIME,
        "created_by": Type.TEXT,
        "metadata": Type.BYTES,  # a JSON object of strings
    },
    conditional=True,
)

MEMBERS = Table(
    "members",
    partition=_CONVERSATION,
    clustering={"user_id": Type.TEXT},
    columns={"joined_at": Type.TIME, "added_by": Type.TEXT},
)

MEMBERSHIPS = Table(
    "memberships",
    partition={**_TENANT, "user_id": Type.TEXT},
    clustering={"conversation_id": Type.TEXT},
    columns={"joined_at": Type.TIME},
)

PAIRS = Table(
    "pairs",
    partition={**_TENANT, "pair": Type.TEXT},
    columns={"conversation_id": Type.TEXT},
    conditional=True,
)

TIMELINE = Table(
    "timeline",
    partition={**_CONVERSATION, "bucket": Type.INT},
    clustering={
        "kind": Type.TEXT,  # "s": a number and its message; "m": a message_id and its number
        "seq": Type.INT,  # 0 in "m" rows
        "message_id": Type.TEXT,  # "" in "s" rows
    },
    columns={
        "owner": Type.TEXT,  # "s" rows: the message_id that holds the number
        "number": Type.INT,  # "m" rows: the number that the message holds
        "fingerprint": Type.TEXT,
        "body": Type.BYTES,  # "s" rows: the message as JSON, events.MessageAccepted
    },
    conditional=True,
    immutable=True,
)

MESSAGE_IDS = Table(
    "message_ids",
    partition={**_TENANT, "message_id": Type.TEXT},
    clustering={"conversation_id": Type.TEXT, "bucket": Type.INT},
    columns={"seq": Type.INT},  # the number that was tried last in the bucket
)
"""
Where a message may be: a row for each bucket of the timeline in which a number was tried for it, written before
the try and never changed by a try elsewhere. The timeline's "m" row says whether it is there.
"""

EPHEMERAL_PAYLOADS = Table(
    "ephemeral_payloads",
    partition={**_TENANT, "message_id": Type.TEXT},
    columns={"payload": Type.BYTES},
    expiring=True,
    immutable=True,
)
"""Payloads of messages with a TTL (A15); the number in the timeline stays taken when they are gone."""

CURSORS = Table(
    "cursors",
    partition=_CONVERSATION,
    clustering={"reader": Type.TEXT},
    columns={"seq": Type.INT},
)
"""How far somebody has come in a conversation: route, a mailbox, a user who reads. Late or low is harmless."""

RECEIPTS = Table(
    "receipts",
    partition=_CONVERSATION,
    clustering={"user_id": Type.TEXT, "kind": Type.TEXT, "to_seq": Type.INT, "from_seq": Type.INT},
    columns={"at": Type.TIME},
    immutable=True,
)
"""What in-app clients acknowledged, as ranges: immutable rows (design.md 4)."""

REPORTS = Table(
    "reports",
    partition={**_TENANT, "message_id": Type.TEXT},
    clustering={"recipient": Type.TEXT, "channel": Type.TEXT, "attempt": Type.INT, "status": Type.TEXT},
    columns={
        "at": Type.TIME,
        "source": Type.TEXT,
        "delivery_id": Type.TEXT,
        "provider_message_id": Type.TEXT,
        "reason": Type.TEXT,
    },
    immutable=True,
)
"""What was reported about deliveries on providers' channels: immutable rows, never judged when stored (A9)."""

DELIVERIES = Table(
    "deliveries",
    partition={**_TENANT, "delivery_id": Type.TEXT},
    columns={
        "message_id": Type.TEXT,
        "conversation_id": Type.TEXT,
        "seq": Type.INT,
        "recipient": Type.TEXT,
        "channel": Type.TEXT,
        "address": Type.TEXT,
    },
    immutable=True,
)

PROVIDER_MESSAGES = Table(
    "provider_messages",
    partition={**_TENANT, "channel": Type.TEXT, "provider_message_id": Type.TEXT},
    columns={"delivery_id": Type.TEXT, "attempt": Type.INT, "last_part": Type.BOOL},
    immutable=True,
)
"""Provider's id to our delivery; a long text has several, and only the last part's receipts count."""

MAILBOX = Table(
    "mailbox",
    partition={**_TENANT, "channel": Type.TEXT, "address": Type.TEXT, "conversation_id": Type.TEXT},
    clustering={"seq": Type.INT},
    columns={
        "delivery_id": Type.TEXT,
        "message_id": Type.TEXT,
        "recipient": Type.TEXT,
        "state": Type.TEXT,  # shared.domain.mailbox.State
        "tries": Type.INT,  # provider calls so far
        "attempt": Type.INT,  # 1, and one more for each resend by an operator
        "part": Type.INT,  # parts of a long text that the provider has
        "until": Type.TIME,  # sending: the lease; waiting and uncertain: when to go on
        "text_hash": Type.TEXT,  # uncertain: what an echo is matched by
    },
    conditional=True,
)

UNCERTAIN = Table(
    "uncertain",
    partition={**_TENANT, "channel": Type.TEXT, "address": Type.TEXT},
    clustering={"delivery_id": Type.TEXT},
    columns={
        "conversation_id": Type.TEXT,
        "seq": Type.INT,
        "text_hash": Type.TEXT,
        "part": Type.INT,
        "parts": Type.INT,
        "since": Type.TIME,
    },
    expiring=True,
)
"""Deliveries whose answer was lost, by address: where an echo looks for its delivery (channels.md 3.0)."""

ECHOES = Table(
    "echoes",
    partition={**_TENANT, "channel": Type.TEXT, "address": Type.TEXT},
    clustering={"provider_message_id": Type.TEXT},
    columns={"text_hash": Type.TEXT, "at": Type.TIME},
    expiring=True,
    immutable=True,
)
"""Echoes that no delivery in doubt was found for yet: theirs may still be on its way to doubt."""

LAST_ACCOUNTS = Table(
    "last_accounts",
    partition={**_TENANT, "channel": Type.TEXT, "address": Type.TEXT},
    columns={"account_id": Type.TEXT},
)
"""The account of ours that somebody wrote to last: answers leave by the same one."""

DUE = Table(
    "due",
    partition={**_TENANT, "minute": Type.INT, "shard": Type.INT},
    clustering={"at": Type.TIME, "due_id": Type.TEXT},
    columns={"kind": Type.TEXT, "owner": Type.TEXT, "wake": Type.BYTES},
    short_lived=True,
)
"""What is to be woken when (design.md 5); the tenant is the platform's, ``owner`` is whose it is."""

PARKED = Table(
    "parked",
    partition=_TENANT,
    clustering={"parked_id": Type.TEXT},
    columns={
        "trigger": Type.TEXT,
        "reason": Type.TEXT,
        "attempts": Type.INT,
        "parked_at": Type.TIME,
        "due_at": Type.TIME,  # replayed by itself then; None: only by hand
        "replayed_at": Type.TIME,  # None: it is parked now
        "event": Type.BYTES,  # structured CloudEvent
    },
    conditional=True,
    expiring=True,
)
"""Events that the broker gave up: kept with their reason, to be listed, replayed or discarded (C8)."""

PRESENCE = Table(
    "presence",
    partition={**_TENANT, "user_id": Type.TEXT},
    columns={"status": Type.TEXT, "last_seen": Type.TIME},
)
"""What was last told of a user (A14)."""

PRESENT_DEVICES = Table(
    "present_devices",
    partition={**_TENANT, "shard": Type.INT},
    clustering={
        "user": Type.TEXT,  # owner/user_id
        "device": Type.TEXT,
    },
    columns={"status": Type.TEXT, "seen_at": Type.TIME, "gateway": Type.TEXT},
    short_lived=True,
)
"""Devices that were there moments ago; the tenant is the platform's, so that what is over is found in few looks."""

GATEWAYS = Table(
    "gateways",
    partition=_TENANT,
    clustering={"gateway": Type.TEXT},
    columns={"seen_at": Type.TIME},
    short_lived=True,
)
"""When each gateway last said that it lives; the tenant is the platform's."""

LISTENERS = Table(
    "listeners",
    partition=_TENANT,
    clustering={"gateway": Type.TEXT},
    short_lived=True,
)
"""The gateways that hold open sockets of a tenant."""

TABLES: tuple[Table, ...] = (
    CONVERSATIONS,
    MEMBERS,
    MEMBERSHIPS,
    PAIRS,
    TIMELINE,
    MESSAGE_IDS,
    EPHEMERAL_PAYLOADS,
    CURSORS,
    RECEIPTS,
    REPORTS,
    DELIVERIES,
    PROVIDER_MESSAGES,
    MAILBOX,
    UNCERTAIN,
    ECHOES,
    LAST_ACCOUNTS,
    DUE,
    PARKED,
    PRESENCE,
    PRESENT_DEVICES,
    GATEWAYS,
    LISTENERS,
    OUTBOX,
    OUTBOX_SWEPT,
    *WEBHOOK_TABLES,
    *FILE_TABLES,
    *IDENTITY_TABLES,
)

"""Tables of who is who, and of what a tenant has configured."""

from shared.ports.tables import Table, Type

PLATFORM = "-"
"""The tenant of rows that are read before the tenant is known; no tenant can have this name."""

TENANTS = Table(
    "tenants",
    partition={"tenant": Type.TEXT},  # PLATFORM
    clustering={"name": Type.TEXT},
    columns={
        "created_at": Type.TIME,
        "requests_per_minute": Type.INT,  # None: the installation's setting
        "messages_per_minute": Type.INT,
    },
    conditional=True,
)
CLIENTS = Table(
    "clients",
    partition={"tenant": Type.TEXT, "client_id": Type.TEXT},  # PLATFORM
    columns={
        "owner": Type.TEXT,  # the tenant it belongs to
        "secret_hash": Type.TEXT,
        "scopes": Type.TEXT,  # separated by spaces
        "epoch": Type.INT,  # grows when tokens made before are to die
        "disabled": Type.BOOL,
        "created_at": Type.TIME,
    },
    conditional=True,
)
SIGNING_KEYS = Table(
    "signing_keys",
    partition={"tenant": Type.TEXT},  # PLATFORM
    clustering={"number": Type.INT},
    columns={
        "kid": Type.TEXT,
        "sealed": Type.BYTES,  # PKCS 8 DER, sealed by the vault
        "created_at": Type.TIME,
        "active_from": Type.TIME,  # it signs from then until the next one does
    },
    conditional=True,
)
USERS = Table(
    "users",
    partition={"tenant": Type.TEXT, "shard": Type.INT},
    clustering={"user_id": Type.TEXT},
    columns={
        "display_name": Type.TEXT,
        "metadata": Type.TEXT,  # JSON object
        "contact_of": Type.TEXT,  # the channel that this contact first wrote on; None for users
        "created_at": Type.TIME,
        "updated_at": Type.TIME,
        "version": Type.INT,
        "erased_at": Type.TIME,  # a tombstone: the id is never given to somebody else
    },
    conditional=True,
)
IDENTITIES = Table(
    "identities",
    partition={"tenant": Type.TEXT, "user_id": Type.TEXT},
    clustering={"channel": Type.TEXT, "identifier": Type.TEXT},
    columns={
        "is_active": Type.BOOL,
        "linked_at": Type.TIME,
        "confirmed": Type.BOOL,  # False while it is being linked or removed
    },
)
IDENTITY_OWNERS = Table(
    "identity_owners",
    partition={"tenant": Type.TEXT, "channel": Type.TEXT, "identifier": Type.TEXT},
    columns={"user_id": Type.TEXT, "claimed_at": Type.TIME, "contact": Type.BOOL},
    conditional=True,
)
CHANNEL_ACCOUNTS = Table(
    "channel_accounts",
    partition={"tenant": Type.TEXT},
    clustering={"channel": Type.TEXT, "account_id": Type.TEXT},
    columns={
        "settings": Type.TEXT,  # JSON object
        "secrets": Type.BYTES,  # JSON object, sealed by the vault
        "enabled": Type.BOOL,
        "created_at": Type.TIME,
        "updated_at": Type.TIME,
        "version": Type.INT,
    },
    conditional=True,
)
ROUTING_RULES = Table(
    "routing_rules",
    partition={"tenant": Type.TEXT},
    clustering={"rule_id": Type.TEXT},
    columns={
        "match": Type.TEXT,  # JSON object
        "action": Type.TEXT,  # JSON object
        "priority": Type.INT,
        "created_at": Type.TIME,
        "version": Type.INT,
    },
    conditional=True,
)
IDEMPOTENCY_KEYS = Table(
    "idempotency_keys",
    partition={"tenant": Type.TEXT, "key": Type.TEXT},
    columns={
        "fingerprint": Type.TEXT,
        "started_at": Type.TIME,
        "answer": Type.BYTES,  # status, headers and body, sealed by the vault; None while it runs
        "released": Type.BOOL,
    },
    conditional=True,
    expiring=True,
)

IDENTITY_TABLES = (
    TENANTS,
    CLIENTS,
    SIGNING_KEYS,
    USERS,
    IDENTITIES,
    IDENTITY_OWNERS,
    CHANNEL_ACCOUNTS,
    ROUTING_RULES,
    IDEMPOTENCY_KEYS,
)

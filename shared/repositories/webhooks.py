"""The webhooks of a tenant: urls and events in the clear, keys sealed."""

from dataclasses import dataclass, replace
from datetime import datetime

import orjson

from events.vocabulary import rfc3339
from shared.domain.errors import Conflict, NotFound, Unavailable
from shared.domain.webhook import Change, Key, Webhook, names
from shared.ports import Clock, Tables, Vault
from shared.ports.tables import Row
from shared.repositories.webhook_schema import WEBHOOKS

MAX_WEBHOOKS = 100
"""Of one tenant."""
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Webhooks:
    tables: Tables
    vault: Vault
    clock: Clock

    async def get(self, tenant: str, webhook_id: str) -> Webhook | None:
        row = await self.tables.get(WEBHOOKS, (tenant, webhook_id))
        return None if row is None else self._opened(row)

    async def list(self, tenant: str, *, after: str | None = None, limit: int = MAX_WEBHOOKS) -> list[Webhook]:
        """By webhook_id."""
        rows = await self.tables.slice(WEBHOOKS, (tenant,), after=after, limit=limit)
        return [self._opened(row) for row in rows]

    async def add(self, tenant: str, webhook: Webhook) -> None:
        """
        Raises:
            Conflict: the tenant has too many.
        """
        if len(await self.tables.slice(WEBHOOKS, (tenant,), limit=MAX_WEBHOOKS)) == MAX_WEBHOOKS:
            raise Conflict(f"a tenant has at most {MAX_WEBHOOKS} webhooks; remove one first")
        row: Row = {
            "tenant": tenant,
            "webhook_id": webhook.webhook_id,
            "created_at": webhook.created_at,
            **self._content(webhook),
        }
        await self.tables.put_if_absent(WEBHOOKS, row)

    async def change(self, tenant: str, webhook_id: str, change: Change) -> Webhook:
        """
        Apply ``change`` to what is stored; it may be called again when somebody else changes the webhook too.

        Raises:
            NotFound: there is no such webhook.
        """
        for _ in range(_TRIES):
            known = await self.get(tenant, webhook_id)
            if known is None:
                raise no_such_webhook(webhook_id)
            changed = change(known)
            if changed == known:
                return known
            changed = replace(changed, version=known.version + 1, updated_at=self.clock.now())
            key, expected = (tenant, webhook_id), {"version": known.version}
            if await self.tables.update_if(WEBHOOKS, key, expected=expected, changes=self._content(changed)):
                return changed
        raise Unavailable(f"the webhook {webhook_id!r} is being changed by many at once; try again")

    async def remove(self, tenant: str, webhook_id: str) -> None:
        await self.tables.delete(WEBHOOKS, (tenant, webhook_id))

    def _content(self, webhook: Webhook) -> Row:
        keys = [
            {"secret": key.secret, "until": None if key.until is None else rfc3339(key.until)} for key in webhook.keys
        ]
        return {
            "url": webhook.url,
            "events": " ".join(names(webhook.events)),
            "description": webhook.description,
            "enabled": webhook.enabled,
            "disabled_reason": webhook.disabled_reason,
            "failing_since": webhook.failing_since,
            "keys": self.vault.seal(orjson.dumps(keys)),
            "updated_at": webhook.updated_at,
            "version": webhook.version,
        }

    def _opened(self, row: Row) -> Webhook:
        sealed, version, failing_since = row["keys"], row["version"], row["failing_since"]
        created_at, updated_at = row["created_at"], row["updated_at"]
        assert isinstance(sealed, bytes) and isinstance(version, int)
        assert isinstance(created_at, datetime) and isinstance(updated_at, datetime)
        assert failing_since is None or isinstance(failing_since, datetime)
        keys = orjson.loads(self.vault.open(sealed))
        return Webhook(
            webhook_id=str(row["webhook_id"]),
            url=str(row["url"]),
            events=events_of(row),
            description=None if row["description"] is None else str(row["description"]),
            enabled=bool(row["enabled"]),
            disabled_reason=None if row["disabled_reason"] is None else str(row["disabled_reason"]),
            failing_since=failing_since,
            keys=tuple(
                Key(key["secret"], None if key["until"] is None else datetime.fromisoformat(key["until"]))
                for key in keys
            ),
            created_at=created_at,
            updated_at=updated_at,
            version=version,
        )


def events_of(row: Row) -> frozenset[str]:
    """What the webhook in the row asks for."""
    return frozenset(str(row["events"]).split())


def no_such_webhook(webhook_id: str) -> NotFound:
    return NotFound(f"there is no webhook {webhook_id!r}")

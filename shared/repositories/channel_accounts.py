"""A tenant's accounts at the providers: settings in the clear, secrets sealed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from shared.domain.errors import NotFound, Unavailable
from shared.ports import Clock, Tables, Vault
from shared.ports.tables import Row
from shared.repositories.identity_schema import CHANNEL_ACCOUNTS

MAX_ACCOUNTS = 1000


@dataclass(frozen=True, slots=True)
class ChannelAccount:
    """``version`` grows with every change: whoever keeps an opened channel keeps it by this."""

    channel: str
    account_id: str
    settings: Mapping[str, Any]
    secrets: Mapping[str, str]
    enabled: bool
    created_at: datetime
    updated_at: datetime
    version: int

    @property
    def config(self) -> dict[str, Any]:
        """What ``Channels.open`` takes: plain values."""
        return {**self.settings, **self.secrets}

    def __repr__(self) -> str:
        return f"ChannelAccount({self.channel}/{self.account_id}, version={self.version})"


@dataclass(frozen=True, slots=True)
class ChannelAccounts:
    tables: Tables
    vault: Vault
    clock: Clock

    async def get(self, tenant: str, channel: str, account_id: str) -> ChannelAccount | None:
        """Enabled or not."""
        row = await self.tables.get(CHANNEL_ACCOUNTS, (tenant, channel, account_id))
        return None if row is None else self._opened(row)

    async def of_channel(
        self, tenant: str, channel: str, *, after: str | None = None, limit: int = MAX_ACCOUNTS
    ) -> list[ChannelAccount]:
        """Accounts on the channel, enabled or not, by account_id."""
        rows = await self.tables.slice(CHANNEL_ACCOUNTS, (tenant,), prefix=(channel,), after=after, limit=limit)
        return [self._opened(row) for row in rows]

    async def for_channel(self, tenant: str, channel: str) -> list[ChannelAccount]:
        """The enabled accounts on the channel, by account_id: what deliver and inbound may use."""
        return [account for account in await self.of_channel(tenant, channel) if account.enabled]

    async def put(
        self,
        tenant: str,
        channel: str,
        account_id: str,
        *,
        settings: Mapping[str, Any],
        secrets: Mapping[str, str],
        enabled: bool,
        over: ChannelAccount | None,
    ) -> ChannelAccount:
        """
        Store the account ``over`` what the caller has read; None: nothing was there.

        Raises:
            Unavailable: somebody else changed it at the same moment; read again.
        """
        now = self.clock.now()
        version = int(now.timestamp() * 1000) if over is None else over.version + 1  # unlike a removed one
        content: Row = {
            "settings": orjson.dumps(settings).decode(),
            "secrets": self.vault.seal(orjson.dumps(secrets)),
            "enabled": enabled,
            "created_at": now if over is None else over.created_at,
            "updated_at": now,
            "version": version,
        }
        key = (tenant, channel, account_id)
        row: Row = {"tenant": tenant, "channel": channel, "account_id": account_id, **content}
        if over is None:
            done = not await self.tables.put_if_absent(CHANNEL_ACCOUNTS, row)
        else:
            expected: Row = {"version": over.version}
            done = await self.tables.update_if(CHANNEL_ACCOUNTS, key, expected=expected, changes=content)
        if not done:
            raise Unavailable(f"the account {account_id!r} was changed at the same moment; try again")
        return self._opened(row)

    async def remove(self, tenant: str, channel: str, account_id: str) -> None:
        await self.tables.delete(CHANNEL_ACCOUNTS, (tenant, channel, account_id))

    def _opened(self, row: Row) -> ChannelAccount:
        sealed, version = row["secrets"], row["version"]
        created_at, updated_at = row["created_at"], row["updated_at"]
        assert isinstance(sealed, bytes) and isinstance(version, int)
        assert isinstance(created_at, datetime) and isinstance(updated_at, datetime)
        return ChannelAccount(
            channel=str(row["channel"]),
            account_id=str(row["account_id"]),
            settings=orjson.loads(str(row["settings"])),
            secrets=orjson.loads(self.vault.open(sealed)),
            enabled=bool(row["enabled"]),
            created_at=created_at,
            updated_at=updated_at,
            version=version,
        )


def no_such_account(channel: str, account_id: str) -> NotFound:
    return NotFound(f"there is no account {account_id!r} on {channel}")

"""
The channels of the installation, and the accounts that a tenant has at their providers (C5).

Takes no event and emits none; its face is HTTP.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

import msgspec

from events import EventData
from events.vocabulary import IN_APP
from shared.domain.breaker import Breaker
from shared.domain.errors import ChannelError, Conflict, FieldError, Invalid
from shared.domain.message import MAX_TEXT
from shared.ports import Cache, Channels, Clock, Ports
from shared.ports.channel import Channel, Limits, secret_fields
from shared.repositories.channel_accounts import (
    MAX_ACCOUNTS,
    ChannelAccount,
    ChannelAccounts,
    no_such_account,
)

MASK = "********"
"""How a stored secret is shown; given back in a PUT it means: keep the stored one."""

CHECK_TAKES_AT_MOST = 10.0
"""Seconds."""

_IN_APP_LIMITS = Limits(text=MAX_TEXT, uncertain_wait=timedelta(0))


@dataclass(frozen=True, slots=True)
class Registered:
    """A channel as a tenant sees it; ``breakers`` by account_id, in-app has none."""

    name: str
    limits: Limits
    configured: bool
    breakers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Check:
    """What the provider says about the account."""

    ok: bool
    detail: str


def decide_secrets(stored: Mapping[str, str], given: Mapping[str, str | None]) -> dict[str, str]:
    """What was stored, with what is given over it: null removes, the mask keeps."""
    changed = {name: value for name, value in given.items() if value != MASK}
    return {name: value for name, value in {**stored, **changed}.items() if value is not None}


def check_places(kind: type[Channel], settings: Mapping[str, Any], secrets: Mapping[str, Any]) -> None:
    """
    Raises:
        Invalid: a secret stands among the settings, where everybody may read it, or the other way round.
    """
    secret = secret_fields(kind)
    errors: list[FieldError] = [
        {"pointer": f"/settings/{name}", "detail": "this is a secret; give it under secrets"}
        for name in settings
        if name in secret
    ]
    errors += [
        {"pointer": f"/secrets/{name}", "detail": f"no secret of this channel; it has: {', '.join(sorted(secret))}"}
        for name in secrets
        if name not in secret
    ]
    if errors:
        raise Invalid(errors=errors)


@dataclass(frozen=True, slots=True)
class ChannelRegistry:
    accepts: ClassVar[tuple[type[EventData], ...]] = ()

    channels: Channels
    accounts: ChannelAccounts
    cache: Cache
    clock: Clock

    async def registered(self, tenant: str) -> Sequence[Registered]:
        """In-app first, then by name."""
        in_app = Registered(IN_APP, _IN_APP_LIMITS, configured=True, breakers={})
        return [in_app, *[await self._registered(tenant, name) for name in self.channels.names()]]

    async def put(
        self,
        tenant: str,
        channel: str,
        account_id: str,
        *,
        settings: Mapping[str, Any],
        secrets: Mapping[str, str | None],
        enabled: bool,
    ) -> tuple[ChannelAccount, bool]:
        """
        The account, and whether it is new. Secrets that are not given stay as they are.

        Raises:
            NotFound: no such channel.
            Invalid: the channel's own Config refuses it, or it is enabled without what verifies its webhooks.
            Conflict: the tenant has too many accounts on the channel.
        """
        kind = self.channels.type_of(channel)
        check_places(kind, settings, secrets)
        over = await self.accounts.get(tenant, channel, account_id)
        if over is None and len(await self.accounts.of_channel(tenant, channel)) >= MAX_ACCOUNTS:
            raise Conflict(f"a tenant has at most {MAX_ACCOUNTS} accounts on a channel; remove one first")
        kept = decide_secrets({} if over is None else over.secrets, secrets)
        self._check(kind, channel, settings, kept, enabled)
        account = await self.accounts.put(
            tenant, channel, account_id, settings=settings, secrets=kept, enabled=enabled, over=over
        )
        return account, over is None

    async def get(self, tenant: str, channel: str, account_id: str) -> ChannelAccount:
        """
        Raises:
            NotFound: there is no such account.
        """
        account = await self.accounts.get(tenant, channel, account_id)
        if account is None:
            raise no_such_account(channel, account_id)
        return account

    async def of_channel(self, tenant: str, channel: str, *, after: str | None, limit: int) -> Sequence[ChannelAccount]:
        """
        By account_id.

        Raises:
            NotFound: no such channel.
        """
        self.channels.type_of(channel)
        return await self.accounts.of_channel(tenant, channel, after=after, limit=limit)

    async def remove(self, tenant: str, channel: str, account_id: str) -> None:
        """
        Raises:
            NotFound: there is no such account.
        """
        await self.get(tenant, channel, account_id)
        await self.accounts.remove(tenant, channel, account_id)

    async def check(self, tenant: str, channel: str, account_id: str) -> Check:
        """
        Ask the provider whether the account works.

        Raises:
            NotFound: there is no such account.
        """
        account = await self.get(tenant, channel, account_id)
        try:
            async with asyncio.timeout(CHECK_TAKES_AT_MOST):
                return Check(True, await self.channels.open(channel, account.config).connect())
        except TimeoutError:
            return Check(False, f"the provider did not answer within {CHECK_TAKES_AT_MOST:.0f} seconds")
        except (ChannelError, Invalid) as error:
            return Check(False, error.detail)

    async def _registered(self, tenant: str, name: str) -> Registered:
        accounts = await self.accounts.for_channel(tenant, name)
        breakers = {account.account_id: await self._breaker(tenant, account) for account in accounts}
        limits = self.channels.type_of(name).limits
        return Registered(name, limits, configured=bool(accounts), breakers=breakers)

    async def _breaker(self, tenant: str, account: ChannelAccount) -> str:
        kept = await self.cache.get(f"{tenant}/breaker/{account.channel}/{account.account_id}")
        if kept is None:
            return "closed"
        return msgspec.json.decode(kept, type=Breaker).state(self.clock.now())

    def _check(
        self,
        kind: type[Channel],
        channel: str,
        settings: Mapping[str, Any],
        secrets: Mapping[str, str],
        enabled: bool,
    ) -> None:
        self.channels.open(channel, {**settings, **secrets})
        if enabled and not secrets.get(kind.webhook_secret_field):
            detail = "a channel cannot be enabled without the secret that verifies its webhooks"
            raise Invalid(errors=[{"pointer": f"/secrets/{kind.webhook_secret_field}", "detail": detail}])


def new(ports: Ports) -> ChannelRegistry:
    return ChannelRegistry(
        channels=ports.channels,
        accounts=ChannelAccounts(ports.tables, ports.vault, ports.clock),
        cache=ports.cache,
        clock=ports.clock,
    )

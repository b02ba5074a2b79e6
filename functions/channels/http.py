"""/v1/channels: the registry, and the accounts of the tenant under it."""

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Path, Response
from pydantic import AfterValidator, Field, StrictBool

from functions.channels.func import MASK, ChannelRegistry, Registered
from shared.domain.identity import CHANNELS
from shared.http.caller import Caller
from shared.http.paging import Cursor, Limit, decode_cursor, encode_cursor
from shared.http.routing import Answer, Body, CallerOf, Page, Timestamp, api_router, problems, scoped
from shared.repositories.channel_accounts import ChannelAccount

MAX_SETTINGS = 16_384  # bytes of JSON

ChannelsCaller = Annotated[Caller, scoped(CHANNELS)]
AccountId = Annotated[
    str,
    Path(
        pattern=r"^[A-Za-z0-9_@+][A-Za-z0-9._:@+-]{0,127}$",
        description="The provider's name of the account: phone number id, page, bot …",
        examples=["106540352242922"],
    ),
]


def _small(settings: dict[str, Any]) -> dict[str, Any]:
    if len(orjson.dumps(settings)) > MAX_SETTINGS:
        raise ValueError(f"at most {MAX_SETTINGS:,} bytes of JSON")
    return settings


class NewAccount(Body):
    settings: Annotated[dict[str, Any], AfterValidator(_small)] = Field(
        {}, description="As the channel's guide says", examples=[{"phone_number_id": "106540352242922"}]
    )
    secrets: dict[str, Annotated[str, Field(max_length=8192)] | None] = Field(
        {},
        max_length=20,
        description=f"Never shown again. One left out, or {MASK}, stays as it is; null removes it",
        examples=[{"access_token": "EAAG…", "app_secret": "…"}],
    )
    enabled: StrictBool = True


class AccountAnswer(Answer):
    channel: str
    account_id: str
    settings: dict[str, Any]
    secrets: dict[str, str] = Field(description="Masked", examples=[{"access_token": MASK}])
    enabled: bool
    created_at: Timestamp
    updated_at: Timestamp


class CheckAnswer(Answer):
    ok: bool
    detail: str = Field(examples=["Acme Support, +55 11 99999-8888"])


class Capabilities(Answer):
    text: bool
    files: bool
    delivered_receipts: bool
    read_receipts: bool
    max_text_length: int
    text_length_in: Literal["characters", "bytes"]
    max_file_size: dict[str, int] = Field(
        description="Bytes by media type; empty for in-app, whose limit is that of POST /v1/files/initiate"
    )


class ChannelAnswer(Answer):
    name: str = Field(examples=["whatsapp"])
    capabilities: Capabilities
    configured: bool = Field(description="Whether the tenant has an enabled account")
    breaker: Literal["closed", "half-open", "open"] = Field(description="The worst of the tenant's accounts")
    breakers: dict[str, str] = Field(description="By account_id")


def router(registry: ChannelRegistry) -> APIRouter:
    routes = api_router("Channels")

    @routes.get("/v1/channels", responses=problems())
    async def list_channels(caller: CallerOf) -> Page[ChannelAnswer]:
        """Every channel of the installation; in-app is `chat4all`."""
        registered = await registry.registered(caller.tenant)
        return Page(items=[_channel(channel) for channel in registered], next_cursor=None)

    created: dict[int | str, dict[str, Any]] = {201: {"model": AccountAnswer, "description": "It is new"}}

    @routes.put("/v1/channels/{channel}/accounts/{account_id}", responses={**created, **problems(403, 404, 409)})
    async def put_account(
        channel: str, account_id: AccountId, body: NewAccount, caller: ChannelsCaller, response: Response
    ) -> AccountAnswer:
        """
        Make or replace the account; checked by the channel's own model.

        It cannot be enabled without the secret that verifies its webhooks.
        """
        account, created = await registry.put(
            caller.tenant,
            channel,
            account_id,
            settings=body.settings,
            secrets=body.secrets,
            enabled=body.enabled,
        )
        response.status_code = 201 if created else 200
        return _account(account)

    @routes.get("/v1/channels/{channel}/accounts", responses=problems(403, 404))
    async def list_accounts(
        channel: str, caller: ChannelsCaller, limit: Limit = 50, cursor: Cursor = None
    ) -> Page[AccountAnswer]:
        after = str(decode_cursor(cursor, (str,))[0]) if cursor else None
        found = await registry.of_channel(caller.tenant, channel, after=after, limit=limit + 1)
        page = found[:limit]
        more = encode_cursor([page[-1].account_id]) if len(found) > limit else None
        return Page(items=[_account(account) for account in page], next_cursor=more)

    @routes.get("/v1/channels/{channel}/accounts/{account_id}", responses=problems(403, 404))
    async def get_account(channel: str, account_id: str, caller: ChannelsCaller) -> AccountAnswer:
        return _account(await registry.get(caller.tenant, channel, account_id))

    @routes.delete("/v1/channels/{channel}/accounts/{account_id}", status_code=204, responses=problems(403, 404))
    async def delete_account(channel: str, account_id: str, caller: ChannelsCaller) -> None:
        await registry.remove(caller.tenant, channel, account_id)

    @routes.post("/v1/channels/{channel}/accounts/{account_id}/check", responses=problems(403, 404))
    async def check_account(channel: str, account_id: str, caller: ChannelsCaller) -> CheckAnswer:
        """Ask the provider whether the account works."""
        check = await registry.check(caller.tenant, channel, account_id)
        return CheckAnswer(ok=check.ok, detail=check.detail)

    return routes


def _channel(channel: Registered) -> ChannelAnswer:
    limits, states = channel.limits, set(channel.breakers.values())
    return ChannelAnswer(
        name=channel.name,
        capabilities=Capabilities(
            text=limits.text > 0,
            files=bool(limits.media),
            delivered_receipts=limits.delivered_receipts,
            read_receipts=limits.read_receipts,
            max_text_length=limits.text,
            text_length_in="bytes" if limits.text_in_bytes else "characters",
            max_file_size=dict(limits.media),
        ),
        configured=channel.configured,
        breaker="open" if "open" in states else "half-open" if "half-open" in states else "closed",
        breakers=dict(channel.breakers),
    )


def _account(account: ChannelAccount) -> AccountAnswer:
    return AccountAnswer(
        channel=account.channel,
        account_id=account.account_id,
        settings=dict(account.settings),
        secrets=dict.fromkeys(account.secrets, MASK),
        enabled=account.enabled,
        created_at=account.created_at,
        updated_at=account.updated_at,
    )

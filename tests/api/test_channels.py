"""The registry of channels and the accounts of a tenant (C5, E12)."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from shared.domain.breaker import Breaker
from shared.testing.api import Api, Member, problem

PATH = "/v1/channels/whatsapp/accounts/106540352242922"
ACCOUNT = {
    "settings": {"phone_number_id": "106540352242922"},
    "secrets": {"access_token": "EAAG-canary", "app_secret": "app-canary"},
    "enabled": True,
}
MASKED = {"access_token": "********", "app_secret": "********"}


async def test_the_registry_shows_what_each_channel_can_do(acme: Member) -> None:
    answer = await acme("GET", "/v1/channels")
    in_app, instagram, whatsapp = answer.json()["items"]
    assert (in_app["name"], in_app["configured"]) == ("chat4all", True)
    assert (instagram["name"], instagram["configured"]) == ("instagram", False)
    assert whatsapp == {
        "name": "whatsapp",
        "capabilities": {
            "text": True,
            "files": True,
            "delivered_receipts": True,
            "read_receipts": True,
            "max_text_length": 4096,
            "text_length_in": "characters",
            "max_file_size": {"image": 5_000_000, "video": 16_000_000},
        },
        "configured": False,
        "breaker": "closed",
        "breakers": {},
    }


async def test_the_registry_shows_the_breaker_of_each_account(api: Api, acme: Member) -> None:
    await acme("PUT", PATH, json=ACCOUNT)
    opened = Breaker(failures=5, opened=1, until=api.clock.now() + timedelta(seconds=5))
    key = "acme/breaker/whatsapp/106540352242922"
    await api.cache.put(key, msgspec.json.encode(opened), ttl=60)
    whatsapp = (await acme("GET", "/v1/channels")).json()["items"][2]
    assert (whatsapp["configured"], whatsapp["breaker"]) == (True, "open")
    api.clock.advance(6)
    whatsapp = (await acme("GET", "/v1/channels")).json()["items"][2]
    assert whatsapp["breakers"] == {"106540352242922": "half-open"}


async def test_secrets_go_in_and_never_come_out(api: Api, acme: Member) -> None:
    first = await acme("PUT", PATH, json=ACCOUNT)
    assert first.status_code == 201
    assert first.json()["settings"] == ACCOUNT["settings"]
    assert first.json()["secrets"] == MASKED
    assert (await acme("GET", PATH)).json() == first.json()
    listed = await acme("GET", "/v1/channels/whatsapp/accounts")
    assert listed.json() == {"items": [first.json()], "next_cursor": None}
    tables: Any = api.ports.tables
    assert "canary" not in repr(tables._partitions)


async def test_a_put_keeps_the_secrets_that_it_does_not_give(api: Api, acme: Member) -> None:
    await acme("PUT", PATH, json=ACCOUNT)
    for secrets in ({}, MASKED, {"access_token": "slow"}):
        answer = await acme("PUT", PATH, json=ACCOUNT | {"secrets": secrets})
        assert (answer.status_code, answer.json()["secrets"]) == (200, MASKED)
    check = await acme("POST", f"{PATH}/check")
    assert check.json() == {"ok": False, "detail": "the provider asks to wait"}
    removed = await acme("PUT", PATH, json=ACCOUNT | {"secrets": {"app_secret": None}, "enabled": False})
    assert removed.json()["secrets"] == {"access_token": "********"}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"settings": {}}, "/settings/phone_number_id"),
        ({"settings": {"phone_number_id": 5}}, "/settings/phone_number_id"),
        ({"settings": {"phone_number_id": "1", "colour": "red"}}, "/settings/colour"),
        ({"settings": {"phone_number_id": "1", "access_token": "x"}}, "/settings/access_token"),
        ({"settings": {"phone_number_id": "1", "timeout": "soon"}}, "/settings/timeout"),
        ({"settings": {"phone_number_id": "1", "x": "y" * 20_000}}, "/settings"),
        ({"settings": []}, "/settings"),
        ({"secrets": {}}, "/secrets/access_token"),
        ({"secrets": {"access_token": "x"}}, "/secrets/app_secret"),
        ({"secrets": {"access_token": "x", "app_secret": ""}}, "/secrets/app_secret"),
        ({"secrets": {"access_token": 5}}, "/secrets/access_token"),
        ({"secrets": {"phone_number_id": "x"}}, "/secrets/phone_number_id"),
        ({"enabled": "yes"}, "/enabled"),
        ({"active": True}, "/active"),
    ],
)
async def test_a_bad_account_is_told_where(acme: Member, change: dict[str, Any], pointer: str) -> None:
    answer = await acme("PUT", PATH, json=ACCOUNT | change)
    errors = problem(answer, 422, "invalid")["errors"]
    assert pointer in [error["pointer"] for error in errors]
    problem(await acme("GET", PATH), 404, "not-found")


async def test_without_its_webhook_secret_an_account_may_only_be_disabled(acme: Member) -> None:
    draft = ACCOUNT | {"secrets": {"access_token": "x"}, "enabled": False}
    assert (await acme("PUT", PATH, json=draft)).status_code == 201
    assert (await acme("GET", "/v1/channels")).json()["items"][2]["configured"] is False
    problem(await acme("PUT", PATH, json=draft | {"enabled": True}), 422, "invalid")


async def test_the_provider_is_asked(acme: Member) -> None:
    await acme("PUT", PATH, json=ACCOUNT)
    check = await acme("POST", f"{PATH}/check")
    assert (check.status_code, check.json()["ok"]) == (200, True)
    await acme("PUT", PATH, json=ACCOUNT | {"secrets": {"access_token": "revoked"}})
    check = await acme("POST", f"{PATH}/check")
    assert check.json() == {"ok": False, "detail": "the provider does not take this token"}


async def test_an_account_is_removed(acme: Member) -> None:
    await acme("PUT", PATH, json=ACCOUNT)
    assert (await acme("DELETE", PATH)).status_code == 204
    problem(await acme("DELETE", PATH), 404, "not-found")
    problem(await acme("POST", f"{PATH}/check"), 404, "not-found")


async def test_accounts_come_in_pages(acme: Member) -> None:
    path = "/v1/channels/whatsapp/accounts"
    for account_id in ("1", "2", "3"):
        await acme("PUT", f"{path}/{account_id}", json=ACCOUNT)
    await acme("PUT", "/v1/channels/instagram/accounts/9", json=ACCOUNT)
    first = (await acme("GET", path, params={"limit": 2})).json()
    rest = (await acme("GET", path, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [one["account_id"] for one in first["items"] + rest["items"]] == ["1", "2", "3"]
    assert rest["next_cursor"] is None
    problem(await acme("GET", path, params={"limit": 201}), 422, "invalid")
    problem(await acme("GET", path, params={"cursor": "x"}), 422, "invalid")


async def test_there_is_no_such_channel(acme: Member) -> None:
    problem(await acme("PUT", "/v1/channels/pigeon/accounts/1", json=ACCOUNT), 404, "not-found")
    problem(await acme("GET", "/v1/channels/pigeon/accounts"), 404, "not-found")
    problem(await acme("GET", "/v1/channels/chat4all/accounts"), 404, "not-found")
    problem(await acme("PUT", "/v1/channels/whatsapp/accounts/a b", json=ACCOUNT), 422, "invalid")


async def test_a_rival_sees_no_account(acme: Member, rival: Member) -> None:
    await acme("PUT", PATH, json=ACCOUNT)
    problem(await rival("GET", PATH), 404, "not-found")
    problem(await rival("DELETE", PATH), 404, "not-found")
    problem(await rival("POST", f"{PATH}/check"), 404, "not-found")
    assert (await rival("GET", "/v1/channels/whatsapp/accounts")).json()["items"] == []
    assert (await rival("GET", "/v1/channels")).json()["items"][2]["configured"] is False


async def test_a_user_token_sees_the_registry_and_no_accounts(acme: Member) -> None:
    ana = await acme.user("ana")
    assert (await ana("GET", "/v1/channels")).status_code == 200
    problem(await ana("GET", "/v1/channels/whatsapp/accounts"), 403, "forbidden")
    problem(await ana("PUT", PATH, json=ACCOUNT), 403, "forbidden")

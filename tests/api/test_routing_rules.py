"""Routing rules: what they may say, and which one decides (C3, E12)."""

from typing import Any

import pytest

from shared.domain.routing_rules import Bridge
from shared.repositories.routing_rules import RoutingRules
from shared.testing.api import Api, Member, problem

PATH = "/v1/routing-rules"
BRIDGE = {"type": "conversation", "with": "bia", "channels": ["instagram"]}


@pytest.fixture(autouse=True)
async def bia(acme: Member) -> None:
    await acme.user("bia")


async def add(member: Member, **rule: Any) -> dict[str, Any]:
    answer = await member("POST", PATH, json={"match": {"channel": "whatsapp"}, "action": BRIDGE} | rule)
    assert answer.status_code == 201, answer.text
    added: dict[str, Any] = answer.json()
    return added


async def test_a_bridge_is_stored_as_it_was_said(acme: Member) -> None:
    rule = await add(acme, match={"channel": "whatsapp", "from": "+55 11 1"})
    assert rule | {"rule_id": ""} == {
        "rule_id": "",
        "match": {"channel": "whatsapp", "from": "+55111"},
        "action": BRIDGE,
        "priority": 100,
        "created_at": "2026-11-21T12:00:00.000Z",
    }
    assert (await acme("GET", f"{PATH}/{rule['rule_id']}")).json() == rule
    assert (await acme("GET", PATH)).json() == {"items": [rule], "next_cursor": None}


async def test_a_bridge_goes_to_all_channels_when_none_is_named(acme: Member) -> None:
    rule = await add(acme, action={"type": "conversation", "with": "bia"})
    assert rule["action"]["channels"] == ["all"]


async def test_the_first_matching_rule_decides(api: Api, acme: Member) -> None:
    desk = {"type": "desk", "department": "sales"}
    last = await add(acme, action=desk, priority=500)
    default = await add(acme)
    one_account = await add(acme, match={"channel": "whatsapp", "account_id": "1"}, action=desk)
    one_sender = await add(acme, match={"channel": "whatsapp", "from": "+551"})
    urgent = await add(acme, match={"channel": "instagram"}, action=desk, priority=1)
    listed = [rule["rule_id"] for rule in (await acme("GET", PATH)).json()["items"]]
    assert listed == [rule["rule_id"] for rule in (urgent, one_sender, one_account, default, last)]
    rules = RoutingRules(api.ports.tables)

    async def first(channel: str, account: str, sender: str) -> str | None:
        rule = await rules.first_match("acme", channel, account, frozenset({sender}))
        return rule and rule.rule_id

    assert await first("whatsapp", "1", "+551") == one_sender["rule_id"]
    assert await first("whatsapp", "1", "+552") == one_account["rule_id"]
    assert await first("whatsapp", "2", "+552") == default["rule_id"]
    assert await first("instagram", "2", "@x") == urgent["rule_id"]
    assert await first("telegram", "2", "@x") is None
    found = await rules.first_match("acme", "whatsapp", "2", frozenset({"+552"}))
    assert found is not None and found.action == Bridge("bia", ("instagram",))


async def test_rules_come_in_pages_in_the_order_in_which_they_are_tried(acme: Member) -> None:
    for priority in (3, 1, 2, 1, 3):
        await add(acme, priority=priority)
    everything = (await acme("GET", PATH)).json()["items"]
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while query.get("cursor", "") is not None:
        page = (await acme("GET", PATH, params=query)).json()
        assert len(page["items"]) <= 2
        seen += [rule["rule_id"] for rule in page["items"]]
        query["cursor"] = page["next_cursor"]
    assert seen == [rule["rule_id"] for rule in everything]
    assert [rule["priority"] for rule in everything] == [1, 1, 2, 3, 3]
    problem(await acme("GET", PATH, params={"limit": 0}), 422, "invalid")
    problem(await acme("GET", PATH, params={"cursor": "x"}), 422, "invalid")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"match": {}}, "/match/channel"),
        ({"match": {"channel": "pigeon"}}, "/match/channel"),
        ({"match": {"channel": "whatsapp", "from": "ana"}}, "/match/from"),
        ({"match": {"channel": "whatsapp", "sender": "x"}}, "/match/sender"),
        ({"match": "whatsapp"}, "/match"),
        ({"action": {"type": "drop"}}, "/action"),
        ({"action": {"type": "conversation"}}, "/action"),
        ({"action": {"type": "conversation", "with": "bia", "conversation_id": "c"}}, "/action"),
        ({"action": {"type": "conversation", "with": "nobody"}}, "/action/with"),
        ({"action": {"type": "conversation", "conversation_id": "none"}}, "/action/conversation_id"),
        ({"action": BRIDGE | {"channels": ["instagram", "pigeon"]}}, "/action/channels/1"),
        ({"action": BRIDGE | {"channels": []}}, "/action/conversation/channels"),
        ({"priority": -1}, "/priority"),
        ({"priority": "1"}, "/priority"),
        ({"priority": 1.5}, "/priority"),
        ({"priority": True}, "/priority"),
        ({"name": "x"}, "/name"),
    ],
)
async def test_a_bad_rule_is_told_where(acme: Member, change: dict[str, Any], pointer: str) -> None:
    body = {"match": {"channel": "whatsapp"}, "action": BRIDGE} | change
    errors = problem(await acme("POST", PATH, json=body), 422, "invalid")["errors"]
    assert pointer in [error["pointer"] for error in errors]
    assert (await acme("GET", PATH)).json()["items"] == []


async def test_a_patch_replaces_what_it_gives(acme: Member) -> None:
    rule = await add(acme, priority=7)
    path = f"{PATH}/{rule['rule_id']}"
    changed = await acme("PATCH", path, json={"action": {"type": "desk"}})
    assert changed.json() == rule | {"action": {"type": "desk"}}
    problem(await acme("PATCH", path, json={"match": {"channel": "pigeon"}}), 422, "invalid")
    assert (await acme("GET", path)).json() == changed.json()


async def test_a_rule_is_removed(acme: Member) -> None:
    path = f"{PATH}/{(await add(acme))['rule_id']}"
    assert (await acme("DELETE", path)).status_code == 204
    for method in ("GET", "DELETE"):
        problem(await acme(method, path), 404, "not-found")
    problem(await acme("PATCH", path, json={}), 404, "not-found")


async def test_a_rival_finds_no_rule_and_cannot_name_our_users(acme: Member, rival: Member) -> None:
    path = f"{PATH}/{(await add(acme))['rule_id']}"
    for method in ("GET", "PATCH", "DELETE"):
        problem(await rival(method, path, json={} if method == "PATCH" else None), 404, "not-found")
    assert (await rival("GET", PATH)).json()["items"] == []
    body = {"match": {"channel": "whatsapp"}, "action": BRIDGE}
    problem(await rival("POST", PATH, json=body), 422, "invalid")


async def test_rules_need_the_channels_scope(acme: Member) -> None:
    ana = await acme.user("ana")
    problem(await ana("GET", PATH), 403, "forbidden")

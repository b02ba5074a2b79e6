"""Users, identities and erasure (C2, E12; LGPD art. 18, GDPR art. 17)."""

import asyncio
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from shared.domain.conversation import Conversation
from shared.domain.errors import Conflict, Unavailable
from shared.domain.mailbox import Item
from shared.ports import Ports
from shared.repositories.conversations import Conversations
from shared.repositories.deliveries import Deliveries, DeliveryRecord
from shared.repositories.identities import Identities, IdentityLinks
from shared.repositories.mailboxes import Mailbox, Mailboxes
from shared.repositories.users import Users
from shared.testing.api import Api, Member, problem

PHONE = "+5511999998888"


async def test_a_user_is_created_once(acme: Member) -> None:
    body = {"user_id": "ana", "display_name": "Ana", "metadata": {"plan": "gold"}}
    first = await acme("POST", "/v1/users", json=body)
    assert first.status_code == 201
    assert first.json() == body | {
        "contact_of": None,
        "created_at": "2026-11-21T12:00:00.000Z",
        "updated_at": "2026-11-21T12:00:00.000Z",
    }
    again = await acme("POST", "/v1/users", json=body)
    assert (again.status_code, again.json()) == (200, first.json())
    problem(await acme("POST", "/v1/users", json=body | {"display_name": "Bia"}), 409, "conflict")
    assert (await acme("GET", "/v1/users/ana")).json() == first.json()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/user_id"),
        ({"user_id": 7}, "/user_id"),
        ({"user_id": ""}, "/user_id"),
        ({"user_id": "a" * 129}, "/user_id"),
        ({"user_id": "whatsapp:+55"}, "/user_id"),
        ({"user_id": "a\n"}, "/user_id"),
        ({"user_id": "a\u0000"}, "/user_id"),
        ({"user_id": "a", "name": "x"}, "/name"),
        ({"user_id": "a", "display_name": ""}, "/display_name"),
        ({"user_id": "a", "display_name": {"x": 1}}, "/display_name"),
        ({"user_id": "a", "metadata": {"x": 1}}, "/metadata/x"),
        ({"user_id": "a", "metadata": {"a/b": 1}}, "/metadata/a~1b"),
        ({"user_id": "a", "metadata": {"x": "y" * 501}}, "/metadata/x"),
        ({"user_id": "a", "metadata": {str(n): "" for n in range(51)}}, "/metadata"),
        ({"user_id": "a", "metadata": []}, "/metadata"),
        ([], ""),
        ("a", ""),
        (None, ""),
    ],
)
async def test_what_is_no_user_is_told_where(acme: Member, body: Any, pointer: str) -> None:
    answer = await acme("POST", "/v1/users", json=body)
    assert problem(answer, 422, "invalid")["errors"][0]["pointer"] == pointer


async def test_a_patch_merges(api: Api, acme: Member) -> None:
    await acme("POST", "/v1/users", json={"user_id": "ana", "metadata": {"a": "1", "b": "2"}})
    api.clock.advance(1)
    answer = await acme(
        "PATCH",
        "/v1/users/ana",
        json={"display_name": "Ana", "metadata": {"a": None, "c": "3"}},
        headers={"content-type": "application/merge-patch+json"},
    )
    assert answer.json()["metadata"] == {"b": "2", "c": "3"}
    assert answer.json()["updated_at"] > answer.json()["created_at"]
    answer = await acme("PATCH", "/v1/users/ana", json={"display_name": None, "metadata": None})
    assert (answer.json()["display_name"], answer.json()["metadata"]) == (None, {})
    problem(await acme("PATCH", "/v1/users/bia", json={}), 404, "not-found")
    problem(await acme("PATCH", "/v1/users/ana", json={"user_id": "x"}), 422, "invalid")


async def test_users_are_listed_in_order_across_pages(acme: Member) -> None:
    names = sorted(f"user-{n:02}" for n in range(23))
    for name in reversed(names):
        await acme("POST", "/v1/users", json={"user_id": name})
    await acme("DELETE", "/v1/users/user-07")
    found, cursor = [], None
    while True:
        query: dict[str, Any] = {"limit": 5} | ({"cursor": cursor} if cursor else {})
        page = (await acme("GET", "/v1/users", params=query)).json()
        found += [user["user_id"] for user in page["items"]]
        assert len(page["items"]) <= 5
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == [name for name in names if name != "user-07"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=x", "cursor=x", "cursor=WzFd", "cursor=" + "a" * 2000, "cursor=%00"]
)
async def test_a_bad_page_is_422(acme: Member, query: str) -> None:
    problem(await acme("GET", f"/v1/users?{query}"), 422, "invalid")


async def test_identifiers_are_stored_in_the_channels_form_and_found(acme: Member) -> None:
    await acme.user("ana")
    body = {"channel": "whatsapp", "identifier": "+55 11 99999 8888"}
    first = await acme("POST", "/v1/users/ana/channels", json=body)
    assert first.status_code == 201
    assert first.json()["identifier"] == PHONE
    again = await acme(
        "POST",
        "/v1/users/ana/channels",
        json={"channel_type": "whatsapp", "channel_identifier": PHONE, "is_active": False},
    )
    assert again.status_code == 200
    assert again.json() == first.json() | {"is_active": False}
    ana = await acme.user("ana")
    for member in (acme, ana):
        listed = await member("GET", "/v1/users/ana/channels")
        assert listed.json() == {"items": [again.json()], "next_cursor": None}


async def test_an_identifier_has_one_user_in_a_tenant(acme: Member, rival: Member) -> None:
    body = {"channel": "whatsapp", "identifier": PHONE}
    for member in (acme, rival):
        await member.user("ana")
        await member.user("bia")
        assert (await member("POST", "/v1/users/ana/channels", json=body)).status_code == 201
    answer = await acme("POST", "/v1/users/bia/channels", json=body)
    assert "'ana'" in problem(answer, 409, "conflict")["detail"]
    path = f"/v1/users/ana/channels/whatsapp/{PHONE}"
    problem(await acme("DELETE", "/v1/users/bia/channels/whatsapp/" + PHONE), 404, "not-found")
    assert (await acme("DELETE", path)).status_code == 204
    problem(await acme("DELETE", path), 404, "not-found")
    assert (await acme("POST", "/v1/users/bia/channels", json=body)).status_code == 201
    assert (await rival("GET", "/v1/users/ana/channels")).json()["items"] != []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"channel": "pigeon", "identifier": "x"}, "/channel"),
        ({"channel": "chat4all", "identifier": "x"}, "/channel"),
        ({"channel": "whatsapp", "identifier": "ana"}, "/identifier"),
        ({"channel": "whatsapp"}, "/identifier"),
        ({"channel": "whatsapp", "identifier": ""}, "/identifier"),
        ({"channel": "whatsapp", "identifier": PHONE, "is_active": "yes"}, "/is_active"),
        ({"channel": "whatsapp", "identifier": PHONE, "primary": True}, "/primary"),
    ],
)
async def test_what_is_no_identity_is_told_where(acme: Member, body: Any, pointer: str) -> None:
    await acme.user("ana")
    answer = await acme("POST", "/v1/users/ana/channels", json=body)
    assert problem(answer, 422, "invalid")["errors"][0]["pointer"] == pointer


async def test_an_unknown_user_has_no_identities(acme: Member) -> None:
    problem(await acme("GET", "/v1/users/ana/channels"), 404, "not-found")
    body = {"channel": "whatsapp", "identifier": PHONE}
    problem(await acme("POST", "/v1/users/ana/channels", json=body), 404, "not-found")


def all_rows(api: Api) -> str:
    tables: Any = api.ports.tables
    return repr([stored.row for partition in tables._partitions.values() for stored in partition.rows.values()])


async def test_erasing_forgets_the_person_and_keeps_the_id_from_others(api: Api, acme: Member) -> None:
    await acme("POST", "/v1/users", json={"user_id": "ana", "display_name": "Ana Souza"})
    await acme("POST", "/v1/users/ana/channels", json={"channel": "whatsapp", "identifier": PHONE})
    conversations = Conversations(api.ports.tables, api.clock)
    group = Conversation(conversation_id="c1", type="group", created_at=api.clock.now(), created_by="ana", metadata={})
    await conversations.create("acme", group, ("ana",))
    erased = await acme("DELETE", "/v1/users/ana")
    assert erased.status_code == 200
    assert erased.json()["removed"]["memberships"] == 1
    assert erased.json()["erased_at"] == "2026-11-21T12:00:00.000Z"
    assert erased.json()["removed"]["identities"] == 1
    problem(await acme("GET", "/v1/users/ana"), 404, "not-found")
    problem(await acme("POST", "/v1/users", json={"user_id": "ana"}), 409, "conflict")
    again = await acme("DELETE", "/v1/users/ana")
    assert (again.status_code, again.json()["removed"]["identities"]) == (200, 0)
    problem(await acme("DELETE", "/v1/users/nobody"), 404, "not-found")
    stored = all_rows(api)
    assert PHONE not in stored and "Souza" not in stored


async def test_erasing_takes_the_number_out_of_everything_that_deliveries_keep(api: Api, acme: Member) -> None:
    await acme("POST", "/v1/users", json={"user_id": "ana"})
    await acme("POST", "/v1/users/ana/channels", json={"channel": "whatsapp", "identifier": PHONE})
    tables, now = api.ports.tables, api.clock.now()
    group = Conversation(conversation_id="c1", type="group", created_at=now, created_by="ana", metadata={})
    await Conversations(tables, api.clock).create("acme", group, ("ana",))
    item = Item(seq=1, delivery_id="d1", message_id="m1", recipient="ana")
    mailbox, mailboxes = Mailbox("acme", "whatsapp", PHONE, "c1"), Mailboxes(tables)
    await mailboxes.add(mailbox, item)
    await mailboxes.doubt(mailbox, replace(item, text_hash="h"), 1, now)
    await mailboxes.keep_echo("acme", "whatsapp", PHONE, "p1", "h", now)
    await mailboxes.wrote_to("acme", "whatsapp", PHONE, "7")
    record = DeliveryRecord(
        delivery_id="d1", message_id="m1", conversation_id="c1", seq=1, recipient="ana", channel="whatsapp",
        address=PHONE,
    )  # fmt: skip
    await Deliveries(tables).plan("acme", [record], now)
    assert (await acme("DELETE", "/v1/users/ana")).json()["removed"]["addresses"] == 3
    assert PHONE not in all_rows(api)


async def test_a_rival_finds_nothing(acme: Member, rival: Member) -> None:
    await acme.user("ana")
    await acme("POST", "/v1/users/ana/channels", json={"channel": "whatsapp", "identifier": PHONE})
    for method, path, body in (
        ("GET", "/v1/users/ana", None),
        ("PATCH", "/v1/users/ana", {}),
        ("DELETE", "/v1/users/ana", None),
        ("GET", "/v1/users/ana/channels", None),
        ("POST", "/v1/users/ana/channels", {"channel": "whatsapp", "identifier": PHONE}),
        ("DELETE", f"/v1/users/ana/channels/whatsapp/{PHONE}", None),
    ):
        problem(await rival(method, path, json=body), 404, "not-found")
    assert (await rival("GET", "/v1/users")).json()["items"] == []
    assert (await acme("GET", "/v1/users/ana")).status_code == 200


def links_of(ports: Ports) -> IdentityLinks:
    users = Users(ports.tables, ports.clock)
    return IdentityLinks(Identities(ports.tables), users, ports.clock, ports.ids)


async def test_whoever_writes_first_becomes_a_contact_and_stays_the_same(api: Api, acme: Member) -> None:
    links = links_of(api.ports)
    contact = await links.ensure_contact("acme", "whatsapp", PHONE, "Ana")
    assert await links.ensure_contact("acme", "whatsapp", PHONE, "Ana Souza") == contact
    assert await links.ensure_contact("rival", "whatsapp", PHONE, "Ana") != contact
    assert await links.identities.owner("acme", "whatsapp", PHONE) == contact
    user = (await acme("GET", f"/v1/users/{contact}")).json()
    assert (user["display_name"], user["contact_of"]) == ("Ana", "whatsapp")


async def test_a_linked_user_who_writes_is_that_user(api: Api, acme: Member) -> None:
    await acme.user("ana")
    await acme("POST", "/v1/users/ana/channels", json={"channel": "whatsapp", "identifier": PHONE})
    assert await links_of(api.ports).ensure_contact("acme", "whatsapp", PHONE) == "ana"


async def test_an_erased_contact_who_writes_again_is_a_new_one(api: Api, acme: Member) -> None:
    links = links_of(api.ports)
    contact = await links.ensure_contact("acme", "whatsapp", PHONE, "Ana")
    await acme("DELETE", f"/v1/users/{contact}")
    later = await links.ensure_contact("acme", "whatsapp", PHONE, "Ana")
    assert later != contact
    problem(await acme("GET", f"/v1/users/{contact}"), 404, "not-found")


class Crash(Exception):
    pass


async def crash_at(api: Api, step: int, run: Any) -> bool:
    """Run until the given checkpoint of the tables and die there; whether there was such a one."""
    tables: Any = api.ports.tables
    steps = 0

    async def checkpoint() -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            raise Crash

    before, tables.checkpoint = tables.checkpoint, checkpoint
    try:
        await run()
    except Crash:
        return True
    finally:
        tables.checkpoint = before
    return False


@pytest.mark.parametrize("step", range(1, 40))
async def test_a_crash_while_linking_blocks_nobody_for_ever(api: Api, acme: Member, step: int) -> None:
    links = links_of(api.ports)
    for user_id in ("ana", "bia"):
        await acme("POST", "/v1/users", json={"user_id": user_id})
    await crash_at(api, step, lambda: links.link("acme", "ana", "whatsapp", PHONE))
    listed = bool(await links.identities.of("acme", "ana"))
    api.clock.advance(timedelta(seconds=61))
    winner = "ana" if listed else "bia"
    await links.link("acme", winner, "whatsapp", PHONE)
    assert await links.identities.owner("acme", "whatsapp", PHONE) == winner
    assert await links.ensure_contact("acme", "whatsapp", PHONE) == winner


@pytest.mark.parametrize("step", range(1, 40))
async def test_a_crash_while_unlinking_leaves_the_identifier_free(api: Api, acme: Member, step: int) -> None:
    links = links_of(api.ports)
    for user_id in ("ana", "bia"):
        await acme("POST", "/v1/users", json={"user_id": user_id})
    await links.link("acme", "ana", "whatsapp", PHONE)
    await crash_at(api, step, lambda: links.unlink("acme", "ana", "whatsapp", PHONE))
    await links.unlink("acme", "ana", "whatsapp", PHONE)
    api.clock.advance(timedelta(seconds=61))
    await links.link("acme", "bia", "whatsapp", PHONE)
    assert await links.identities.owner("acme", "whatsapp", PHONE) == "bia"
    assert await links.identities.of("acme", "ana") == []


@pytest.mark.parametrize("step", range(1, 40))
async def test_a_crash_while_a_contact_is_made_makes_no_second_one(api: Api, acme: Member, step: int) -> None:
    links = links_of(api.ports)
    await crash_at(api, step, lambda: links.ensure_contact("acme", "whatsapp", PHONE, "Ana"))
    contact = await links.ensure_contact("acme", "whatsapp", PHONE, "Ana")
    users = (await acme("GET", "/v1/users")).json()["items"]
    assert [user["user_id"] for user in users] == [contact]


@pytest.mark.parametrize("step", range(1, 40))
async def test_an_erasure_also_finds_what_a_crash_left(api: Api, acme: Member, step: int) -> None:
    links = links_of(api.ports)
    await acme("POST", "/v1/users", json={"user_id": "ana"})
    await crash_at(api, step, lambda: links.link("acme", "ana", "whatsapp", PHONE))
    await acme("DELETE", "/v1/users/ana")
    assert PHONE not in all_rows(api)


@pytest.mark.parametrize("step", range(1, 60))
async def test_an_erasure_that_died_is_completed_by_the_next(api: Api, acme: Member, step: int) -> None:
    await acme("POST", "/v1/users", json={"user_id": "ana", "display_name": "Souza"})
    await acme("POST", "/v1/users/ana/channels", json={"channel": "whatsapp", "identifier": PHONE})
    await crash_at(api, step, lambda: acme("DELETE", "/v1/users/ana"))
    await acme("DELETE", "/v1/users/ana")
    stored = all_rows(api)
    assert PHONE not in stored and "Souza" not in stored


@pytest.mark.parametrize("seed", range(60))
async def test_an_identifier_that_many_want_at_once_goes_to_one(api: Api, acme: Member, seed: int) -> None:
    """Links, a removal and a first message, interleaved at every step of the store."""
    links, dice, tables = links_of(api.ports), random.Random(seed), cast(Any, api.ports.tables)
    for user_id in ("ana", "bia"):
        await acme("POST", "/v1/users", json={"user_id": user_id})

    async def checkpoint() -> None:
        for _ in range(dice.randrange(4)):
            await asyncio.sleep(0)

    tables.checkpoint = checkpoint
    outcomes = await asyncio.gather(
        links.link("acme", "ana", "whatsapp", PHONE),
        links.link("acme", "bia", "whatsapp", PHONE),
        links.unlink("acme", "ana", "whatsapp", PHONE),
        links.ensure_contact("acme", "whatsapp", PHONE, "Ana"),
        return_exceptions=True,
    )
    assert all(isinstance(one, Conflict | Unavailable) or not isinstance(one, BaseException) for one in outcomes)
    owner = await links.identities.owner("acme", "whatsapp", PHONE)
    everybody = (await acme("GET", "/v1/users")).json()["items"]
    listing = [user["user_id"] for user in everybody if await links.identities.of("acme", user["user_id"])]
    assert listing == ([] if owner is None else [owner])

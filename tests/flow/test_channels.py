"""
Through the simulated providers and back: WhatsApp to Instagram, every fault that a provider shows, webhooks.

Requirements: C1 to C3, C7 to C9, A9, A11; the suffixes of channels.md 3.7. The proof of "exactly once" is what the
customer sees: GET /_sim/sent.
"""

import hashlib
import hmac
import json
from typing import Any

import httpx
import pytest

from shared.testing.live import CANARY, Caller, Providers, eventually, fresh_id, text

WHATSAPP = "+55119876{}"
INSTAGRAM = "1784140000{}"


def person(shop: Caller, channel: str, address: str) -> tuple[str, str]:
    """An agent and somebody at a provider: the conversation, and the person's user_id."""
    user_id = f"p{address.removeprefix('+')}"
    shop.users("agent", user_id)
    shop.must("POST", f"/v1/users/{user_id}/channels", {"channel": channel, "identifier": address})
    return shop.conversation("agent", user_id), user_id


def on(channel: str, steps: list[tuple[str, str, str]]) -> list[str]:
    return [status for where, status, _ in steps if where == channel]


def test_whatsapp_to_instagram_and_back(shop: Caller, providers: Providers) -> None:
    """C3: what a WhatsApp customer writes reaches another user's Instagram, and their answer the customer."""
    shop.users("wanda", "iris")
    shop.must("POST", "/v1/users/wanda/channels", {"channel": "whatsapp", "identifier": "+5511987650101"})
    shop.must("POST", "/v1/users/iris/channels", {"channel": "instagram", "identifier": "17841400001010"})
    for sender, channel, reader, by in (("+5511987650101", "whatsapp", "iris", "instagram"),
                                        ("17841400001010", "instagram", "wanda", "whatsapp")):  # fmt: skip
        action = {"type": "conversation", "with": reader, "channels": [by]}
        shop.must("POST", "/v1/routing-rules", {"match": {"channel": channel, "from": sender}, "action": action})

    providers.writes("whatsapp", "+5511987650101", "do you deliver?")
    (seen,) = eventually(lambda: providers.shown("instagram", "17841400001010"))
    assert seen["text"] == text("do you deliver?")["text"]
    (talk,) = shop.acting("wanda").must("GET", "/v1/conversations")["items"]
    (first,) = shop.history(talk["conversation_id"])
    assert (first["from"], first["origin"], first["channels"]) == ("wanda", "whatsapp", ["instagram"])
    eventually(lambda: shop.status(first["message_id"]) == "READ")
    assert on("instagram", shop.steps(first["message_id"])) == ["PENDING", "SENT", "DELIVERED", "READ"]

    providers.writes("instagram", "17841400001010", "yes, tomorrow", reply_to=seen["message_id"])
    (back,) = eventually(lambda: providers.shown("whatsapp", "+5511987650101"))
    assert back["text"] == text("yes, tomorrow")["text"]
    answer = shop.history(talk["conversation_id"])[-1]
    assert (answer["seq"], answer["from"], answer["reply_to"]) == (2, "iris", first["message_id"])
    eventually(lambda: shop.status(answer["message_id"]) == "READ")
    assert len(shop.history(talk["conversation_id"])) == 2, "an answer that came back is no new message"


FAULTS = [
    # suffix, final status on whatsapp, its history after PENDING, reason, how often the customer sees it
    ("0001", "READ", ["SENT", "DELIVERED", "READ"], None, 1),
    ("0002", "SENT", ["SENT"], None, 1),
    ("0003", "FAILED", ["FAILED"], "window_closed", 0),
    ("0004", "FAILED", ["FAILED"], "bad_recipient", 0),
    ("0005", "READ", ["SENT", "DELIVERED", "READ"], None, 1),
    ("0007", "READ", ["UNCERTAIN", "SENT", "DELIVERED", "READ"], None, 1),
    ("0008", "READ", ["SENT", "DELIVERED", "READ"], None, 1),
    ("0009", "READ", ["SENT", "DELIVERED", "READ"], None, 1),
    ("0010", "FAILED", ["SENT", "FAILED"], "bad_recipient", 1),
]


@pytest.mark.parametrize(("suffix", "final", "history", "reason", "shown"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_every_fault_of_whatsapp_ends_as_it_must(
    shop: Caller, providers: Providers, suffix: str, final: str, history: list[str], reason: str | None, shown: int
) -> None:
    address = WHATSAPP.format(f"1{suffix}")
    talk, user = person(shop, "whatsapp", address)
    said = shop.send(talk, "agent", "hello", channels=["whatsapp"])["message_id"]
    # The message's own status is SENT from the start.
    eventually(lambda: on("whatsapp", shop.steps(said))[-1:] == [final])
    _settled(providers)
    steps = [status for status in on("whatsapp", shop.steps(said)) if status != "PENDING"]
    # That a call got no answer is reported unless its callback was there first; the end is the same.
    assert [one for one in steps if one != "UNCERTAIN"] == [one for one in history if one != "UNCERTAIN"]
    assert ("UNCERTAIN" in steps) <= ("UNCERTAIN" in history)
    assert shop.status(said) == final
    (delivery,) = shop.must("GET", f"/v1/messages/{said}")["deliveries"]
    assert (delivery["recipient"], delivery["channel"], delivery["status"]) == (user, "whatsapp", final)
    assert delivery["reason"] == reason
    assert len(providers.shown("whatsapp", address)) == shown


def test_a_provider_that_is_broken_twice_takes_the_message_at_last_and_those_behind_it_in_order(
    shop: Caller, providers: Providers
) -> None:
    """Suffix 0006; order on one mailbox holds through the retries."""
    address = WHATSAPP.format("10006")
    talk, _ = person(shop, "whatsapp", address)
    said = [shop.send(talk, "agent", f"{n}", channels=["whatsapp"])["message_id"] for n in range(2)]
    eventually(lambda: shop.status(said[0]) == "READ", within=40)
    first, *_ = providers.shown("whatsapp", address)
    assert first["text"] == text("0")["text"]
    assert "FAILED" not in on("whatsapp", shop.steps(said[0]))


@pytest.mark.parametrize(
    ("suffix", "final", "shown"), [("0001", "READ", 1), ("0003", "FAILED", 0), ("0004", "FAILED", 0),
                                   ("0007", "READ", 1), ("0008", "READ", 1)],
)  # fmt: skip
def test_the_faults_of_instagram(shop: Caller, providers: Providers, suffix: str, final: str, shown: int) -> None:
    address = INSTAGRAM.format(suffix)
    talk, _ = person(shop, "instagram", address)
    said = shop.send(talk, "agent", f"to {suffix}", channels=["instagram"])["message_id"]
    eventually(lambda: shop.status(said) == final)
    _settled(providers)
    assert shop.status(said) == final
    assert len(providers.shown("instagram", address)) == shown


def test_a_channel_that_the_recipient_is_not_linked_to_fails_with_no_identity(
    shop: Caller, providers: Providers
) -> None:
    talk, user = person(shop, "whatsapp", WHATSAPP.format("20001"))
    said = shop.send(talk, "agent", channels=["instagram", "whatsapp"])["message_id"]
    eventually(lambda: shop.status(said) == "READ")
    deliveries = shop.must("GET", f"/v1/messages/{said}")["deliveries"]
    failed = [one for one in deliveries if one["channel"] == "instagram"]
    assert [(one["recipient"], one["status"], one["reason"]) for one in failed] == [(user, "FAILED", "no_identity")]
    step = [one for one in shop.must("GET", f"/v1/messages/{said}/status/history") if one["channel"] == "instagram"]
    assert [(one["status"], one["reason"]) for one in step] == [("FAILED", "no_identity")]


def test_all_means_in_app_and_every_active_channel(shop: Caller, providers: Providers) -> None:
    talk, user = person(shop, "whatsapp", WHATSAPP.format("20101"))
    shop.must("POST", f"/v1/users/{user}/channels", {"channel": "instagram", "identifier": INSTAGRAM.format("0101")})
    off = {"channel": "instagram", "identifier": INSTAGRAM.format("0102"), "is_active": False}
    shop.must("POST", f"/v1/users/{user}/channels", off)
    said = shop.send(talk, "agent", "everywhere", channels=["all"])["message_id"]
    eventually(lambda: len(providers.shown("instagram", INSTAGRAM.format("0101"))) == 1)
    eventually(lambda: len(providers.shown("whatsapp", WHATSAPP.format("20101"))) == 1)
    eventually(lambda: shop.status(said) == "READ")
    channels = {one["channel"] for one in shop.must("GET", f"/v1/messages/{said}")["deliveries"]}
    assert channels == {"chat4all", "instagram", "whatsapp"}
    assert providers.shown("instagram", INSTAGRAM.format("0102")) == []


def test_a_recipient_may_be_an_address(shop: Caller, providers: Providers) -> None:
    shop.users("agent", "second")
    talk = shop.conversation("agent", "second")
    address = WHATSAPP.format("30001")
    said = shop.send(talk, "agent", "to a number", to=[f"whatsapp:{address}"])["message_id"]
    eventually(lambda: providers.shown("whatsapp", address))
    eventually(lambda: shop.status(said) == "READ")
    assert [one["channel"] for one in shop.must("GET", f"/v1/messages/{said}")["deliveries"]] == ["whatsapp"]


def test_a_long_text_comes_in_parts_in_order(shop: Caller, providers: Providers) -> None:
    address = WHATSAPP.format("40001")
    talk, _ = person(shop, "whatsapp", address)
    words = " ".join(f"word{n:05}" for n in range(1200))
    said = shop.send(talk, "agent", words, channels=["whatsapp"])["message_id"]
    shop.send(talk, "agent", "the end", channels=["whatsapp"])
    eventually(lambda: len(providers.shown("whatsapp", address)) == 4)
    parts = [one["text"] for one in providers.shown("whatsapp", address)]
    assert " ".join(parts[:3]).split() == text(words)["text"].split()
    assert all(len(part) <= 4096 for part in parts)
    assert parts[3] == text("the end")["text"]
    eventually(lambda: shop.status(said) == "READ")
    assert on("whatsapp", shop.steps(said)).count("READ") == 1


def test_an_answer_quotes_what_the_customer_wrote(shop: Caller, providers: Providers) -> None:
    address = WHATSAPP.format("50001")
    talk, user = person(shop, "whatsapp", address)
    rule = {
        "match": {"channel": "whatsapp", "from": address},
        "action": {"type": "conversation", "with": "agent"},
    }
    shop.must("POST", "/v1/routing-rules", rule)
    providers.writes("whatsapp", address, "a question")
    (question,) = eventually(lambda: shop.history(talk))
    assert (question["from"], question["status"]) == (user, "SENT")
    shop.send(talk, "agent", "an answer", channels=["whatsapp"], reply_to=question["message_id"])
    (shown,) = eventually(lambda: providers.shown("whatsapp", address))
    assert shown["reply_to"] == question["metadata"]["provider_message_id"]


def test_somebody_unknown_becomes_a_contact_with_a_conversation(shop: Caller, providers: Providers) -> None:
    providers.writes("whatsapp", "+5511912340099", "anybody there?", name=f"Otto {CANARY}")

    def contacts() -> list[dict[str, Any]]:
        users = shop.must("GET", "/v1/users", params={"limit": 200})["items"]
        return [user for user in users if user["contact_of"] == "whatsapp"]

    (otto,) = eventually(contacts)
    inbox = {"conversation_id": only_talk(shop, otto["user_id"])}
    (said,) = eventually(lambda: shop.history(inbox["conversation_id"]))
    assert said["payload"] == text("anybody there?")
    providers.writes("whatsapp", "+5511912340099", "hello?")
    eventually(lambda: len(shop.history(inbox["conversation_id"])) == 2)
    assert len(contacts()) == 1


def contact_of(shop: Caller, name: str) -> str:
    """The user_id of the contact who was made for somebody of this name."""

    def found() -> list[str]:
        users = shop.must("GET", "/v1/users", params={"limit": 200})["items"]
        return [user["user_id"] for user in users if user["display_name"] == f"{name} {CANARY}"]

    (user_id,) = eventually(found)
    return user_id


def only_talk(shop: Caller, user_id: str) -> str:
    (talk,) = eventually(lambda: shop.acting(user_id).must("GET", "/v1/conversations")["items"])
    conversation_id: str = talk["conversation_id"]
    return conversation_id


def test_a_customer_writes_on_whoever_joined_and_whatever_was_changed_in_the_meantime(
    shop: Caller, providers: Providers
) -> None:
    address, webhook, account = "5511912340201", Webhook(shop, providers, "whatsapp"), providers.accounts["whatsapp"]

    def write(words: str) -> None:
        answer = webhook(_whatsapp(account["account_id"], f"wamid.{fresh_id()}", words, address, name="Petra"))
        assert answer.status_code == 200, answer.text

    write("hello")
    petra = contact_of(shop, "Petra")
    inbox = only_talk(shop, petra)
    shop.users("agent")
    shop.acting(petra).must("POST", f"/v1/conversations/{inbox}/members", {"user_id": "agent"})
    write("an agent is here")
    shop.must("PATCH", f"/v1/conversations/{inbox}", {"metadata": {"ticket": "7"}})
    write("the metadata is another")
    desk = {"type": "desk", "department": "sales"}
    rule = {"match": {"channel": "whatsapp", "from": f"+{address}"}, "action": desk}
    shop.must("POST", "/v1/routing-rules", rule)
    write("the department is another")
    shop.acting(petra).must("DELETE", f"/v1/conversations/{inbox}/members/{petra}")
    write("back again")
    said = [one["payload"]["text"] for one in shop.history(inbox) if one["payload"]["type"] == "text"]
    assert said == ["hello", "an agent is here", "the metadata is another", "the department is another", "back again"]
    assert shop.must("GET", f"/v1/conversations/{inbox}")["members"] == sorted(["agent", petra])


def test_a_bridge_holds_when_its_conversation_was_changed(shop: Caller, providers: Providers) -> None:
    address, webhook, account = "5511912340202", Webhook(shop, providers, "whatsapp"), providers.accounts["whatsapp"]
    shop.users("paula")
    action = {"type": "conversation", "with": "paula", "channels": ["chat4all"]}
    shop.must("POST", "/v1/routing-rules", {"match": {"channel": "whatsapp", "from": f"+{address}"}, "action": action})
    first = _whatsapp(account["account_id"], f"wamid.{fresh_id()}", "one", address)
    assert webhook(first).status_code == 200
    talk = only_talk(shop, "paula")
    shop.must("PATCH", f"/v1/conversations/{talk}", {"metadata": {"ticket": "7"}})
    second = _whatsapp(account["account_id"], f"wamid.{fresh_id()}", "two", address)
    assert webhook(second).status_code == 200
    assert [one["payload"]["text"] for one in shop.history(talk)] == ["one", "two"]


def test_a_person_is_one_whichever_of_their_addresses_the_provider_names(shop: Caller, providers: Providers) -> None:
    """A rule by phone number holds when Meta names a user id first; who wrote with both is known by each."""
    number, user_id, account = "5511912340203", "BR.1502576394655843", providers.accounts["whatsapp"]["account_id"]
    webhook = Webhook(shop, providers, "whatsapp")
    shop.users("perla")
    action = {"type": "conversation", "with": "perla", "channels": ["chat4all"]}
    shop.must("POST", "/v1/routing-rules", {"match": {"channel": "whatsapp", "from": f"+{number}"}, "action": action})
    both = _whatsapp(account, f"wamid.{fresh_id()}", "by both", number, from_user_id=user_id)
    assert webhook(both).status_code == 200
    assert webhook(_whatsapp(account, f"wamid.{fresh_id()}", "by number", number)).status_code == 200
    said = shop.history(only_talk(shop, "perla"))
    assert [one["payload"]["text"] for one in said] == ["by both", "by number"]
    (writer,) = {one["from"] for one in said}
    identities = shop.must("GET", f"/v1/users/{writer}/channels")["items"]
    assert {(one["identifier"], one["is_active"]) for one in identities} == {(user_id, True), (f"+{number}", False)}


def test_a_rule_lets_customers_into_a_group_for_all_to_see_and_into_no_private_talk(
    shop: Caller, providers: Providers
) -> None:
    shop.users("gil", "gina")
    talk, group = shop.conversation("gil", "gina"), shop.conversation("gil", "gina", type="group")
    match = {"channel": "whatsapp", "from": "+5511912340204"}

    def rule(conversation_id: str) -> httpx.Response:
        action = {"type": "conversation", "conversation_id": conversation_id}
        return shop("POST", "/v1/routing-rules", {"match": match, "action": action})

    refused = rule(talk)
    assert refused.status_code == 422
    assert [error["pointer"] for error in refused.json()["errors"]] == ["/action/conversation_id"]
    assert rule(group).status_code == 201
    providers.writes("whatsapp", "+5511912340204", "let me in", name=f"Gus {CANARY}")
    gus = contact_of(shop, "Gus")
    eventually(lambda: len(shop.history(group)) == 2)
    joined, said = shop.history(group)
    assert joined["payload"] == {"type": "system", "action": "joined", "user_id": gus, "by": gus}
    assert said["payload"] == text("let me in")
    logged = shop.must("GET", "/v1/events", params={"limit": 200})["items"]
    added = [one["event"] for one in logged if one["event"]["type"] == "chat4all.member.added.v1"]
    assert gus in [event["data"]["user_id"] for event in added]
    assert gus in shop.must("GET", f"/v1/conversations/{group}")["members"]


class Webhook:
    """A provider's POST, signed as it signs."""

    def __init__(self, shop: Caller, providers: Providers, channel: str) -> None:
        self.url = f"/v1/inbound/{shop.tenant}/{channel}"
        self.http = shop.http
        self.secret = providers.accounts[channel]["secrets"]["app_secret"]

    def __call__(self, body: bytes, *, secret: str | None = None, **headers: str) -> httpx.Response:
        digest = hmac.new((secret or self.secret).encode(), body, hashlib.sha256).hexdigest()
        signed = {"content-type": "application/json", "x-hub-signature-256": f"sha256={digest}", **headers}
        return self.http.post(self.url, content=body, headers=signed)


def _whatsapp(
    account: str, message_id: str, words: str, sender: str = "5511912340001", *, name: str = "", **more: str
) -> bytes:
    message = {"from": sender, "id": message_id, "timestamp": "1763690000", "type": "text", "text": {"body": words}}
    message |= more
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "551150000000", "phone_number_id": account},
        "contacts": [{"profile": {"name": f"{name} {CANARY}".strip()}, "wa_id": sender}],
        "messages": [message],
    }
    entry = {"id": "WABA", "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def test_a_webhook_that_comes_three_times_is_one_message(shop: Caller, providers: Providers) -> None:
    address, account = "+5511912340001", providers.accounts["whatsapp"]["account_id"]
    talk, _ = person(shop, "whatsapp", address)
    rule = {
        "match": {"channel": "whatsapp", "from": address},
        "action": {"type": "conversation", "with": "agent"},
    }
    shop.must("POST", "/v1/routing-rules", rule)
    webhook, mine = Webhook(shop, providers, "whatsapp"), f"wamid.{fresh_id()}"
    answers = [webhook(_whatsapp(account, mine, f"once {CANARY}")) for _ in range(3)]
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "EVENT_RECEIVED")] * 3
    assert [one["payload"]["text"] for one in shop.history(talk)] == [f"once {CANARY}"]
    received = [event for event in shop.chain(shop.history(talk)[0]["message_id"]) if "received" in event["type"]]
    assert len({event["id"] for event in received}) == 1


@pytest.mark.parametrize("channel", ["whatsapp", "instagram"])
def test_a_webhook_whose_signature_does_not_hold_is_401_and_changes_nothing(
    shop: Caller, providers: Providers, channel: str
) -> None:
    webhook = Webhook(shop, providers, channel)
    body = _whatsapp(providers.accounts["whatsapp"]["account_id"], f"wamid.{fresh_id()}", f"forged {CANARY}")
    before = shop.must("GET", "/v1/users", params={"limit": 200})
    signed = "sha256=" + hmac.new(webhook.secret.encode(), body, hashlib.sha256).hexdigest()
    answers = [
        webhook.http.post(webhook.url, content=body),
        webhook(body, secret="another secret"),
        webhook(body, **{"x-hub-signature-256": ""}),
        webhook(body, **{"x-hub-signature-256": "sha256="}),
        webhook(body, **{"x-hub-signature-256": "sha1=" + "0" * 40}),
        webhook.http.post(webhook.url, content=body + b" ", headers={"x-hub-signature-256": signed}),
    ]
    for answer in answers:
        assert answer.status_code == 401, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert CANARY not in answer.text
    assert shop.must("GET", "/v1/users", params={"limit": 200}) == before


def test_a_webhook_for_nobody_tells_no_more_than_one_that_is_forged(shop: Caller, providers: Providers) -> None:
    forged = Webhook(shop, providers, "whatsapp")
    for url, status in (("/v1/inbound/no-such-tenant/whatsapp", 401), (f"/v1/inbound/{shop.tenant}/fax", 404)):
        assert forged.http.post(url, content=b"{}").status_code == status


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"entry": 7}', b'{"entry": [{"changes": [{"value": []}]}]}', b"\xff" * 100,
             b'{"object": "whatsapp_business_account", "entry": [{"changes": [{"field": "messages", "value": '
             b'{"metadata": {}, "messages": [{"id": 7, "timestamp": "x"}]}}]}]}', b"[" * 100_000],
)  # fmt: skip
@pytest.mark.parametrize("channel", ["whatsapp", "instagram"])
def test_what_is_signed_and_makes_no_sense_is_no_error_of_ours(
    shop: Caller, providers: Providers, channel: str, body: bytes
) -> None:
    answer = Webhook(shop, providers, channel)(body)
    assert answer.status_code in (200, 422), answer.text


def test_the_challenge_of_a_provider_is_answered_only_with_the_right_token(shop: Caller, providers: Providers) -> None:
    url = f"/v1/inbound/{shop.tenant}/whatsapp"
    token = providers.accounts["whatsapp"]["secrets"]["verify_token"]
    asked = {"hub.mode": "subscribe", "hub.verify_token": token, "hub.challenge": "4711"}
    answer = shop.http.get(url, params=asked)
    assert (answer.status_code, answer.text) == (200, "4711")
    assert answer.headers["content-type"].startswith("text/plain")
    assert shop.http.get(url, params={**asked, "hub.verify_token": "wrong"}).status_code in (401, 403)


def test_a_bad_account_is_told_where_and_calls_only_the_provider(shop: Caller, providers: Providers) -> None:
    account = providers.accounts["whatsapp"]
    path = "/v1/channels/whatsapp/accounts/4711"
    for settings, pointer in (({"phone_number_id": "abc"}, "/settings/phone_number_id"),
                              ({"api": "http://169.254.169.254"}, "/settings/api"),
                              ({"api": "https://graph.facebook.com.example"}, "/settings/api"),
                              ({"api": "http://graph.facebook.com"}, "/settings/api"),
                              ({"api": "https://a:b@graph.facebook.com"}, "/settings/api")):  # fmt: skip
        body = {"settings": {**account["settings"], **settings}, "secrets": account["secrets"]}
        answer = shop("PUT", path, body)
        assert answer.status_code == 422, answer.text
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert shop("GET", path).status_code == 404


def test_the_account_can_be_checked_and_keeps_its_secrets(shop: Caller, providers: Providers) -> None:
    account = providers.accounts["whatsapp"]
    path = f"/v1/channels/whatsapp/accounts/{account['account_id']}"
    assert shop.must("POST", f"{path}/check")["ok"]
    shown = shop("GET", path)
    assert set(shown.json()["secrets"]) == set(account["secrets"])
    for secret in account["secrets"].values():
        assert secret not in shown.text
    registry = {one["name"]: one for one in shop.must("GET", "/v1/channels")["items"]}
    assert registry["whatsapp"]["configured"]
    assert registry["chat4all"]["capabilities"]["text"]


def _settled(providers: Providers) -> None:
    """Every callback that the providers owe was taken."""

    def pending() -> int:
        states = [
            httpx.get(f"http://{providers.host}:{providers.port}/{channel}/_sim/state")
            for channel in providers.accounts
        ]
        return sum(state.json()["callbacks"]["pending"] for state in states)

    eventually(lambda: pending() == 0)

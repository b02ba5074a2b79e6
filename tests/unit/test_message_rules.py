"""What a message must be before it has a number (A6, A11, C9, A15): every 422 points at its field (api.md)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import MessageSendRequested
from events.vocabulary import File, Media, Placeholder, System, Text
from functions.send.func import MAX_TTL, Facts, check, decide
from shared.domain.errors import Invalid, NotAMember, NotFound
from shared.domain.message import (
    MAX_METADATA,
    MAX_METADATA_VALUE,
    MAX_RECIPIENTS,
    MAX_TEXT,
    ROUTE_CHECKPOINT,
    message_id,
    message_id_of_event,
    prefixed,
)
from shared.testing.build import NOON, an_id

ID = an_id("m1")


class Fake:
    name = "fake"

    @staticmethod
    def check_address(identifier):
        if not identifier.isdigit():
            raise Invalid("an identifier here is digits")
        return identifier.lstrip("0")


class Channels:
    def names(self):
        return ("fake", "other")

    def type_of(self, name):
        return Fake


def checked(**asked):
    asked = {"conversation_id": "c1", "sender": "ana", "payload": Text(text="olá"), **asked}
    return check(MessageSendRequested(**asked), ID, Channels())


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"payload": Text(text="")}, "/payload/text"),
        ({"payload": Text(text=" \n\t")}, "/payload/text"),
        ({"payload": Text(text="x" * (MAX_TEXT + 1))}, "/payload/text"),
        ({"payload": Media(media_type="image")}, "/payload/url"),
        ({"payload": File(file_id="f1", caption="x" * 4097)}, "/payload/caption"),
        ({"payload": System(action="joined", user_id="bia", by="ana")}, "/payload/type"),
        ({"payload": Placeholder(kind="sticker")}, "/payload/type"),
        ({"channels": ()}, "/channels"),
        ({"channels": ("fax",)}, "/channels/0"),
        ({"channels": ("fake", "fax")}, "/channels/1"),
        ({"channels": ("all", "fake")}, "/channels"),
        ({"to": ()}, "/to"),
        ({"to": tuple(f"user{n}" for n in range(MAX_RECIPIENTS + 1))}, "/to"),
        ({"to": ("bia", "fax:123")}, "/to/1"),
        ({"to": ("chat4all:bia",)}, "/to/0"),
        ({"to": ("bia", "caio", "fake:x")}, "/to/2"),
        ({"metadata": {str(n): "x" for n in range(MAX_METADATA + 1)}}, "/metadata"),
        ({"metadata": {"k": "x" * (MAX_METADATA_VALUE + 1)}}, "/metadata/k"),
        ({"metadata": {"k" * 129: "x"}}, f"/metadata/{'k' * 128}"),
        ({"ttl_seconds": 0}, "/ttl_seconds"),
        ({"ttl_seconds": -1}, "/ttl_seconds"),
        ({"ttl_seconds": MAX_TTL + 1}, "/ttl_seconds"),
        ({"reply_to": "not a uuid"}, "/reply_to"),
    ],
)
def test_what_can_never_be_sent_is_refused_and_says_where(asked, pointer):
    with pytest.raises(Invalid) as refused:
        checked(**asked)
    assert [error["pointer"] for error in refused.value.errors] == [pointer]
    assert all(error["detail"] for error in refused.value.errors)
    assert refused.value.status == 422


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ({}, {"channels": ("chat4all",), "to": None}),
        ({"channels": ("all",)}, {"channels": ("all",)}),
        ({"channels": ("fake", "fake", "chat4all")}, {"channels": ("fake", "chat4all")}),
        ({"to": ("bia", "bia", "caio")}, {"to": ("bia", "caio")}),
        ({"to": ("fake:007", "fake:7")}, {"to": ("fake:7",)}),
        ({"payload": Text(text="x" * MAX_TEXT)}, {"payload": Text(text="x" * MAX_TEXT)}),
        ({"ttl_seconds": MAX_TTL}, {"ttl_seconds": MAX_TTL}),
        ({"reply_to": an_id("m0").upper()}, {"reply_to": an_id("m0")}),
    ],
)
def test_what_is_sent_is_kept_in_its_canonical_form(asked, kept):
    draft = checked(**asked)
    assert {name: getattr(draft, name) for name in kept} == kept


@pytest.mark.parametrize("given_id", ["", "m1", ID[:-1], ID + "0", f"{{{ID}}}", ID.replace("-", ""), ID + "\n"])
def test_a_message_id_is_a_uuid(given_id):
    with pytest.raises(Invalid) as refused:
        message_id(given_id, "fresh")
    assert refused.value.errors[0]["pointer"] == "/message_id"


def test_a_message_id_is_the_same_in_upper_case_and_drawn_when_left_out():
    assert message_id(ID.upper(), "fresh") == ID
    assert message_id(None, "fresh") == "fresh"


def test_an_event_that_asks_for_a_message_names_it():
    assert message_id_of_event(ID.upper(), "acme") == ID
    assert message_id_of_event("order 17", "acme") == message_id_of_event("order 17", "acme")
    assert message_id_of_event("order 17", "acme") != message_id_of_event("order 17", "umbrella")


@pytest.mark.parametrize(
    ("facts", "error"),
    [
        (Facts(False, False, ()), NotFound),
        (Facts(True, False, ()), NotAMember),
        (Facts(True, True, ("zoe",)), Invalid),
    ],
)
def test_who_may_send_where(facts, error):
    with pytest.raises(error):
        decide(checked(), facts)


def test_a_member_may_send():
    draft = checked()
    assert decide(draft, Facts(True, True, ())) is draft


@pytest.mark.parametrize(
    "changes",
    [
        {"conversation_id": "c2"},
        {"sender": "bia"},
        {"payload": Text(text="oi")},
        {"to": ("bia",)},
        {"channels": ("fake",)},
        {"metadata": {"priority": "high"}},
        {"request_delivery_receipt": True},
        {"request_read_receipt": True},
        {"reply_to": an_id("m0")},
        {"ttl_seconds": 60},
    ],
)
def test_whatever_its_sender_chose_makes_it_another_message(changes):
    draft = checked()
    assert replace(draft, **changes).fingerprint != draft.fingerprint


def test_the_same_message_has_the_same_fingerprint():
    draft = checked(metadata={"a": "1", "b": "2"})
    assert checked(metadata={"b": "2", "a": "1"}).fingerprint == draft.fingerprint
    assert replace(draft, fresh=True).fingerprint == draft.fingerprint


@pytest.mark.parametrize(
    ("asked", "seq", "routing"),
    [
        ({}, 1, "none"),
        ({}, ROUTE_CHECKPOINT, "needed"),
        ({"to": ("bia",)}, 1, "none"),
        ({"to": ("bia", "fake:1")}, 1, "needed"),
        ({"channels": ("all",)}, 1, "needed"),
        ({"channels": ("chat4all", "fake")}, 1, "needed"),
    ],
)
def test_route_is_woken_for_what_leaves_the_app(asked, seq, routing):
    assert checked(**asked).accepted(seq, NOON).routing == routing


@given(st.text(max_size=60))
def test_an_entry_is_a_user_or_a_channel_and_an_identifier(entry):
    parts = prefixed(entry)
    if parts is not None:
        channel, identifier = parts
        assert f"{channel}:{identifier}" == entry
        assert identifier
        assert channel == channel.lower()

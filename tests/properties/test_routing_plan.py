"""Who gets a message, and how (C1, C9; api.md, Messages): ``to`` × ``channels`` × linked identities."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.vocabulary import ALL, IN_APP, System
from shared.domain.message import prefixed
from shared.domain.routing import (
    NO_IDENTITY,
    Delivery,
    Undeliverable,
    Way,
    in_app_recipients,
    plan,
    reaches_in_app,
    users_to_look_up,
)
from shared.testing.build import a_message_accepted

USERS = ["ana", "bia", "caio", "davi"]
CHANNELS = ["whatsapp", "instagram", "telegram"]
WHATSAPP, INSTAGRAM = Way("whatsapp", "+55119"), Way("instagram", "bia.ig")

WAYS = st.dictionaries(
    st.sampled_from(USERS),
    st.lists(st.builds(Way, st.sampled_from(CHANNELS), st.sampled_from("1234"), st.booleans()), max_size=4),
)
ENTRIES = st.sampled_from([*USERS, "whatsapp:1", "instagram:2", "telegram:9"])
TO = st.one_of(st.none(), st.lists(ENTRIES, min_size=1, max_size=5).map(tuple))
ASKED = st.one_of(
    st.just((ALL,)), st.lists(st.sampled_from([IN_APP, *CHANNELS]), min_size=1, max_size=3, unique=True).map(tuple)
)


def said(message, members=(), ways=None):
    return [
        (one.recipient, one.channel, one.address if isinstance(one, Delivery) else one.reason)
        for one in plan(message, members, ways or {})
    ]


@pytest.mark.parametrize(
    ("to", "channels", "expected"),
    [
        (("bia",), ("whatsapp",), [("bia", "whatsapp", "+55119")]),
        (("bia",), ("whatsapp", "instagram"), [("bia", "whatsapp", "+55119"), ("bia", "instagram", "bia.ig")]),
        (("bia",), ("all",), [("bia", "whatsapp", "+55119"), ("bia", "instagram", "bia.ig")]),
        (("bia",), ("telegram",), [("bia", "telegram", NO_IDENTITY)]),
        (("bia",), ("telegram", "instagram"), [("bia", "telegram", NO_IDENTITY), ("bia", "instagram", "bia.ig")]),
        (("bia",), ("chat4all",), []),
        (("bia",), ("chat4all", "whatsapp"), [("bia", "whatsapp", "+55119")]),
        (("caio",), ("all",), []),
        (("caio",), ("whatsapp",), [("caio", "whatsapp", NO_IDENTITY)]),
        (None, ("whatsapp",), [("bia", "whatsapp", "+55119"), ("caio", "whatsapp", NO_IDENTITY)]),
        (("ana",), ("whatsapp",), []),
        (("whatsapp:+55120",), ("chat4all",), [("whatsapp:+55120", "whatsapp", "+55120")]),
        (("whatsapp:+55120",), ("instagram",), [("whatsapp:+55120", "whatsapp", "+55120")]),
        (("bia", "whatsapp:+55119"), ("whatsapp",), [("bia", "whatsapp", "+55119")]),
        (("whatsapp:+55119", "bia"), ("whatsapp",), [("whatsapp:+55119", "whatsapp", "+55119")]),
        (("bia", "bia"), ("whatsapp",), [("bia", "whatsapp", "+55119")]),
    ],
)
def test_the_plan_of(to, channels, expected):
    message = a_message_accepted(sender="ana", to=to, channels=channels)
    assert said(message, ["ana", "bia", "caio"], {"bia": [WHATSAPP, INSTAGRAM]}) == expected


def test_an_identity_that_is_switched_off_is_none():
    message = a_message_accepted(sender="ana", to=("bia",), channels=("whatsapp",))
    assert said(message, [], {"bia": [Way("whatsapp", "+55119", active=False)]}) == [("bia", "whatsapp", NO_IDENTITY)]


def test_two_addresses_on_one_channel_both_get_it():
    message = a_message_accepted(sender="ana", to=("bia",), channels=("whatsapp",))
    ways = {"bia": [Way("whatsapp", "1"), Way("whatsapp", "2")]}
    assert said(message, [], ways) == [("bia", "whatsapp", "1"), ("bia", "whatsapp", "2")]


def test_what_happened_to_the_conversation_is_sent_to_nobody():
    payload = System(action="joined", user_id="bia", by="ana")
    message = a_message_accepted(payload=payload, channels=("all",))
    assert plan(message, ["ana", "bia"], {"bia": [WHATSAPP]}) == []
    assert in_app_recipients(message, ["ana", "bia"]) == []


@given(to=TO, channels=ASKED, members=st.sets(st.sampled_from(USERS)), ways=WAYS)
def test_whatever_is_asked_each_address_gets_it_once_and_nobody_is_forgotten(to, channels, members, ways):
    message = a_message_accepted(sender="ana", to=to, channels=channels)
    planned = plan(message, members, ways)
    deliveries = [one for one in planned if isinstance(one, Delivery)]
    addresses = {(one.channel, one.address) for one in deliveries}
    assert len(addresses) == len(deliveries), "no address twice"
    assert len({one.delivery_id for one in deliveries}) == len(deliveries)
    recipients = set(to if to is not None else members) - {"ana"}
    assert {one.recipient for one in planned} <= recipients
    for entry in recipients:
        if (direct := prefixed(entry)) is not None:
            assert direct in addresses
            continue
        active = [way for way in ways.get(entry, ()) if way.active]
        asked = {way.channel for way in active} if channels == (ALL,) else set(channels) - {IN_APP}
        for channel in asked:
            own = [way for way in active if way.channel == channel]
            for way in own:
                assert (channel, way.address) in addresses
            assert (Undeliverable(entry, channel, NO_IDENTITY) in planned) == (not own)
    assert plan(message, members, ways) == planned, "planning twice plans the same"


@given(to=TO, channels=ASKED, members=st.sets(st.sampled_from(USERS)), ways=WAYS)
def test_only_the_users_that_are_named_are_looked_up(to, channels, members, ways):
    message = a_message_accepted(sender="ana", to=to, channels=channels)
    looked_up = users_to_look_up(message, members)
    known = {user: ways[user] for user in looked_up if user in ways}
    assert plan(message, members, known) == plan(message, members, ways)


@pytest.mark.parametrize(
    ("channels", "to"), list(product([("chat4all",), ("all",), ("whatsapp",)], [None, ("bia", "whatsapp:1")]))
)
def test_in_app_is_for_users_and_only_when_asked_for(channels, to):
    message = a_message_accepted(sender="ana", to=to, channels=channels)
    expected = ["bia"] if channels != ("whatsapp",) else []
    assert reaches_in_app(message) == bool(expected)
    assert in_app_recipients(message, ["ana", "bia"]) == expected

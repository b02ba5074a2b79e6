"""What a sender asked to be forgotten is in no log, and is not forgotten earlier (A15)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from events import CATALOGUE, from_cloudevent
from events.vocabulary import Text
from functions.deliver.func import new as new_deliver
from functions.push.func import new as new_push
from functions.route.func import new as new_route
from shared.adapters.memory.tables import Fault
from shared.domain.errors import Unavailable
from shared.domain.message import EXPIRED, Draft
from shared.repositories.channel_accounts import ChannelAccounts
from shared.repositories.schema import EPHEMERAL_PAYLOADS
from shared.repositories.timeline import Timeline
from shared.testing.build import an_event, an_id
from shared.testing.memory_ports import open_memory
from shared.testing.scripted_provider import OneChannel, Provider, channel_to


def draft(ttl_seconds):
    return Draft(
        message_id=an_id("m"),
        conversation_id="talk",
        sender="ana",
        payload=Text(text="secret"),
        ttl_seconds=ttl_seconds,
    )


async def accept(ports, ttl_seconds):
    timeline = Timeline(ports.tables, ports.outbox, ports.cache, ports.clock)
    await timeline.accept("acme", draft(ttl_seconds), source="/functions/send", traceparent=None)
    (logged,) = await ports.log.latest(1)
    return logged.event


async def test_the_event_of_a_message_with_a_ttl_does_not_hold_its_payload():
    async with open_memory({}) as ports:
        event = await accept(ports, ttl_seconds=60)
        assert b"secret" not in event.data
        assert EXPIRED.kind.encode() in event.data


async def test_push_reads_the_payload_that_its_event_does_not_hold():
    async with open_memory({}) as ports:
        event = from_cloudevent(await accept(ports, ttl_seconds=60), CATALOGUE)
        async with ports.fan_out.subscribe("acme.conversation.talk") as frames:
            await new_push(ports).handle(event)
            _, frame = await anext(frames)
        assert b"secret" in frame


async def test_the_event_of_any_other_message_holds_it():
    async with open_memory({}) as ports:
        assert b"secret" in (await accept(ports, ttl_seconds=None)).data


async def test_a_delivery_waits_for_a_payload_that_its_sender_did_not_come_to_write():
    """The number stands, the sender died before what follows it, and the next message's wake-up plans both."""
    async with open_memory({}) as ports:
        provider = Provider(ports.clock, [], _nothing, lambda: "", lambda event, late: None, lambda call: _nothing())
        ports = replace(ports, channels=OneChannel(channel_to(provider)))
        await ChannelAccounts(ports.tables, ports.vault, ports.clock).put(
            "acme", "fake", "us", settings={}, secrets={}, enabled=True, over=None
        )
        ports.tables.fault = lambda method, table: Fault.UNREACHED if table is EPHEMERAL_PAYLOADS else None
        await Timeline(ports.tables, ports.outbox, ports.cache, ports.clock).accept(
            "acme", replace(draft(60), to=("fake:1",)), source="/functions/send", traceparent=None
        )
        ports.tables.fault = lambda method, table: None
        (message,) = await Timeline(ports.tables, ports.outbox, ports.cache, ports.clock).since("acme", "talk", 0, 1)
        await new_route(ports).handle(an_event(message, tenant="acme"))
        (wake_up,) = [from_cloudevent(one.event, CATALOGUE) for one in await ports.log.latest(1)]
        with pytest.raises(Unavailable):
            await new_deliver(ports).handle(wake_up)
        while not await ports.sweeper.sweep(older_than=timedelta(minutes=-3)):
            pass  # the first sweep of all has a week to go through
        await new_deliver(ports).handle(wake_up)
        assert [call.text for call in provider.received] == ["secret"]


async def _nothing():
    pass

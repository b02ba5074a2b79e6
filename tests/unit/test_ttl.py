"""What a sender asked to be forgotten is in no log (A15)."""

from events import CATALOGUE, from_cloudevent
from events.vocabulary import Text
from functions.push.func import new as new_push
from shared.domain.message import EXPIRED, Draft
from shared.repositories.timeline import Timeline
from shared.testing.build import an_id
from shared.testing.memory_ports import open_memory


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

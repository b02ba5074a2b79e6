"""What reaches which sockets, and what costs nothing because nobody listens (A12, A13, A14)."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from events import (
    ConversationCreated,
    MemberAdded,
    MemberRemoved,
    MessageDelivered,
    MessageFailed,
    PresenceChanged,
    ReceiptReported,
)
from events.vocabulary import PresenceStatus, ReceiptKind, Status, Text
from functions.push.func import Push, new
from shared.domain.conversation import Conversation
from shared.domain.errors import NotFound, Unavailable
from shared.domain.message import Draft
from shared.ports import Ports
from shared.ports.fan_out import Listening
from shared.repositories.conversations import Conversations
from shared.repositories.timeline import Timeline
from shared.repositories.typing_notices import Typing
from shared.testing.build import a_message_accepted, an_event, an_id
from shared.testing.memory_ports import open_memory

TENANT, GROUP = "acme", "c1"


@dataclass
class House:
    ports: Ports
    push: Push
    conversations: Conversations
    timeline: Timeline
    heard: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def group(self, *members: str, conversation_id: str = GROUP) -> None:
        conversation = Conversation(
            conversation_id=conversation_id,
            type="group",
            created_at=self.ports.clock.now(),
            created_by=members[0],
            metadata={},
        )
        await self.conversations.create(TENANT, conversation, members)

    async def says(self, sender: str, name: str, **more: Any) -> Any:
        draft = Draft(message_id=an_id(name), conversation_id=GROUP, sender=sender, payload=Text(text=name), **more)
        return (await self.timeline.accept(TENANT, draft, source="/tests", traceparent=None)).message

    async def tell(self, data: Any, at: Any = None) -> None:
        await self.push.handle(an_event(data, at=at or self.ports.clock.now()))

    def listen(self, *subjects: str) -> Any:
        return self.ports.fan_out.subscribe(*(f"{TENANT}.{subject}" for subject in subjects))

    def receipt(self, user: str, first: int, last: int, kind: ReceiptKind = ReceiptKind.READ) -> ReceiptReported:
        return ReceiptReported(
            conversation_id=GROUP, user_id=user, kind=kind, from_seq=first, to_seq=last, at=self.ports.clock.now()
        )


@pytest.fixture
async def house() -> AsyncIterator[House]:
    async with open_memory({}) as ports:
        timeline = Timeline(ports.tables, ports.outbox, ports.cache, ports.clock)
        yield House(ports, new(ports), Conversations(ports.tables, ports.clock), timeline)


async def drained(frames: Listening) -> list[tuple[str, dict[str, Any]]]:
    """Everything that waits, as (subject without its tenant, frame)."""
    found = []
    while True:
        try:
            async with asyncio.timeout(0.01):
                subject, frame = await anext(frames)
        except TimeoutError:
            return found
        found.append((subject.partition(".")[2], json.loads(frame)))


async def test_a_message_goes_to_its_conversation_with_the_fields_of_history(house):
    message = a_message_accepted(conversation=GROUP, sender="ana", channels=("chat4all",))
    async with house.listen("conversation.c1", "conversation.c2", "user.ana") as frames:
        await house.tell(message)
        ((subject, frame),) = await drained(frames)
    assert subject == "conversation.c1"
    assert frame == {
        "type": "message",
        "seq": 1,
        "message_id": message.message_id,
        "conversation_id": "c1",
        "from": "ana",
        "to": None,
        "channels": ["chat4all"],
        "payload": {"type": "text", "text": "olá"},
        "metadata": {},
        "reply_to": None,
        "created_at": "2026-11-21T12:00:00.000Z",
        "expires_at": None,
        "origin": None,
    }


async def test_what_nobody_listens_to_is_not_even_looked_up(house, monkeypatch):
    message = await house.says("ana", "m1", ttl_seconds=60)

    async def never(*_: object) -> None:
        raise AssertionError("there is nobody to read it for")

    monkeypatch.setattr(Timeline, "find", never)
    async with house.listen("conversation.c2"):
        await house.tell(message)


async def test_a_receipt_goes_to_the_senders_of_its_messages_and_to_the_readers_own_devices(house):
    for name, sender in (("m1", "ana"), ("m2", "clara"), ("m3", "ana")):
        await house.says(sender, name)
    async with house.listen("user.ana", "user.bruno", "user.clara", "user.davi", "conversation.c1") as frames:
        await house.tell(house.receipt("bruno", 2, 3))
        found = await drained(frames)
    assert {subject for subject, _ in found} == {"user.ana", "user.bruno", "user.clara"}
    assert found[0][1] | {"at": ""} == {
        "type": "receipt",
        "conversation_id": "c1",
        "recipient": "bruno",
        "channel": "chat4all",
        "status": "READ",
        "from_seq": 2,
        "to_seq": 3,
        "at": "",
    }


async def test_the_sender_of_a_message_that_was_just_pushed_is_not_looked_up(house, monkeypatch):
    message = await house.says("ana", "m1")
    await house.tell(message)

    async def never(*_: object) -> None:
        raise AssertionError("push has seen this message")

    monkeypatch.setattr(Timeline, "since", never)
    async with house.listen("user.ana") as frames:
        await house.tell(house.receipt("bruno", 1, 1, ReceiptKind.DELIVERED))
        ((_, frame),) = await drained(frames)
    assert frame["status"] == "DELIVERED"


async def test_a_receipt_of_very_many_messages_goes_to_the_conversation(house):
    async with house.listen("user.ana", "conversation.c1") as frames:
        await house.tell(house.receipt("bruno", 1, 100_000))
        assert [subject for subject, _ in await drained(frames)] == ["conversation.c1"]


async def test_what_a_provider_reports_goes_to_the_sender_with_the_number_of_the_message(house):
    await house.says("ana", "m0")
    message = await house.says("ana", "m1")
    told = {
        "message_id": message.message_id,
        "conversation_id": GROUP,
        "recipient": "clara",
        "channel": "whatsapp",
        "at": house.ports.clock.now(),
    }
    async with house.listen("user.ana", "user.clara", "conversation.c1") as frames:
        await house.tell(MessageDelivered(**told, status=Status.DELIVERED))
        await house.tell(MessageFailed(**told, status=Status.FAILED, reason="blocked"))
        delivered, failed = await drained(frames)
    assert delivered[0] == failed[0] == "user.ana"
    assert (delivered[1]["from_seq"], delivered[1]["to_seq"], delivered[1]["status"]) == (2, 2, "DELIVERED")
    assert (failed[1]["reason"], failed[1]["message_id"]) == ("blocked", message.message_id)


async def test_what_was_told_as_a_range_is_not_told_again(house):
    message = await house.says("ana", "m1")
    async with house.listen("user.ana") as frames:
        await house.tell(
            MessageDelivered(
                message_id=message.message_id,
                conversation_id=GROUP,
                recipient="bruno",
                channel="chat4all",
                status=Status.DELIVERED,
                at=house.ports.clock.now(),
            )
        )
        assert await drained(frames) == []


async def test_a_new_conversation_goes_to_its_members(house):
    now = house.ports.clock.now()
    created = ConversationCreated(conversation_id=GROUP, type="private", members=("ana", "bruno"), created_at=now)
    async with house.listen("user.ana", "user.bruno", "user.clara") as frames:
        await house.tell(created)
        found = await drained(frames)
    assert [subject for subject, _ in found] == ["user.ana", "user.bruno"]
    assert found[0][1] | {"at": ""} == {
        "type": "conversation",
        "action": "created",
        "conversation_id": "c1",
        "at": "",
        "members": ["ana", "bruno"],
        "conversation_type": "private",
    }


@pytest.mark.parametrize(
    ("event", "by", "action"),
    [
        (MemberAdded, "bruno", "joined"),
        (MemberAdded, "ana", "added"),
        (MemberRemoved, "bruno", "left"),
        (MemberRemoved, "ana", "removed"),
    ],
)
async def test_who_comes_and_goes_is_told_to_the_group_and_to_themselves(house, event, by, action):
    await house.group("ana", *(["bruno"] if event is MemberAdded else []))
    change = event(conversation_id=GROUP, user_id="bruno", by=by, at=house.ports.clock.now())
    async with house.listen("user.ana", "user.bruno", "conversation.c1") as frames:
        await house.tell(change)
        found = await drained(frames)
    assert [subject for subject, _ in found] == ["conversation.c1", "user.bruno"]
    assert {(frame["action"], frame["user_id"], frame["by"]) for _, frame in found} == {(action, "bruno", by)}


async def test_a_newcomer_is_told_once_their_row_is_there(house):
    await house.group("ana")
    now = house.ports.clock.now()
    change = MemberAdded(conversation_id=GROUP, user_id="bruno", by="ana", at=now)
    async with house.listen("user.bruno") as frames:
        with pytest.raises(Unavailable):
            await house.tell(change, at=now)
        await house.tell(change, at=now - timedelta(minutes=1))
        assert await drained(frames) == []


async def test_presence_is_told_once_to_each_who_shares_a_conversation(house):
    await house.group("ana", "bruno", conversation_id="c1")
    await house.group("ana", "bruno", "clara", conversation_id="c2")
    await house.group("davi", "clara", conversation_id="c3")
    await house.group("ana", "eva", *(f"user-{n}" for n in range(200)), conversation_id="c4")
    change = PresenceChanged(user_id="ana", status=PresenceStatus.ONLINE, last_seen=house.ports.clock.now())
    async with house.listen(*(f"user.{user}" for user in ("ana", "bruno", "clara", "davi", "eva"))) as frames:
        await house.tell(change)
        found = await drained(frames)
    assert sorted(subject for subject, _ in found) == ["user.bruno", "user.clara"]
    assert found[0][1] | {"last_seen": ""} == {
        "type": "presence",
        "user_id": "ana",
        "status": "online",
        "last_seen": "",
    }


async def test_typing_is_told_to_the_conversation_and_not_again_at_once(house):
    await house.group("ana", "bruno")
    ports = house.ports
    typing = Typing(house.conversations, ports.fan_out, ports.cache, ports.clock)
    async with house.listen("conversation.c1") as frames:
        for _ in range(5):
            await typing.typed(TENANT, GROUP, "ana")
        await typing.typed(TENANT, GROUP, "bruno")
        found = await drained(frames)
    assert [(frame["type"], frame["user_id"]) for _, frame in found] == [("typing", "ana"), ("typing", "bruno")]


async def test_only_members_can_be_seen_typing(house):
    await house.group("ana")
    ports = house.ports
    typing = Typing(house.conversations, ports.fan_out, ports.cache, ports.clock)
    async with house.listen("conversation.c1") as frames:
        for _ in range(2):
            with pytest.raises(NotFound):
                await typing.typed(TENANT, GROUP, "mallory")
        assert await drained(frames) == []

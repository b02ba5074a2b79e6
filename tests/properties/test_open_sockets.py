"""
Resume that never lies: whatever fan-out loses, repeats and reorders, whoever comes, goes and comes back, every socket
gets every message of its user's conversations once and in order, and nothing that was numbered after its user was
taken out (A3, A12, A13; reliability.md 5.5).

The hub runs over tables that let others in between before and after each operation. What ``push`` publishes hangs in
the air until it arrives, arrives twice, or is lost. It is woken as the manifests say: not where nobody is known to
listen (ADR 0042).

What it catches, tried by planting each: joining before the replay; a wait between the last look and the joining; nobody
put out by the message that removes them, live or replayed; nobody taken in by the one that adds them; interruptions
that are not looked after; replaying beyond where the feed is; what is acknowledged coming again; and, where nothing is
lost, a tenant that nobody knows to be heard.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events import CATALOGUE, from_cloudevent
from events.vocabulary import ReceiptKind, System, Text
from functions.push.func import new as new_push
from functions.realtime import hub
from functions.realtime.func import new as new_realtime
from functions.realtime.hub import Hub
from functions.realtime.outgoing import Outgoing
from functions.realtime.session import Limits, Session
from shared.adapters.memory.cache import MemoryCache
from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.fan_out import MemoryFanOut
from shared.adapters.memory.ids import CountedIds
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.memory.tables import MemoryTables
from shared.domain.conversation import Conversation
from shared.domain.errors import Unavailable
from shared.domain.identity import User
from shared.domain.message import Draft
from shared.http.caller import Caller
from shared.http.tickets import Admission
from shared.ports import Ports
from shared.repositories.conversations import Conversations
from shared.repositories.cursors import Cursors
from shared.repositories.listeners import Listeners
from shared.repositories.membership import Membership
from shared.repositories.timeline import Timeline
from shared.repositories.users import Users
from shared.runtime.wiring import read
from shared.testing.atomic_outbox import AtomicOutbox

PUSH = [trigger for trigger in read().triggers if trigger.subscriber == "push"]
USERS, TALKS = ("ana", "bruno", "clara"), ("t1", "t2")
TENANT = "acme"
UNHEARD = 0.2
"""Seconds: longer than a message is on its way here."""


class Air(MemoryFanOut):
    """What is published hangs in it; the test says what becomes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.hanging: list[tuple[str, bytes]] = []
        self.listeners: list[Any] = []

    async def publish(self, subject: str, frame: bytes) -> None:
        self.hanging.append((subject, frame))

    def heard(self, subject: str) -> bool:
        return True

    async def arrive(self, subject: str, frame: bytes) -> None:
        await super().publish(subject, frame)

    @asynccontextmanager
    async def subscribe(self, *subjects: str) -> AsyncIterator[Any]:
        async with super().subscribe(*subjects) as listening:
            self.listeners.append(listening)
            yield listening


@dataclass
class Device:
    """A client: what it was sent, by conversation. ``since``: where each of its replays began."""

    user: str
    got: dict[str, list[int]] = field(default_factory=dict)
    ready: int = 0
    open: bool = True
    session: Session | None = None

    def write(self, frame: Outgoing) -> bool:
        if not self.open:
            return False
        told = msgspec.json.decode(frame.json)
        if told["type"] == "message":
            self.got.setdefault(told["conversation_id"], []).append(told["seq"])
        self.ready += told["type"] == "ready"
        return True

    def ping(self, frame: Outgoing) -> bool:
        return False

    async def drained(self) -> None:
        await asyncio.sleep(0)

    def end(self, code: int, reason: str) -> None:
        self.open = False


@dataclass
class World:
    random: Random
    ports: Ports
    air: Air
    tables: MemoryTables
    log: MemoryRecordLog
    hub: Hub
    timeline: Timeline
    conversations: Conversations
    membership: Membership
    devices: list[Device] = field(default_factory=list)
    pushed: int = 0
    count: int = 0
    stays: dict[tuple[str, str], list[list[int]]] = field(default_factory=dict)
    """By conversation and user: numbers from and to which they were in, as the timeline says; to 0: still."""

    async def send(self, talk: str) -> None:
        self.count += 1
        await self._say(talk, Text(text=str(self.count)), f"m{self.count}")

    async def _say(self, talk: str, payload: Any, name: str) -> int:
        draft = Draft(message_id=f"{name:0>36}", conversation_id=talk, sender="ana", payload=payload)
        accepted = await self.timeline.accept(TENANT, draft, source="/test", traceparent=None)
        return accepted.message.seq

    async def add(self, talk: str, user: str) -> None:
        stays = self.stays[talk, user]
        if stays and stays[-1][1] == 0:
            return
        self.count += 1
        conversation = await self.conversations.get(TENANT, talk)
        assert conversation is not None
        stays.append([await self.timeline.head(TENANT, talk) + 1, 0])
        await self.membership.join(
            TENANT, conversation, user, "ana", cause=str(self.count), source="/test", traceparent=None
        )

    async def remove(self, talk: str, user: str) -> None:
        stays = self.stays[talk, user]
        if not stays or stays[-1][1]:
            return
        self.count += 1
        stays[-1][1] = await self._say(talk, System(action="removed", user_id=user, by="ana"), f"r{self.count}")
        await self.conversations.remove(TENANT, talk, user)

    async def push(self) -> None:
        push = new_push(self.ports)
        while self.pushed < len(self.log.records):
            record = self.log.records[self.pushed].event
            self.pushed += 1
            if not any(trigger.wants(record.attributes) for trigger in PUSH):
                continue
            with suppress(Unavailable):
                await push.handle(from_cloudevent(record, CATALOGUE))

    async def fate(self, what: str) -> None:
        if not self.air.hanging:
            return
        index = self.random.randrange(len(self.air.hanging))
        if what == "twice":
            await self.air.arrive(*self.air.hanging[index])
        taken = self.air.hanging.pop(index)
        if what != "lost":
            await self.air.arrive(*taken)

    async def connect(self, user: str) -> None:
        device = Device(user)
        self.devices.append(device)
        caller = Caller(
            tenant=TENANT,
            client_id="c",
            user_id=user,
            scopes=frozenset({"messages"}),
            epoch=1,
            expires_at=self.ports.clock.now() + timedelta(days=1),
        )
        device.session = await self.hub.open(Admission(caller, user), device)
        await self.hub.resume(device.session)

    async def leave(self) -> None:
        here = [device for device in self.devices if device.open and device.session is not None and device.ready]
        if here:
            device = self.random.choice(here)
            device.open = False
            assert device.session is not None
            await self.hub.close(device.session)

    async def acknowledge(self) -> None:
        for device in self.devices:
            for talk, got in device.got.items():
                if device.open and device.session is not None and device.session.person.is_in(talk):
                    self.hub.acknowledge(device.session, talk, ReceiptKind.DELIVERED, got[-1])

    async def settle(self) -> None:
        for _ in range(400):
            await asyncio.sleep(0)


@asynccontextmanager
async def world(random: Random) -> AsyncIterator[World]:
    clock, ids = SettableClock(), CountedIds()
    turns = 0

    async def others_first() -> None:
        for _ in range(random.randrange(turns + 1)):
            await asyncio.sleep(0)

    tables = MemoryTables(clock, checkpoint=others_first)
    log, air = MemoryRecordLog(), Air()
    nothing: Any = None
    fields = {name: nothing for name in Ports.__dataclass_fields__}
    ports = Ports(
        **fields
        | {
            "clock": clock,
            "ids": ids,
            "tables": tables,
            "outbox": AtomicOutbox(tables, log),
            "sink": log,
            "log": log,
            "cache": MemoryCache(),
            "fan_out": air,
        }
    )
    conversations = Conversations(tables, clock)
    timeline = Timeline(tables, ports.outbox, ports.cache, clock)
    membership = Membership(conversations, Cursors(tables), timeline, log, clock)
    limits = Limits(heartbeat=10_000, patience=0, connections=100)
    gateway = Hub(replace(new_realtime(ports)), limits)
    made = World(random, ports, air, tables, log, gateway, timeline, conversations, membership)
    for user in USERS:
        await Users(tables, clock).create(TENANT, User(user_id=user, created_at=clock.now(), updated_at=clock.now()))
    for talk in TALKS:
        conversation = Conversation(
            conversation_id=talk, type="group", created_at=clock.now(), created_by="ana", metadata={}
        )
        await conversations.create(TENANT, conversation, USERS)
        made.stays |= {(talk, user): [[1, 0]] for user in USERS}
    turns = 3
    await gateway.start()
    try:
        yield made
    finally:
        await gateway.stop()
        assert {device.open for device in made.devices} <= {False}


ACTIONS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(TALKS)),
    st.tuples(st.just("send"), st.sampled_from(TALKS)),
    st.tuples(st.just("fate"), st.sampled_from(["once", "once", "once", "twice", "lost"])),
    st.tuples(st.just("fate"), st.sampled_from(["once", "once", "once", "twice", "lost"])),
    st.tuples(st.just("connect"), st.sampled_from(USERS)),
    st.tuples(st.just("leave")),
    st.tuples(st.just("acknowledge")),
    st.tuples(st.just("remove"), st.sampled_from(TALKS), st.sampled_from(USERS[1:])),
    st.tuples(st.just("add"), st.sampled_from(TALKS), st.sampled_from(USERS[1:])),
    st.tuples(st.just("turn")),
    st.tuples(st.just("overflow")),
    st.tuples(st.just("wait")),
)


async def play(made: World, actions: list[tuple[str, ...]]) -> None:
    busy: list[asyncio.Task[None]] = []
    for name, *arguments in actions:
        if name == "wait":
            await asyncio.gather(*busy)
        elif name == "turn":
            await made.hub.turn()
        elif name == "overflow":
            made.air.listeners[0].losses += 1
        elif name in ("add", "remove"):
            await asyncio.gather(*busy)  # membership changes of one group come one after the other
            await getattr(made, name)(*arguments)
        else:
            busy.append(asyncio.ensure_future(getattr(made, name)(*arguments)))
        await made.push()
        for _ in range(made.random.randrange(4)):
            await asyncio.sleep(0)
    await asyncio.gather(*busy)
    await made.push()
    made.air.hanging.clear()  # the last ones are lost
    made.air.listeners[0].losses += 1
    for _ in range(60):
        await made.hub.turn()
    await made.settle()


def check(made: World, heads: dict[str, int]) -> None:
    for device in made.devices:
        for talk in TALKS:
            got = device.got.get(talk, [])
            assert got == sorted(set(got)), f"{device.user} in {talk} got {got}"
            stays = made.stays[talk, device.user]
            for seq in got:
                assert any(begin <= seq and (end == 0 or seq <= end) for begin, end in stays), (
                    f"{device.user} got {seq} of {talk}, in it by {stays}"
                )
            ends = [end or heads[talk] for _, end in stays]
            wanted = [
                seq for (begin, _), end in zip(stays, ends, strict=True) for seq in range(begin, end + 1)
                if got and got[0] <= seq <= (heads[talk] if device.open else got[-1])
            ]  # fmt: skip
            assert got == wanted, f"{device.user} in {talk} got {got}, not {wanted}; open: {device.open}; {stays}"
            if device.open and stays[-1][1] == 0 and not got:
                assert made.hub._hears(device.session, talk)  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(actions=st.lists(ACTIONS, min_size=30, max_size=60), seed=st.integers(0, 2**32 - 1))
def test_every_socket_gets_every_message_once_and_in_order(actions: list[tuple[str, ...]], seed: int) -> None:
    async def run() -> None:
        async with world(Random(seed)) as made:
            await play(made, actions)
            heads = {talk: await made.timeline.head(TENANT, talk) for talk in TALKS}
            check(made, heads)

    asyncio.run(run())


STEPS = st.one_of(
    st.tuples(st.just("send"), st.sampled_from(TALKS)),
    st.tuples(st.just("send"), st.sampled_from(TALKS)),
    st.tuples(st.just("connect"), st.sampled_from(USERS)),
    st.tuples(st.just("fate"), st.just("once")),
    st.tuples(st.just("leave")),
    st.tuples(st.just("wait")),
)


@settings(max_examples=25, deadline=None)
@given(actions=st.lists(STEPS, min_size=5, max_size=20), seed=st.integers(0, 2**32 - 1))
def test_where_nothing_is_lost_nobody_waits_for_a_heartbeat(actions: list[tuple[str, ...]], seed: int) -> None:
    """Not even for what was said while the first socket was being opened, when not everybody knows yet of it."""

    async def run() -> None:
        async with world(Random(seed)) as made:
            busy: list[asyncio.Task[None]] = []
            for name, *arguments in actions:
                if name == "wait":
                    await asyncio.gather(*busy)
                else:
                    busy.append(asyncio.ensure_future(getattr(made, name)(*arguments)))
                await made.push()
            await asyncio.gather(*busy)
            await made.push()
            while made.air.hanging:
                await made.fate("once")
            await asyncio.sleep(UNHEARD + 0.05)
            await made.settle()
            for device in made.devices:
                for talk in TALKS:
                    got, head = device.got.get(talk, []), await made.timeline.head(TENANT, talk)
                    assert not device.open or got == list(range(1, head + 1)), f"{device.user} got {got} of {head}"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub, "_UNHEARD", UNHEARD)
        asyncio.run(run())


async def test_what_was_accepted_before_it_was_known_that_somebody_listens_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub, "_UNHEARD", UNHEARD)
    async with world(Random(0)) as made:
        look, connected = Listeners.any_of, asyncio.Event()

        async def look_and_wait(self: Listeners, tenant: str) -> bool:
            found = await look(self, tenant)
            await connected.wait()
            return found

        monkeypatch.setattr(Listeners, "any_of", look_and_wait)
        sending = asyncio.create_task(made.send("t1"))
        await made.settle()
        assert not sending.done(), "it has looked, and is not kept yet"
        await made.connect("ana")
        connected.set()
        await sending
        await made.push()
        (device,) = made.devices
        pushed = [msgspec.json.decode(frame)["type"] for _, frame in made.air.hanging]
        assert (device.got, "message" in pushed) == ({}, False)
        await asyncio.sleep(UNHEARD + 0.05)
        await made.settle()
        assert device.got == {"t1": [1]}

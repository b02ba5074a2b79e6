"""The hub and the wires of one gateway, where time, a store that is away or a reader that stalls matter (A12, A13)."""

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import fields
from datetime import timedelta
from itertools import count, repeat
from typing import Any

import msgspec
import pytest
from websockets.client import ClientProtocol
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from functions.realtime import hub as hubs
from functions.realtime import stream as streams
from functions.realtime.coalescing import Coalescing
from functions.realtime.func import new as new_realtime
from functions.realtime.gate import Gate, same_origin
from functions.realtime.gateway import Gateway
from functions.realtime.hub import Hub
from functions.realtime.outgoing import Outgoing, said
from functions.realtime.session import Limits
from functions.realtime.stream import Stream
from shared.adapters.memory.cache import MemoryCache
from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.fan_out import MemoryFanOut
from shared.adapters.memory.ids import CountedIds
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.memory.tables import Fault, MemoryTables
from shared.domain.errors import RateLimited, Unauthenticated, Unavailable
from shared.domain.identity import User
from shared.domain.presence import OFFLINE_AFTER
from shared.http.authenticator import Authenticator
from shared.http.caller import Caller
from shared.http.live_socket import EXTENSION, LiveSocket
from shared.http.rate_limit import Limits as RateLimits
from shared.http.rate_limit import RateLimiter
from shared.http.tickets import Admission, Tickets
from shared.observability import metrics
from shared.ports import Ports
from shared.ports.tables import Table
from shared.repositories.clients import Clients
from shared.repositories.listeners import REMEMBERED, Listeners
from shared.repositories.schema import LISTENERS
from shared.repositories.users import Users
from shared.runtime.http_face import sockets_of
from shared.settings import load_settings
from shared.testing.api import FastHasher

TENANT, USER = "acme", "ana"
LIMITS = Limits(heartbeat=10_000, patience=0)
"""Ticks are the test's to make."""


class House:
    def __init__(self) -> None:
        self.clock, self.away = SettableClock(), False
        self.refused: tuple[str, str] | None = None
        self.lost: tuple[str, str] | None = None
        self.asked: Counter[tuple[str, str]] = Counter()
        self.tables = MemoryTables(self.clock, fault=self.ask)
        nothing: dict[str, Any] = dict.fromkeys(field.name for field in fields(Ports))
        log = MemoryRecordLog()
        used = {
            "clock": self.clock,
            "ids": CountedIds(),
            "tables": self.tables,
            "sink": log,
            "log": log,
            "cache": MemoryCache(),
            "fan_out": MemoryFanOut(),
            "hasher": FastHasher(),
        }
        self.ports = Ports(**nothing | used)
        self.realtime = new_realtime(self.ports)
        self.hub = Hub(self.realtime, LIMITS)

    def ask(self, method: str, table: Table) -> Fault | None:
        self.asked[method, table.name] += 1
        if self.lost == (method, table.name):
            return Fault.LOST_ANSWER
        return Fault.UNREACHED if self.away or self.refused == (method, table.name) else None

    async def admission(self) -> Admission:
        now = self.clock.now()
        await Users(self.tables, self.clock).create(TENANT, User(user_id=USER, created_at=now, updated_at=now))
        client = await Clients(self.tables, self.clock, FastHasher()).create(TENANT, "c", "secret")
        caller = Caller(
            tenant=TENANT,
            client_id="c",
            user_id=USER,
            scopes=frozenset({"messages"}),
            epoch=client.epoch,
            expires_at=now + timedelta(hours=1),
        )
        return Admission(caller, USER)

    async def heartbeats(self, count: int, of: int = 1) -> None:
        """``count`` of them, or of their parts of which there are ``of``."""
        for _ in range(28 * count // of):
            self.hub._ticks += 1
            await self.hub.turn()


@pytest.fixture
async def house():
    made = House()
    await made.hub.start()
    yield made
    made.away = False
    await made.hub.stop()


class Said:
    """What a client was sent."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []

    def write(self, frame: Outgoing) -> bool:
        self.frames.append(msgspec.json.decode(frame.json))
        return True

    def ping(self, frame: Outgoing) -> bool:
        return False

    async def drained(self) -> None:
        return

    def end(self, code: int, reason: str) -> None:
        return


class Wire:
    """``answers``: whether its pings could be answered; nobody ever does."""

    def __init__(self, answers: bool) -> None:
        self.answers, self.code, self.pings = answers, 0, 0

    def write(self, frame: Outgoing) -> bool:
        return not self.code

    def ping(self, frame: Outgoing) -> bool:
        self.pings += 1
        return self.answers

    async def drained(self) -> None:
        return

    def end(self, code: int, reason: str) -> None:
        self.code = code


@pytest.mark.parametrize(("answers", "code"), [(True, 4410), (False, 0)])
async def test_only_who_could_answer_a_ping_is_cut_for_silence(house, answers, code):
    wire = Wire(answers)
    await house.hub.open(await house.admission(), wire)
    await house.heartbeats(4)
    assert (wire.code, wire.pings >= 2) == (code, True)


async def test_the_socket_that_is_silent_longest_gives_way_to_a_new_one(house):
    """A device that lost its network holds a place until its second ping is not answered."""
    admission, wires = await house.admission(), [Wire(answers=True) for _ in range(10)]
    sessions = [await house.hub.open(admission, wire) for wire in wires]
    for tick in range(1, 37):
        await house.heartbeats(1, of=28)
        for number, session in enumerate(sessions):
            if number != 3 and (number != 5 or tick == 1):
                house.hub.sign_of_life(session)
        if tick <= 34:
            with pytest.raises(RateLimited):
                await house.hub.open(admission, Wire(answers=True))
    for silent in (3, 5):
        await house.hub.open(admission, Wire(answers=True))
        assert wires[silent].code == 4410
        assert sessions[silent] not in sessions[0].person.sessions
    with pytest.raises(RateLimited):
        await house.hub.open(admission, Wire(answers=True))
    assert [wire.code for wire in wires].count(0) == 8


@pytest.mark.parametrize(("code", "reason"), [(4410, "silent"), (4401, "expired")])
async def test_an_ended_socket_that_nobody_has_cleaned_up_holds_no_place(house, monkeypatch, code, reason):
    admission, wires = await house.admission(), [Wire(answers=True) for _ in range(10)]
    sessions = [await house.hub.open(admission, wire) for wire in wires]
    cut: list[str] = []
    monkeypatch.setattr(metrics, "socket_cut", cut.append)
    await house.heartbeats(1)
    sessions[4].end(code, reason)
    await house.hub.open(admission, Wire(answers=True))
    assert (sessions[4] in sessions[0].person.sessions, cut) == (False, [])
    assert [wire.code for wire in wires].count(0) == 9
    with pytest.raises(RateLimited):
        await house.hub.open(admission, Wire(answers=True))


async def test_a_stream_answers_nothing_and_gives_way_to_nobody(house):
    admission = await house.admission()
    for _ in range(10):
        await house.hub.open(admission, Wire(answers=False))
    await house.heartbeats(3)
    with pytest.raises(RateLimited):
        await house.hub.open(admission, Wire(answers=True))


async def test_idle_sockets_ask_for_their_user_once_in_two_heartbeats_however_many_they_are(house):
    admission = await house.admission()
    for _ in range(5):
        await house.hub.open(admission, Wire(answers=False))
    house.asked.clear()
    await house.heartbeats(8)
    assert house.asked["get", "users"] == house.asked["slice", "memberships"] == 4


async def test_a_gateway_that_was_held_up_says_anew_whom_it_holds(house):
    """Its users were forgotten meanwhile, and stayed offline for as long as their sockets lived."""
    await house.hub.open(await house.admission(), Wire(answers=False))
    await asyncio.sleep(0.05)
    presence = house.realtime.presence
    assert (await presence.of(TENANT, USER)).status == "online"
    house.clock.advance(OFFLINE_AFTER)
    assert await presence.expire() == 1
    await presence.beat(house.hub.gateway)
    assert (await presence.of(TENANT, USER)).status == "offline"
    await house.heartbeats(3)
    await asyncio.sleep(0.05)
    assert (await presence.of(TENANT, USER)).status == "online"


async def test_a_tenant_is_heard_from_before_its_first_socket_reads_until_a_while_after_its_last(house, monkeypatch):
    """Where nobody listens nobody is woken to push (ADR 0042)."""
    listeners, admission = Listeners(house.tables, monotonic=lambda: next(later)), await house.admission()
    later = count(step=2 * REMEMBERED)
    assert not await listeners.any_of(TENANT)
    sessions = [await house.hub.open(admission, Wire(answers=False)) for _ in range(2)]
    assert await listeners.any_of(TENANT)
    for session in sessions:
        await house.hub.close(session)
    await house.heartbeats(1)
    assert await listeners.any_of(TENANT), "whoever lost their connection comes back"
    monkeypatch.setattr(hubs, "_LINGER", 0.0)
    await house.heartbeats(1)
    assert not await listeners.any_of(TENANT)
    await house.hub.open(admission, Wire(answers=False))
    assert await listeners.any_of(TENANT)


async def test_no_socket_is_open_of_whom_nobody_knows_that_they_listen(house):
    admission = await house.admission()
    house.refused = ("put", "listeners")
    with pytest.raises(Unavailable):
        await house.hub.open(admission, Wire(answers=False))
    house.refused = None
    await house.hub.open(admission, Wire(answers=False))
    assert await Listeners(house.tables).any_of(TENANT)


async def test_a_tenant_that_comes_back_while_it_is_let_go_is_heard(house, monkeypatch):
    async def slowly() -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    admission = await house.admission()
    await house.hub.close(await house.hub.open(admission, Wire(answers=False)))
    monkeypatch.setattr(hubs, "_LINGER", 0.0)
    monkeypatch.setattr(house.tables, "checkpoint", slowly)
    leaving = asyncio.create_task(house.heartbeats(1))
    for _ in range(1000):
        if house.asked["delete", "listeners"]:
            break
        await asyncio.sleep(0)
    assert house.asked["delete", "listeners"]
    opening = asyncio.create_task(house.hub.open(admission, Wire(answers=False)))
    await asyncio.gather(leaving, opening)
    assert await Listeners(house.tables).any_of(TENANT)


async def test_a_gateway_that_somebody_has_forgotten_says_anew_whose_sockets_it_holds(house):
    """It was away for long, or a backup was restored: nothing was pushed to it, and its clients are told so."""
    await house.hub.open(await house.admission(), Wire(answers=False))
    epoch, listeners = house.hub.epoch, Listeners(house.tables)
    await listeners.closed(TENANT, house.hub.gateway)
    await house.heartbeats(3)
    assert await listeners.any_of(TENANT)
    assert house.hub.epoch != epoch
    epoch = house.hub.epoch
    await house.heartbeats(3)
    assert house.hub.epoch == epoch


async def test_while_a_gateway_is_not_known_to_listen_nobody_is_told_that_nothing_is_missing(house):
    """What the store did not take is written when the next user opens a socket: until then nothing was pushed."""
    admission = await house.admission()
    session = await house.hub.open(admission, Wire(answers=False))
    await Listeners(house.tables).closed(TENANT, house.hub.gateway)
    house.refused = ("put", "listeners")
    with pytest.raises(Unavailable):
        await house.heartbeats(3)
    between = Said()
    await house.hub.resume(session)
    epoch, offset = house.hub.epoch, house.hub.offset
    await house.hub.close(session)
    house.refused = None
    await house.hub.resume(await house.hub.open(admission, between), epoch=epoch, offset=offset)
    assert between.frames[-1]["recovered"] is False


async def test_many_users_of_a_tenant_ask_once_whether_it_is_still_heard(house, monkeypatch):
    admission = await house.admission()
    monkeypatch.setattr(house.hub, "_next_slot", repeat(0))
    for number in range(20):
        user = f"u{number}"
        now = house.clock.now()
        await Users(house.tables, house.clock).create(TENANT, User(user_id=user, created_at=now, updated_at=now))
        await house.hub.open(Admission(admission.caller, user), Wire(answers=False))
    house.asked.clear()
    await house.heartbeats(8)
    assert house.asked["get", "users"] == 20 * house.asked["get", "listeners"] == 80


async def test_a_stop_takes_along_what_it_can(house, monkeypatch):
    """One row that cannot be taken away holds up no other."""
    listeners = type(house.realtime.listeners)
    closed = listeners.closed

    async def fails_for_acme(self: Any, tenant: str, gateway: str) -> None:
        if tenant == TENANT:
            raise Unavailable("not now")
        await closed(self, tenant, gateway)

    await house.hub.open(await house.admission(), Wire(answers=False))
    for number in range(20):
        await house.hub._tenants.hear(f"t{number}")
    monkeypatch.setattr(listeners, "closed", fails_for_acme)
    await house.hub.stop()
    assert [row["tenant"] for row in house.tables.rows(LISTENERS)] == [TENANT]


async def test_a_gateway_that_could_not_say_that_it_lives_looks_for_what_it_missed(monkeypatch):
    monkeypatch.setattr(hubs, "GATEWAY_BEAT", timedelta(seconds=0.01))
    house = House()
    await house.hub.start()
    await house.hub.open(await house.admission(), Wire(answers=False))
    epoch = house.hub.epoch
    house.refused = ("put", "gateways")
    monkeypatch.setattr(hubs, "OFFLINE_AFTER", timedelta(seconds=0.05))
    await asyncio.sleep(0.2)
    assert house.hub.epoch == epoch
    house.refused = None
    await asyncio.sleep(0.2)
    assert house.hub.epoch != epoch
    await house.hub.stop()


async def test_a_tenant_that_could_not_be_let_go_is_let_go_later(house, monkeypatch):
    """Or its events would wake somebody for nothing for as long as this gateway lives."""
    session = await house.hub.open(await house.admission(), Wire(answers=False))
    await house.hub.close(session)
    monkeypatch.setattr(hubs, "_LINGER", 0.0)
    house.refused = ("delete", "listeners")
    with pytest.raises(Unavailable):
        await house.heartbeats(1)
    assert house.tables.rows(LISTENERS)
    house.refused = None
    await house.heartbeats(1)
    assert not house.tables.rows(LISTENERS)


async def test_what_was_written_for_a_socket_that_did_not_open_is_let_go(house, monkeypatch):
    admission = await house.admission()
    house.lost = ("put", "listeners")
    with pytest.raises(Unavailable):
        await house.hub.open(admission, Wire(answers=False))
    house.lost = None
    assert house.tables.rows(LISTENERS)
    monkeypatch.setattr(hubs, "_LINGER", 0.0)
    await house.heartbeats(2)
    assert not house.tables.rows(LISTENERS)


async def test_a_gateway_that_stops_holds_nobody(house):
    await house.hub.open(await house.admission(), Wire(answers=False))
    assert house.tables.rows(LISTENERS)
    await house.hub.stop()
    assert not house.tables.rows(LISTENERS)


async def test_the_next_gateway_of_a_tenant_cleans_up_after_the_dead(house, monkeypatch):
    monkeypatch.setattr(hubs, "_UNHEARD", 0.0)
    await Listeners(house.tables).opened(TENANT, "killed")
    await house.hub.open(await house.admission(), Wire(answers=False))
    await asyncio.sleep(0.05)
    assert [row["gateway"] for row in house.tables.rows(LISTENERS)] == [house.hub.gateway]


async def test_whoever_is_heard_anew_is_not_told_that_they_have_missed_nothing(house, monkeypatch):
    """They were heard no longer for a while, in which this gateway told nobody anything."""
    admission = await house.admission()
    session = await house.hub.open(admission, Wire(answers=False))
    epoch, offset = house.hub.epoch, house.hub.offset
    await house.hub.resume(session, epoch=epoch, offset=offset)
    await house.hub.close(session)
    wire = Said()
    back = await house.hub.open(admission, wire)
    await house.hub.resume(back, epoch=epoch, offset=offset)
    assert wire.frames[-1]["recovered"] is True
    await house.hub.close(back)
    monkeypatch.setattr(hubs, "_LINGER", 0.0)
    await house.heartbeats(1)
    late = Said()
    await house.hub.resume(await house.hub.open(admission, late), epoch=epoch, offset=offset)
    assert late.frames[-1]["recovered"] is False


async def test_who_is_erased_is_closed_at_once_and_if_nobody_told_within_three_heartbeats(house):
    told, untold = Wire(answers=False), Wire(answers=False)
    admission = await house.admission()
    session = await house.hub.open(admission, told)
    await house.ports.fan_out.publish(session.person.subject, b'{"type":"erased"}')
    await asyncio.sleep(0.05)
    assert told.code == 4401
    await house.hub.close(session)
    await house.hub.open(admission, untold)
    await Users(house.tables, house.clock).bury(TENANT, USER)
    await house.heartbeats(3)
    assert untold.code == 4401


async def test_who_was_erased_opens_nothing_by_what_was_issued_before(house):
    """A ticket, or a token that is remembered: nobody tells of the erasure a second time."""
    admission = await house.admission()
    ticket = await house.realtime.tickets.issue(admission, None)
    session = await house.hub.open(admission, Wire(answers=False))
    await Users(house.tables, house.clock).bury(TENANT, USER)
    await house.ports.fan_out.publish(session.person.subject, b'{"type":"erased"}')
    await asyncio.sleep(0.05)
    for again in (admission, await house.realtime.tickets.redeem(ticket, None)):
        with pytest.raises(Unauthenticated):
            await house.hub.open(again, Wire(answers=False))
    assert session.person.sessions <= {session}


async def test_an_interruption_has_users_looked_after_by_and_by_and_whom_it_failed_for_again(house):
    """All at once they would hold up pings, expiry and revocation."""
    await house.hub.open(await house.admission(), Wire(answers=False))
    house.asked.clear()
    house.hub._ticks, house.hub._losses = 1, -1
    await house.hub.turn()
    assert not house.asked["get", "users"], "its socket has the slot 0"
    house.away, house.hub._ticks = True, 28
    with suppress(Unavailable):
        await house.hub.turn()
    house.away = False
    house.asked.clear()
    await house.heartbeats(1)
    assert house.asked["get", "users"] == 1


async def test_a_client_that_is_switched_off_is_gone_from_all_its_sockets_within_seconds(house):
    wires = [Wire(answers=False) for _ in range(5)]
    admission = await house.admission()
    for wire in wires:
        await house.hub.open(admission, wire)
    await Clients(house.tables, house.clock, FastHasher()).ensure(TENANT, "c", "another secret")
    for _ in range(4):  # 3.6 s
        house.hub._ticks += 1
        await house.hub.turn()
    assert {wire.code for wire in wires} == {4401}


async def test_a_stream_answers_no_ping():
    assert Stream(None, {}, 50).ping(said("ping")) is False


async def test_an_expired_token_ends_its_socket_while_the_store_is_away(house):
    wire = Wire(answers=False)
    await house.hub.open(await house.admission(), wire)
    house.away = True
    house.clock.advance(timedelta(hours=2))
    for _ in range(28):
        house.hub._ticks += 1
        try:
            await house.hub.turn()
        except Unavailable:
            continue
    assert wire.code == 4401


async def test_a_frame_that_breaks_something_keeps_nobody_from_hearing_the_next(house, monkeypatch):
    wire = Wire(answers=False)
    session = await house.hub.open(await house.admission(), wire)
    heard: list[bytes] = []

    def arrived(subject: str, frame: bytes) -> None:
        heard.append(frame)
        if frame == b"1":
            raise KeyError("a bug")

    monkeypatch.setattr(house.hub, "_arrived", arrived)
    for frame in (b"1", b"2"):
        await house.ports.fan_out.publish(session.person.subject, frame)
    async with asyncio.timeout(5):
        while heard != [b"1", b"2"]:  # noqa: ASYNC110  what is waited for is inside the hub or the stream
            await asyncio.sleep(0)


async def test_a_beat_that_breaks_is_not_the_last(house, monkeypatch):
    beats: list[str] = []

    async def beat(gateway: str) -> None:
        beats.append(gateway)
        raise RuntimeError("odd")

    monkeypatch.setattr(type(house.realtime.presence), "beat", lambda _, gateway: beat(gateway))
    monkeypatch.setattr("functions.realtime.hub.GATEWAY_BEAT", timedelta())
    live = asyncio.ensure_future(house.hub._live())
    async with asyncio.timeout(5):
        while len(beats) < 3:  # noqa: ASYNC110  what is waited for is inside the hub or the stream
            await asyncio.sleep(0)
    live.cancel()


async def test_what_could_not_be_done_is_not_tried_again_at_once(monkeypatch, caplog):
    monkeypatch.setattr("functions.realtime.coalescing._AGAIN", 0.1)
    tries = 0
    done = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def handle(key: str, value: int) -> None:
        nonlocal tries
        tries += 1
        if loop.time() < began + 0.25:
            raise Unavailable("away")
        done.set()

    began = loop.time()
    work: Coalescing[str, int] = Coalescing(handle, every=0.0)
    work.put("k", 1)
    work.start()
    async with asyncio.timeout(5):
        await done.wait()
    await work.stop()
    assert tries <= 4


async def test_a_reader_that_stalls_does_not_keep_its_stream_for_ever(monkeypatch):
    monkeypatch.setattr(streams, "_PATIENCE", 0.05)
    never = asyncio.Event()
    sent: list[str] = []

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if len(sent) > 1:
            await never.wait()

    async def begin() -> None:
        await asyncio.sleep(0)

    async def receive() -> Any:
        await never.wait()

    stream = Stream(send, {}, 50)
    serving = asyncio.ensure_future(stream.serve(receive, begin()))
    async with asyncio.timeout(5):
        while len(sent) < 2:  # noqa: ASYNC110  what is waited for is inside the hub or the stream
            await asyncio.sleep(0)
        stream.end(4401, "expired")
        await serving


async def test_a_stream_still_says_why_it_ends():
    never, sent = asyncio.Event(), []

    async def send(message: Any) -> None:
        sent.append(message)

    async def begin() -> None:
        stream.write(said("error", code="x"))
        stream.end(4401, "expired")

    async def receive() -> Any:
        await never.wait()

    stream = Stream(send, {}, 50)
    async with asyncio.timeout(5):
        await stream.serve(receive, begin())
    body = b"".join(message.get("body", b"") for message in sent)
    assert b'"code":"x"' in body
    assert sent[-1] == {"type": "http.response.body", "body": b""}


@pytest.mark.parametrize("origin", [b"http://[", b"http://[::1", "http://\u2100.example".encode("latin-1", "replace")])
def test_an_origin_that_is_no_url_is_foreign(origin):
    assert not same_origin({"headers": [(b"origin", origin), (b"host", b"here")]}, frozenset())


@pytest.mark.parametrize(
    ("allowed", "origin", "same"),
    [
        ("https://app.example:443", "https://app.example", True),
        ("https://app.example", "https://app.example:443", True),
        ("http://app.example:80, https://b.example", "http://app.example", True),
        ("HTTPS://App.Example/", "https://app.example", True),
        ("https://app.example:8443", "https://app.example", False),
        ("https://app.example", "http://app.example", False),
        ("https://app.example", "https://app.example:0", False),
        ("app://desktop", "app://desktop", True),
        ("null", "null", True),
        ("http://[, https://app.example", "https://app.example", True),
        ("*", "http://[", True),
        ("", "null", False),
    ],
)
def test_a_port_of_an_allowed_origin_may_be_named_or_not(allowed, origin, same):
    origins = sockets_of(load_settings(allowed_origins=allowed)).origins
    assert same_origin({"headers": [(b"origin", origin.encode()), (b"host", b"here")]}, origins) is same


@pytest.mark.parametrize(
    ("host", "origin", "same"),
    [
        ("here:443", "https://here", True),
        ("here", "https://here:443", True),
        ("here", "https://here:0", False),
        ("here:0", "https://here", False),
        ("here", "http://here", True),
        ("[::1]:443", "https://[::1]", True),
        ("", "https://", False),
        ("HERE", "https://here", True),
    ],
)
def test_a_page_of_this_host_is_one_of_its_port(host, origin, same):
    assert same_origin({"headers": [(b"origin", origin.encode()), (b"host", host.encode())]}, frozenset()) is same


async def test_a_stream_of_a_page_of_this_host_sends_no_origin_and_a_socket_does(house):
    admission = await house.admission()
    tickets = Tickets(house.ports.cache, house.ports.ids, house.clock)
    page = "https://here.example"
    assert await tickets.redeem(await tickets.issue(admission, page), None, by_get=True) == admission
    for origin, by_get in ((None, False), ("https://other.example", True)):
        with pytest.raises(Unauthenticated):
            await tickets.redeem(await tickets.issue(admission, page), origin, by_get=by_get)
    limiter = RateLimiter.of(house.ports, RateLimits())
    gate = Gate(house.realtime, Authenticator.of(house.ports), limiter, Limits())
    for kind, admitted in (("http", True), ("websocket", False)):
        ticket = await tickets.issue(admission, page)
        scope = {"type": kind, "headers": [], "query_string": f"ticket={ticket}".encode(), "state": {}}
        try:
            assert (await gate.admission(scope) == admission) is admitted
        except Unauthenticated:
            assert not admitted


async def test_so_many_sockets_of_an_address_may_be_open_before_they_say_whose_they_are(house):
    """Whatever is allowed by the minute (E11)."""
    limiter = RateLimiter.of(house.ports, RateLimits())
    gateway = Gateway(house.realtime, Authenticator.of(house.ports), limiter, Limits(unproven=2))

    class Visitor:
        def __init__(self, address):
            self.says, self.told = asyncio.Queue(), []
            self.says.put_nowait({"type": "websocket.connect"})
            scope = {
                "type": "websocket",
                "path": "/ws",
                "headers": [],
                "query_string": b"",
                "client": (address, 1),
                "extensions": {EXTENSION: None},
            }
            self.task = asyncio.create_task(gateway(scope, self.says.get, self.hear))

        async def hear(self, message):
            self.told.append((message["type"], message.get("status")))

    async def told(*visitors):
        await asyncio.sleep(0.02)
        return [visitor.told[0] for visitor in visitors]

    accepted, refused = ("websocket.accept", None), ("websocket.http.response.start", 429)
    visitors = [Visitor("203.0.113.1") for _ in range(3)]
    assert await told(*visitors) == [accepted, accepted, refused]
    assert await told(Visitor("203.0.113.2")) == [accepted]
    visitors[0].says.put_nowait({"type": "websocket.disconnect", "code": 1000})
    await visitors[0].task
    assert await told(Visitor("203.0.113.1")) == [accepted]


def test_pongs_go_the_bounded_way():
    """A client that sends pings and never reads is cut as any slow reader is."""
    socket = LiveSocket.__new__(LiveSocket)
    written: list[bytes] = []
    socket.conn = ServerProtocol()
    client = ClientProtocol(parse_uri("ws://here/"))
    client.send_request(client.connect())
    socket.conn.receive_data(b"".join(client.data_to_send()))
    (request,) = socket.conn.events_received()
    socket.conn.send_response(socket.conn.accept(request))
    client.receive_data(b"".join(socket.conn.data_to_send()))
    for payload in (b"a", b"b"):
        client.send_ping(payload)
    socket.conn.receive_data(b"".join(client.data_to_send()))
    socket.write = lambda frame: bool(written.append(frame)) or True
    for _ in socket.conn.events_received():
        socket.handle_ping()
    assert written == [b"\x8a\x01a\x8a\x01b"]

"""Who is there, by heartbeats and by sockets, and who is told of it (A14)."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from events.vocabulary import PresenceStatus
from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.memory.tables import MemoryTables
from shared.domain.errors import Unavailable
from shared.domain.presence import GATEWAY_BEAT, OFFLINE_AFTER
from shared.ports.tables import Put
from shared.repositories.presence import Presence, _partition
from shared.repositories.schema import PRESENT_DEVICES
from shared.ticks import BUDGET

ONLINE, AWAY, OFFLINE = PresenceStatus.ONLINE, PresenceStatus.AWAY, PresenceStatus.OFFLINE
MOMENT = timedelta(milliseconds=1)


@dataclass
class World:
    clock: SettableClock
    log: MemoryRecordLog
    presence: Presence
    tables: MemoryTables

    async def told(self) -> list[str]:
        return [record.event.data.decode().split('"status":"')[1].split('"')[0] for record in self.log.records]

    async def standing(self) -> tuple[PresenceStatus, datetime | None]:
        found = await self.presence.of("acme", "ana")
        return found.status, found.last_seen

    async def beat(self, status: PresenceStatus = ONLINE, device: str = "phone") -> None:
        await self.presence.heartbeat("acme", "ana", device, status)

    async def pass_time(self, by: timedelta) -> None:
        self.clock.advance(by)
        await self.presence.expire()


@pytest.fixture
def world() -> World:
    clock, log = SettableClock(), MemoryRecordLog()
    tables = MemoryTables(clock)
    return World(clock, log, Presence(tables, log, clock), tables)


async def test_nobody_is_there_who_never_was(world):
    assert await world.standing() == (OFFLINE, None)


async def test_a_heartbeat_holds_for_thirty_seconds(world):
    began = world.clock.now()
    await world.beat()
    world.clock.advance(OFFLINE_AFTER - MOMENT)
    assert await world.standing() == (ONLINE, began)
    world.clock.advance(MOMENT)
    assert await world.standing() == (OFFLINE, began)


async def test_only_a_change_is_told_and_its_end_is_noticed(world):
    for _ in range(5):
        await world.beat()
        await world.pass_time(timedelta(seconds=10))
    assert await world.told() == ["online"]
    await world.pass_time(OFFLINE_AFTER)
    assert await world.told() == ["online", "offline"]
    await world.pass_time(OFFLINE_AFTER)
    assert await world.told() == ["online", "offline"]


async def test_a_user_is_as_present_as_their_most_present_device(world):
    await world.beat(AWAY, "phone")
    assert (await world.standing())[0] is AWAY
    await world.beat(ONLINE, "laptop")
    assert (await world.standing())[0] is ONLINE
    await world.beat(OFFLINE, "laptop")
    assert (await world.standing())[0] is AWAY
    assert await world.told() == ["away", "online", "away"]


async def test_a_goodbye_is_told_at_once_and_is_when_they_were_last_seen(world):
    await world.beat()
    world.clock.advance(5)
    await world.beat(OFFLINE)
    assert await world.standing() == (OFFLINE, world.clock.now())
    assert await world.told() == ["online", "offline"]


async def test_an_open_socket_lasts_as_long_as_its_gateway_lives(world):
    await world.presence.beat("g1")
    await world.presence.opened("acme", "ana", "g1")
    for _ in range(30):
        await world.pass_time(GATEWAY_BEAT)
        await world.presence.beat("g1")
    assert await world.standing() == (ONLINE, world.clock.now())
    assert await world.told() == ["online"]


async def test_a_socket_that_ends_leaves_thirty_seconds_to_come_back(world):
    await world.presence.beat("g1")
    await world.presence.opened("acme", "ana", "g1")
    await world.presence.closed("acme", "ana", "g1")
    await world.pass_time(OFFLINE_AFTER - MOMENT)
    await world.presence.beat("g2")
    await world.presence.opened("acme", "ana", "g2")
    await world.pass_time(timedelta(seconds=20))
    assert await world.told() == ["online"]
    await world.presence.closed("acme", "ana", "g2")
    await world.pass_time(OFFLINE_AFTER)
    assert await world.told() == ["online", "offline"]


async def test_whoever_a_dead_gateway_held_is_offline_thirty_seconds_after_it_was_last_alive(world):
    await world.presence.beat("g1")
    await world.presence.opened("acme", "ana", "g1")
    world.clock.advance(GATEWAY_BEAT)
    await world.presence.beat("g1")
    died = world.clock.now()
    await world.pass_time(OFFLINE_AFTER - MOMENT)
    assert (await world.standing())[0] is ONLINE
    await world.pass_time(MOMENT)
    assert await world.standing() == (OFFLINE, died)
    assert await world.told() == ["online", "offline"]


async def test_many_users_are_found_in_pages(world, monkeypatch):
    monkeypatch.setattr("shared.repositories.presence._PAGE", 2)
    for number in range(60):
        await world.presence.heartbeat("acme", f"user-{number}", "phone", ONLINE)
    world.clock.advance(OFFLINE_AFTER)
    assert await world.presence.expire() == 60
    assert await world.presence.expire() == 0


async def test_what_one_look_has_no_time_for_the_next_begins_with(world):
    for number in range(60):
        await world.presence.heartbeat("acme", f"user-{number}", "phone", ONLINE)
    world.clock.advance(OFFLINE_AFTER)
    emit = world.log.emit

    async def slowly(*events):
        world.clock.advance(1)
        await emit(*events)

    world.log.emit = slowly
    changed = [await world.presence.expire() for _ in range(6)]
    assert sum(changed) == 60
    assert max(changed) <= BUDGET.total_seconds()
    assert (await world.told()).count("offline") == 60


async def test_who_fell_silent_while_the_broker_was_away_is_told_of_when_it_is_back(world):
    """Their devices went before it was told, and no later look found them."""
    await world.beat()
    emit = world.log.emit

    async def away(*events):
        raise Unavailable("the broker is down")

    world.log.emit = away
    with pytest.raises(Unavailable):
        await world.pass_time(OFFLINE_AFTER)
    world.log.emit = emit
    await world.pass_time(OFFLINE_AFTER)
    assert await world.told() == ["online", "offline"]


async def test_a_heartbeat_that_goes_with_a_silent_device_is_not_what_stays(world, monkeypatch):
    await world.beat()
    delete = world.tables.delete

    async def beats_before(*arguments):
        monkeypatch.setattr(world.tables, "delete", delete)
        await world.beat()
        await delete(*arguments)

    monkeypatch.setattr(world.tables, "delete", beats_before)
    await world.pass_time(OFFLINE_AFTER)
    assert (await world.told())[-1] == "offline"
    await world.beat()
    assert (await world.told())[-1] == "online"


async def test_who_opens_a_socket_while_they_are_forgotten_stays(world, monkeypatch):
    """The row of before had been read, and went by its key with what the gateway had written since, and writes once."""
    await world.presence.beat("g1")
    await world.presence.opened("acme", "ana", "g1")
    await world.presence.closed("acme", "ana", "g1")
    world.clock.advance(OFFLINE_AFTER)
    await world.presence.beat("g1")
    piece = world.tables.slice

    async def opens_after(*arguments, **more):
        found = await piece(*arguments, **more)
        if found and arguments[0] is PRESENT_DEVICES:
            monkeypatch.setattr(world.tables, "slice", piece)
            await world.presence.opened("acme", "ana", "g1")
        return found

    monkeypatch.setattr(world.tables, "slice", opens_after)
    assert await world.presence.expire() == 0
    for _ in range(6):
        await world.pass_time(GATEWAY_BEAT)
        await world.presence.beat("g1")
    assert (await world.standing())[0] is ONLINE
    assert await world.told() == ["online"]


async def test_whose_gateway_comes_back_while_they_are_forgotten_stays(world, monkeypatch):
    await world.presence.beat("g1")
    await world.presence.opened("acme", "ana", "g1")
    world.clock.advance(OFFLINE_AFTER)
    emit = world.log.emit

    async def beats_after(*events):
        await emit(*events)
        monkeypatch.setattr(world.log, "emit", emit)
        await world.presence.beat("g1")

    monkeypatch.setattr(world.log, "emit", beats_after)
    assert await world.presence.expire() == 0
    assert (await world.standing())[0] is ONLINE
    assert await world.told() == ["online", "offline", "online"]


async def test_a_gateway_sees_whether_it_still_answers_for_a_user(world):
    await world.presence.beat("g1")
    assert not await world.presence.holds("acme", "ana", "g1")
    await world.presence.opened("acme", "ana", "g1")
    assert await world.presence.holds("acme", "ana", "g1")
    assert not await world.presence.holds("acme", "ana", "g2")
    await world.presence.closed("acme", "ana", "g1")
    assert not await world.presence.holds("acme", "ana", "g1")


async def test_the_devices_of_one_user_may_fill_several_pages(world, monkeypatch):
    """A page went on behind its last user, and left out what did not fit of theirs."""
    monkeypatch.setattr("shared.repositories.presence._PAGE", 2)
    for number in range(7):
        await world.beat(device=f"phone-{number}")
    world.clock.advance(OFFLINE_AFTER)
    await world.beat(device="phone-5")
    assert await world.presence.expire() == 0
    partition = _partition("acme", "ana")
    left = await world.tables.slice(PRESENT_DEVICES, partition[:2], limit=10)
    assert [row["device"] for row in left] == ["device/phone-5"]
    world.clock.advance(OFFLINE_AFTER)
    assert await world.presence.expire() == 1
    assert await world.told() == ["online", "offline"]


async def test_fifty_silent_devices_hide_no_open_socket(world):
    """Only a user's first fifty rows were looked at, and gateways come behind devices."""
    for number in range(60):
        await world.beat(device=f"phone-{number}", status=AWAY)
    world.clock.advance(OFFLINE_AFTER)
    await world.presence.beat("g1")
    await world.presence.opened("acme", "ana", "g1")
    assert await world.standing() == (ONLINE, world.clock.now())


async def test_a_status_of_a_later_release_is_one_of_somebody_who_is_there(world):
    """None could be told of, of the whole shard, as long as one had it: each tick failed on it."""
    await world.beat()
    for row in await world.tables.slice(PRESENT_DEVICES, _partition("acme", "ana")[:2], limit=1):
        await world.tables.put(Put(PRESENT_DEVICES, {**row, "status": "busy"}))
    assert await world.standing() == (ONLINE, world.clock.now())
    world.clock.advance(OFFLINE_AFTER)
    assert await world.presence.expire() == 1
    assert (await world.standing())[0] is OFFLINE


async def test_of_an_erased_user_with_many_devices_nothing_is_left(world, monkeypatch):
    monkeypatch.setattr("shared.repositories.presence._PAGE", 2)
    for number in range(5):
        await world.beat(device=f"phone-{number}")
    assert await world.presence.erase_user("acme", "ana") == 6
    assert await world.presence.erase_user("acme", "ana") == 0


async def test_who_cannot_be_told_of_fails_no_tick(world, caplog):
    """Each tick failed, and was parked as a dead letter, one a minute."""
    for user in ("ana", "bob"):
        await world.presence.heartbeat("acme", user, "phone", ONLINE)
    emit = world.log.emit

    async def refuses(*events):
        if any(b'"ana"' in event.to_cloudevent().data for event in events):
            raise ValueError("nobody can write this")
        await emit(*events)

    world.log.emit = refuses
    world.clock.advance(OFFLINE_AFTER)
    assert await world.presence.expire() == 1
    assert await world.told() == ["online", "online", "offline"]
    assert "cannot be told" in caplog.text
    world.log.emit = emit
    assert await world.presence.expire() == 1
    assert await world.told() == ["online", "online", "offline", "offline"]


async def test_tenants_see_nothing_of_each_other(world):
    await world.beat()
    assert (await world.presence.of("rival", "ana")).status is OFFLINE


async def test_of_an_erased_user_nothing_is_left_not_even_when_their_socket_ends(world):
    await world.presence.beat("g1")
    await world.presence.opened("acme", "ana", "g1")
    await world.beat()
    assert await world.presence.erase_user("acme", "ana") == 3
    await world.presence.closed("acme", "ana", "g1")
    await world.pass_time(OFFLINE_AFTER)
    assert await world.presence.erase_user("acme", "ana") == 0
    assert await world.standing() == (OFFLINE, None)

"""Who is woken to push: nobody where no gateway that lives holds a socket of the tenant (ADR 0042)."""

from dataclasses import dataclass, field

import pytest

from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.memory.tables import Fault, MemoryTables
from shared.domain.presence import OFFLINE_AFTER
from shared.ports.tables import Table
from shared.repositories.listeners import REMEMBERED, Listeners
from shared.repositories.presence import Presence

TENANT, GATEWAY = "acme", "g1"


@dataclass
class World:
    clock: SettableClock = field(default_factory=SettableClock)
    seconds: float = 0.0
    away: bool = False
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tables = MemoryTables(self.clock, fault=self.ask)
        self.presence = Presence(self.tables, MemoryRecordLog(), self.clock)
        self.listeners = self.anew()

    def ask(self, method: str, table: Table) -> Fault | None:
        self.asked.append(table.name)
        return Fault.UNREACHED if self.away else None

    def anew(self) -> Listeners:
        """As another process has it."""
        return Listeners(self.tables, monotonic=lambda: self.seconds)

    async def opens(self, gateway: str = GATEWAY, tenant: str = TENANT) -> None:
        await self.presence.beat(gateway)
        await self.listeners.opened(tenant, gateway)

    async def dies(self, gateway: str) -> None:
        """Everybody else goes on saying that they live."""
        self.clock.advance(10 * OFFLINE_AFTER)
        for other in ("g1", "g2"):
            if other != gateway:
                await self.presence.beat(other)
        self.clock.advance(OFFLINE_AFTER)
        await self.presence.expire()


@pytest.fixture
def world() -> World:
    return World()


async def test_nobody_listens_before_a_gateway_says_so_and_only_to_its_tenant(world):
    assert not await world.listeners.any_of(TENANT)
    await world.opens()
    assert await world.listeners.any_of(TENANT)
    assert not await world.listeners.any_of("another")


async def test_that_nobody_listens_is_not_remembered(world):
    """Or what happens right after a socket was opened would not be pushed to it."""
    others = world.anew()
    assert not await others.any_of(TENANT)
    await world.opens()
    assert await others.any_of(TENANT)


async def test_nobody_asks_again_for_seconds_whether_somebody_still_listens(world):
    await world.opens()
    assert await world.listeners.any_of(TENANT)
    world.asked.clear()
    world.seconds = REMEMBERED - 0.1
    assert await world.listeners.any_of(TENANT)
    assert world.asked == []
    await world.listeners.closed(TENANT, GATEWAY)
    world.seconds = REMEMBERED + 0.1
    assert not await world.listeners.any_of(TENANT)


async def test_a_tenant_is_heard_until_its_last_gateway_has_none_of_its_sockets(world):
    await world.opens("g1")
    await world.opens("g2")
    await world.listeners.closed(TENANT, "g1")
    assert await world.anew().any_of(TENANT)
    await world.listeners.closed(TENANT, "g2")
    assert not await world.anew().any_of(TENANT)


async def test_a_gateway_that_was_killed_counts_until_it_is_forgotten(world):
    await world.opens()
    world.clock.advance(OFFLINE_AFTER)
    await world.presence.expire()
    assert await world.anew().any_of(TENANT)
    await world.dies(GATEWAY)
    assert not await world.anew().any_of(TENANT)


async def test_only_the_rows_of_the_dead_are_forgotten(world):
    await world.opens("g1")
    await world.opens("g2")
    await world.dies("g1")
    await world.listeners.forget_dead(TENANT)
    await world.presence.beat("g1")
    await world.listeners.closed(TENANT, "g2")
    assert not await world.anew().any_of(TENANT), "the row of g1 is there"
    await world.opens("g2")
    await world.listeners.forget_dead(TENANT)
    assert await world.anew().any_of(TENANT), "the row of g2 is gone"


async def test_who_cannot_ask_wakes_whoever_may_be_needed_and_asks_again(world):
    """A message is not refused because nobody can say whether it is to be pushed."""
    assert not await world.listeners.any_of(TENANT)
    world.away = True
    assert await world.listeners.any_of(TENANT)
    world.away = False
    assert not await world.listeners.any_of(TENANT)


async def test_who_lives_is_read_once_for_all_tenants(world):
    for number in range(5):
        await world.opens(tenant=f"t{number}")
    world.asked.clear()
    assert all([await world.listeners.any_of(f"t{number}") for number in range(5)])
    assert world.asked.count("gateways") == 1
    await world.opens("g2", tenant="t9")
    assert await world.listeners.any_of("t9"), "one that came since is looked for"

"""
What every Sweeper must do (shared.ports.sweeper). Subclass it, say how to open ``house``, empty, and how time passes.
What a crash leaves half done differs between stores: it is in the tests of the adapters.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from shared.ports.sweeper import Sweeper
from shared.ports.tables import Put
from shared.testing.contracts.outbox import House as OutboxHouse
from shared.testing.contracts.outbox import an_acceptance, standing, typed
from shared.testing.contracts.tables import NOTES, a_note, key


@dataclass(frozen=True, slots=True)
class House(OutboxHouse):
    sweeper: Sweeper
    pass_time: Callable[[timedelta], Awaitable[None]]
    """For the sweeper; where rows expire by the store's own clock that waits too, as long as ``expire`` says."""


class SweeperContract:
    expire: timedelta = timedelta(minutes=2)
    """How much later a row whose TTL is one second is certainly past its time."""

    @pytest.fixture
    async def house(self) -> AsyncIterator[House]:
        raise NotImplementedError("say how to open a sweeper, an outbox, their tables and their broker, empty")
        yield

    async def test_where_nothing_was_left_behind_there_is_nothing_to_do(self, house: House) -> None:
        assert await house.sweeper.sweep() == 0

    async def test_what_was_kept_is_not_touched_and_not_emitted_again(self, house: House) -> None:
        acceptance = an_acceptance()
        await house.outbox.commit(acceptance)
        await house.pass_time(timedelta(minutes=5))
        assert await house.sweeper.sweep() == 0
        assert await standing(house.tables, acceptance) == [True] * 4
        assert typed(await house.emitted()) == acceptance.events

    async def test_a_row_past_its_time_is_gone_and_its_neighbour_is_not(self, house: House) -> None:
        gone, stays = a_note(1), a_note(2)
        await house.tables.put(Put(NOTES, gone, ttl=1), Put(NOTES, stays))
        await house.pass_time(self.expire)
        await house.sweeper.sweep()
        left = await house.tables.slice(NOTES, key(NOTES, gone)[:2], limit=10)
        assert [key(NOTES, row) for row in left] == [key(NOTES, stays)]

    async def test_several_may_sweep_at_once(self, house: House) -> None:
        acceptance = an_acceptance()
        await house.outbox.commit(acceptance)
        await house.tables.put(Put(NOTES, a_note(1), ttl=1))
        await house.pass_time(self.expire)
        await asyncio.gather(*(house.sweeper.sweep() for _ in range(5)))
        assert await standing(house.tables, acceptance) == [True] * 4
        assert typed(await house.emitted()) == acceptance.events

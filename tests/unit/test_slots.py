"""How many calls a Trigger makes at once (ADR 46)."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from shared.runtime.slots import Slots


def test_all_that_are_late_together_halve_the_limit_once() -> None:
    slots = Slots(100)
    begun = [slots.round for _ in range(100)]
    assert [slots.late(one) for one in begun] == [True] + [False] * 99
    assert slots.limit == 50
    assert slots.late(slots.round)
    assert slots.limit == 25


def test_a_limits_worth_of_answers_raises_it_by_one_and_never_over_the_most() -> None:
    slots = Slots(100)
    slots.late(slots.round)
    for _ in range(51):
        slots.answered()
    assert slots.limit == 51
    for _ in range(10_000):
        slots.answered()
    assert slots.limit == 100


def test_something_is_called_even_if_nothing_ever_answers() -> None:
    many, one = Slots(100), Slots(1)
    for slots in (many, one):
        for _ in range(20):
            slots.late(slots.round)
    assert (many.limit, one.limit) == (5, 1)
    many.answered()
    assert not many.late(many.round)  # of 5.2, which is 5


def test_who_has_slots_when_the_limit_falls_keeps_them_and_nobody_else_gets_one_until_there_are_fewer() -> None:
    slots = Slots(4)
    assert all(slots.try_take() for _ in range(4))
    slots.late(slots.round)
    slots.give()
    slots.give()
    assert not slots.try_take()
    slots.give()
    assert slots.try_take()


async def test_a_raised_limit_is_given_to_whoever_waited_longest() -> None:
    slots = Slots(4)
    slots.late(slots.round)
    await slots.take()
    await slots.take()
    came: list[int] = []

    async def comes(n: int) -> None:
        await slots.take()
        came.append(n)

    waiting = [asyncio.create_task(comes(n)) for n in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    for _ in range(3):
        slots.answered()
    await asyncio.sleep(0)
    assert came == [1]
    slots.give()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert came == [1, 2]


async def test_a_slot_that_is_given_to_who_is_cancelled_at_that_moment_is_not_lost() -> None:
    slots = Slots(1)
    await slots.take()
    waiting = asyncio.create_task(slots.take())
    await asyncio.sleep(0)
    slots.give()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    assert slots.try_take()


@given(
    st.lists(st.sampled_from(["take", "give", "answered", "late", "late again", "cancel", "no turn"]), max_size=200),
    st.integers(1, 12),
)
def test_never_more_than_the_most_and_nobody_waits_where_there_is_room(steps: list[str], most: int) -> None:
    async def run() -> None:
        slots = Slots(most)
        holders, begun, waiting = 0, 0, list[asyncio.Task[None]]()
        for step in steps:
            if step == "take":
                waiting.append(asyncio.create_task(slots.take()))
            elif step == "give" and holders:
                holders -= 1
                slots.give()
            elif step == "answered":
                slots.answered()
            elif step == "late":
                begun = slots.round
                slots.late(begun)
            elif step == "late again":
                slots.late(begun)
            elif step == "cancel" and waiting:
                waiting[0].cancel()
            if "no turn" in steps and step != "no turn":
                continue  # the loop turns only there: what was given may be cancelled in the same turn
            for _ in range(3):
                await asyncio.sleep(0)
            served = [task for task in waiting if task.done() and not task.cancelled()]
            holders += len(served)
            waiting = [task for task in waiting if not task.done()]
            assert holders <= most
            assert 1 <= slots.limit <= most
            assert not waiting or holders >= slots.limit
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(run())

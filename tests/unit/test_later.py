"""Adapters that are made when they are first used (design.md 8)."""

from contextlib import AsyncExitStack

from shared.runtime.later import later


class Adapter:
    def __init__(self) -> None:
        self.calls = 0

    def call(self) -> int:
        self.calls += 1
        return self.calls

    async def close(self) -> None:
        self.calls = -1


async def test_it_is_made_once_when_something_of_it_is_used_and_closed_at_the_end() -> None:
    made: list[Adapter] = []

    def make() -> Adapter:
        made.append(Adapter())
        return made[-1]

    async with AsyncExitStack() as stack:
        adapter = later(make, Adapter.close, stack)
        assert made == []
        assert [adapter.call(), adapter.call()] == [1, 2]
        assert len(made) == 1
    assert made[0].calls == -1


async def test_what_nobody_used_is_neither_made_nor_closed() -> None:
    def make() -> Adapter:
        raise AssertionError("nobody asked for it")

    async with AsyncExitStack() as stack:
        later(make, Adapter.close, stack)

"""
Adapters that are made when something of them is first used: a start pays only for what its function needs.

Cold start is a budget (design.md 8, docs/adr/0034): Redis's client alone costs more than all that is ours.
"""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar, cast

T = TypeVar("T")


class _StandIn:
    __slots__ = ("_made", "_make")

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            self._made = self._make()
        return getattr(self._made, name)


def later(make: Callable[[], T], close: Callable[[T], Awaitable[None]], stack: AsyncExitStack) -> T:
    """What stands for the adapter that ``make`` imports and makes; ``stack`` closes it, if it was made."""
    stand_in = _StandIn(make)

    async def end() -> None:
        if stand_in._made is not None:
            await close(stand_in._made)

    stack.push_async_callback(end)
    return cast(T, stand_in)

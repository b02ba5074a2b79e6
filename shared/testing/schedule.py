"""
Who goes next, decided from outside: asyncio tasks interleaved at every checkpoint, the same way each time.

A process is a name. What it awaits goes through ``checkpoint``, where it stops until it is its turn; ``choices``
says whose turn that is, so that Hypothesis can search the interleavings and shrink the one that breaks something.
Where the choices end everybody goes in turn. A process that crashes is never given another turn: no handler of
its errors runs, as with kill -9.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

NOBODY = "nobody"
_process: ContextVar[str] = ContextVar("process", default=NOBODY)
_BURSTS = (1, 1, 1, 2, 3, 5, 9, 30)
"""Turns in a row that one choice gives: bugs hide where one process does nearly all of its work at once."""
_ENDLESS = 200_000  # turns


def this_process() -> str:
    """The process that the caller runs in."""
    return _process.get()


class Crashed(Exception):
    """The process that was asked died."""


class Cut(Exception):
    """Whoever asked the process waits no longer."""


class Schedule:
    def __init__(self, choices: bytes) -> None:
        self._choices: Iterator[int] = iter(choices)
        self._parked: list[tuple[str, asyncio.Future[None]]] = []
        self._calls: dict[str, list[asyncio.Future[Any]]] = {}
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._dead: set[str] = set()
        self._chosen: tuple[str, int] = (NOBODY, 0)
        self._closed = False
        self.turns = 0

    async def checkpoint(self) -> None:
        """Wait for the turn of the process that this is called in."""
        if self._closed:
            return
        process = _process.get()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if process not in self._dead:
            self._parked.append((process, turn))
        await turn

    def choose(self, options: int) -> int:
        """A choice that is none of turns: 0 … ``options`` - 1, 0 where the choices end."""
        return next(self._choices, 0) % options

    def start(self, process: str, work: Coroutine[Any, Any, T]) -> "asyncio.Future[T]":
        """Run ``work`` in the process; its outcome, Crashed when the process dies first, or Cut."""
        outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.setdefault(process, []).append(outcome)

        async def run() -> None:
            _process.set(process)
            try:
                await self.checkpoint()
                result = await work
            except Exception as error:  # noqa: BLE001  it is the caller's to judge
                if not outcome.done():
                    outcome.set_exception(error)
            else:
                if not outcome.done():
                    outcome.set_result(result)

        def ended(task: asyncio.Task[None]) -> None:
            del self._tasks[task]
            work.close()
            if task.cancelled() and not outcome.done():
                outcome.set_exception(Cut(process))

        task = asyncio.ensure_future(run())
        self._tasks[task] = process
        task.add_done_callback(ended)
        return outcome

    def cut(self, process: str) -> None:
        """Cancel one piece of work that the process has begun, if any: unlike a crash, its handlers of that run."""
        under_way = [task for task, owner in self._tasks.items() if owner == process and process not in self._dead]
        if under_way:
            under_way[self.choose(len(under_way))].cancel()

    def crash(self, process: str) -> None:
        self._dead.add(process)
        self._parked = [(owner, turn) for owner, turn in self._parked if owner != process]
        for outcome in self._calls.pop(process, ()):
            if not outcome.done():
                outcome.set_exception(Crashed(process))

    def alive(self, process: str) -> bool:
        return process not in self._dead

    async def until_idle(self) -> None:
        """Give turns until nobody wants one."""
        while True:
            await _settled()
            if not self._parked:
                return
            self.turns += 1
            if self.turns > _ENDLESS:
                raise AssertionError("it does not come to an end")
            _, turn = self._parked.pop(self._next())
            if not turn.done():  # else who waited for it was cut
                turn.set_result(None)

    def close(self) -> None:
        """From here on nobody stops: for looking at what has become of it all."""
        self._closed = True

    def _next(self) -> int:
        process, left = self._chosen
        if left > 0:
            for index, (owner, _) in enumerate(self._parked):
                if owner == process:
                    self._chosen = process, left - 1
                    return index
        byte = next(self._choices, None)
        if byte is None:
            self._chosen = NOBODY, 0
            return 0
        index = byte % len(self._parked)
        self._chosen = self._parked[index][0], _BURSTS[byte >> 5] - 1
        return index


async def _settled() -> None:
    """Everything that can run without a turn has run."""
    ready = vars(asyncio.get_running_loop())["_ready"]
    await asyncio.sleep(0)
    while ready:  # noqa: ASYNC110  there is nothing to wait for but that nobody is left
        await asyncio.sleep(0)


def play(story: Callable[[], Awaitable[None]]) -> None:
    """Run the story in a loop of its own; tasks of the dead end with it."""

    async def told() -> None:
        await story()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(told())

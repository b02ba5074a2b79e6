"""A loop whose clock jumps to the next timer: pauses of minutes are exact and cost nothing."""

import asyncio
import selectors


class _Jump(selectors.DefaultSelector):
    """Never waits: when nothing is ready, the time of the next timer has come."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("every task waits for something that will never come")
        if not ready:
            self.loop.now += timeout or 0
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.now = 0.0
        selector = _Jump()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

"""
Frames of one conversation put in order: each number once, none left out (design.md 4).

Fan-out may lose, repeat and reorder; the numbers show it. What came too early waits here, for its predecessors
to arrive or to be read from the timeline.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_AHEAD = 256
"""Items that wait for a predecessor; what comes beyond them is read from the timeline."""


class Sequencer(Generic[T]):
    """
    ``position`` is the last number that was given out. Until it is known (None) everything waits.

    >>> line = Sequencer[str](1)
    >>> line.take(3, "c"), line.gap, line.take(2, "b"), line.take(2, "b"), line.gap
    ([], True, ['b', 'c'], [], False)
    """

    __slots__ = ("_ahead", "position")

    def __init__(self, position: int | None = None) -> None:
        self.position = position
        self._ahead: dict[int, T] | None = None

    @property
    def gap(self) -> bool:
        """Whether something waits for what has not come."""
        return bool(self._ahead)

    def start(self, position: int) -> Sequence[T]:
        """From here on; what can be given out of what waited."""
        self.position = position
        for seq in [seq for seq in self._ahead or () if seq <= position]:
            self._drop(seq)
        return self._drain([])

    def take(self, seq: int, item: T) -> Sequence[T]:
        """What can be given out now, in order; nothing when it was given out before or must wait."""
        if self.position is not None:
            if seq <= self.position:
                return []
            if seq == self.position + 1:
                self.position = seq
                return [item] if self._ahead is None else self._drain([item])
        if self._ahead is None:
            self._ahead = {}
        if len(self._ahead) < MOST_AHEAD:
            self._ahead[seq] = item
        return []

    def _drain(self, ready: list[T]) -> list[T]:
        assert self.position is not None
        if self._ahead is not None:
            self._drop(self.position)
        while self._ahead is not None and self.position + 1 in self._ahead:
            self.position += 1
            ready.append(self._ahead[self.position])
            self._drop(self.position)
        return ready

    def _drop(self, seq: int) -> None:
        if self._ahead is not None:
            self._ahead.pop(seq, None)
            self._ahead = self._ahead or None

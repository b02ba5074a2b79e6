"""What looks into a file between verified and ready."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Clean:
    """Nothing was found."""


@dataclass(frozen=True, slots=True)
class Infected:
    """``signature`` is the scanner's name of what was found."""

    signature: str


@dataclass(frozen=True, slots=True)
class NotScanned:
    """It will never be: the file is too large for the scanner, or it cannot read it. ``why`` is for people."""

    why: str


Finding = Clean | Infected | NotScanned


class Scanner(Protocol):
    async def scan(self, blocks: AsyncIterator[bytes]) -> Finding:
        """
        Read the blocks to their end, unless something is found before, and say what they are.

        Raises:
            Unavailable: the scanner cannot be reached, or is busy; asking again may work.
        """
        ...

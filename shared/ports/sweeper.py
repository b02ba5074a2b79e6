"""What a store does about things left behind: promises half kept, rows past their time."""

from typing import Protocol


class Sweeper(Protocol):
    async def sweep(self) -> int:
        """
        Finish what a crash left half done more than 30 seconds ago, and remove what has expired; how much it did.
        Does a bounded amount of work and may be called by several processes at once.
        """
        ...

"""Large request bodies, as they come."""

import asyncio
from collections.abc import AsyncIterator

from shared.domain.errors import TooSlow

STALL = 60.0
"""Seconds in which a client must send something."""


async def unless_stalled(blocks: AsyncIterator[bytes], seconds: float = STALL) -> AsyncIterator[bytes]:
    """
    The blocks.

    Raises:
        TooSlow: none came for so long.
    """
    while True:
        try:
            async with asyncio.timeout(seconds):
                block = await anext(blocks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise TooSlow(f"nothing came for {seconds:.0f} s; go on from the offset that status tells") from None
        yield block

"""What was typed waits here until the platform has it, under one message_id: sent again, it is the same message."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

from shared.cli.platform import Json, PlatformRefused, PlatformUnreachable

_PAUSE = 1.0  # seconds until the next try
_LATE = 5  # tries after which it is told
_AT_MOST = 100  # messages that wait


class Outbox:
    """
    ``post`` sends one message and raises what ``Platform.call`` raises; ``refused`` is told of one that will never
    be taken, ``late`` why one is still not taken after some tries. In order: what waits behind a message that cannot
    be sent now is not sent before it.
    """

    def __init__(
        self,
        post: Callable[[Json], Awaitable[None]],
        refused: Callable[[PlatformRefused], None],
        late: Callable[[Exception], None],
        *,
        pause: float = _PAUSE,
        at_most: int = _AT_MOST,
    ) -> None:
        self._post, self._refused, self._late, self._pause = post, refused, late, pause
        self._waiting: asyncio.Queue[Json] = asyncio.Queue(at_most)
        self.count = 0

    @property
    def is_full(self) -> bool:
        return self._waiting.full()

    async def add(self, conversation_id: str, sender: str, text: str) -> None:
        """Returns when there is room for it."""
        message = {
            "message_id": str(uuid.uuid4()),  # noqa: TID251 - a chain begins here
            "conversation_id": conversation_id,
            "from": sender,
            "payload": {"type": "text", "text": text},
            "request_delivery_receipt": True,
            "request_read_receipt": True,
        }
        await self._waiting.put(message)
        self.count += 1

    async def run(self) -> None:
        """Send for ever."""
        while True:
            message = await self._waiting.get()
            await self._until_taken(message)
            self.count -= 1
            self._waiting.task_done()

    async def empty(self) -> None:
        """Wait until all is sent."""
        await self._waiting.join()

    async def _until_taken(self, message: Json) -> None:
        tries = 0
        while True:
            try:
                await self._post(message)
                return
            except (PlatformRefused, PlatformUnreachable) as error:
                if isinstance(error, PlatformRefused) and not error.failed:
                    self._refused(error)
                    return
                tries += 1
                if tries == _LATE:
                    self._late(error)
            await asyncio.sleep(self._pause)

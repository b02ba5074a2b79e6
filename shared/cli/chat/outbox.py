"""What was typed waits here until the platform has it, under one message_id: sent again, it is the same message."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

from shared.cli.platform import Json, PlatformRefused, PlatformUnreachable

_PAUSE = 1.0  # seconds until the next try


class Outbox:
    """
    ``post`` sends one message and raises what ``Platform.call`` raises; ``refused`` is told of one that will never
    be taken. In order: what waits behind a message that cannot be sent now is not sent before it.
    """

    def __init__(
        self,
        post: Callable[[Json], Awaitable[None]],
        refused: Callable[[PlatformRefused], None],
        *,
        pause: float = _PAUSE,
    ) -> None:
        self._post, self._refused, self._pause = post, refused, pause
        self._waiting: asyncio.Queue[Json] = asyncio.Queue()
        self.count = 0

    def add(self, conversation_id: str, sender: str, text: str) -> None:
        message = {
            "message_id": str(uuid.uuid4()),  # noqa: TID251 - a chain begins here
            "conversation_id": conversation_id,
            "from": sender,
            "payload": {"type": "text", "text": text},
            "request_delivery_receipt": True,
            "request_read_receipt": True,
        }
        self.count += 1
        self._waiting.put_nowait(message)

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
        while True:
            try:
                await self._post(message)
                return
            except PlatformUnreachable:
                pass
            except PlatformRefused as refused:
                if refused.status < 500:  # whatever it is, a text that was typed is not given up for it
                    self._refused(refused)
                    return
            await asyncio.sleep(self._pause)

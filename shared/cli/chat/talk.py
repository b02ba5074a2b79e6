"""The chat itself: socket, history, what is typed and the terminal, put together."""

import asyncio
import time
from contextlib import suppress
from typing import Any

from shared.cli.chat.connection import READY, Connection
from shared.cli.chat.outbox import Outbox
from shared.cli.chat.room import Line, Room
from shared.cli.chat.terminal import Terminal
from shared.cli.command import Failed, Session
from shared.cli.platform import NEWEST, Json, PlatformRefused, PlatformUnreachable, segment

_BEFORE = 20  # messages of history that are shown at the start
_TYPING = 3.0  # seconds between two notices that we are typing
_WATCHED = 8  # members whose presence is asked for
_PAGE = 200
_COMES_BACK = 5.0  # seconds that a message of ours may take to be pushed
_AGAIN = 1.0  # seconds until history is asked for again
_TOGETHER = 0.05  # seconds in which acknowledgements are gathered


class Talk:
    """``linger``: seconds to stay after the input has ended, when it is no terminal."""

    def __init__(self, session: Session, user: str, conversation: Json, *, linger: float, reads: bool) -> None:
        self._session, self._user, self._linger, self._reads = session, user, linger, reads
        self._room = Room(user, conversation["conversation_id"], list(conversation["members"]))
        self._terminal = Terminal(session.output, lambda: f" {self._room.status(time.monotonic())}", self._typed)
        self._connection = Connection(session.platform.client.url, self._token)
        self._outbox = Outbox(self._post, self._was_refused, self._is_late)
        self._typed_at = 0.0
        self._taken = 0
        self._heard = asyncio.Event()
        self._acknowledged: dict[tuple[str, str], int] = {}
        self._something = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """
        Until the user leaves.

        Raises:
            PlatformRefused, PlatformUnreachable: at the start; later both are waited for.
        """
        with self._terminal.above():
            await self._show_history(before=True)
            async with asyncio.TaskGroup() as tasks:
                work = (self._hear(), self._outbox.run(), self._tell_acknowledged())
                background = [tasks.create_task(each) for each in work]
                tasks.create_task(self._speak(background))

    async def _speak(self, background: list[asyncio.Task[Any]]) -> None:
        async for text in self._terminal.lines():
            if text.strip() == "/quit":
                break
            if text.strip() and self._terminal.interactive and self._outbox.is_full:
                # To wait for room here would be not to hear /quit.
                self._terminal.show(Line("failed", f"not sent, {self._outbox.count} wait already: {text.strip()}"))
            elif text.strip():
                await self._outbox.add(self._room.conversation_id, self._user, text.strip())
                self._room.waiting = self._outbox.count
        await self._outbox.empty()
        await self._until_shown()
        await asyncio.sleep(self._linger)
        for task in background:
            task.cancel()

    async def _until_shown(self) -> None:
        """What we said last comes back by the socket; if it does not, the platform has it all the same."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_COMES_BACK):
                while self._room.seq < self._taken:
                    self._heard.clear()
                    await self._heard.wait()

    async def _hear(self) -> None:
        async for frame in self._connection.frames():
            self._room.waiting = self._outbox.count
            self._terminal.frame(frame)
            if self._room.missing(frame):
                await self._catch_up()
            self._show(self._room.take(frame, time.monotonic()))
            self._heard.set()
            if frame["type"] == READY:
                self._aside(self._look_who_is_there())
            if frame["type"] == "message":
                self._acknowledge(frame)

    def _acknowledge(self, frame: Json) -> None:
        here = frame["conversation_id"] == self._room.conversation_id
        said = "read" if here and self._reads and frame["from"] != self._user else "ack"
        self._acknowledged[frame["conversation_id"], said] = frame["seq"]
        self._something.set()

    async def _tell_acknowledged(self) -> None:
        """The newest number of each conversation only: after a long absence hundreds of messages come at once."""
        while True:
            await self._something.wait()
            await asyncio.sleep(_TOGETHER)
            self._something.clear()
            taken, self._acknowledged = self._acknowledged, {}
            for (conversation_id, said), seq in taken.items():
                await self._connection.send({"type": said, "conversation_id": conversation_id, "seq": seq})

    async def _catch_up(self) -> None:
        """A platform that is away, or fails, costs no message: what is missing is asked for until it comes."""
        while True:
            try:
                return await self._show_history()
            except (PlatformRefused, PlatformUnreachable) as error:
                if not error.failed:
                    raise
            await asyncio.sleep(_AGAIN)

    async def _show_history(self, *, before: bool = False) -> None:
        """The last messages at the start; later what came between the last one shown and now."""
        path = f"/v1/conversations/{segment(self._room.conversation_id)}/messages"
        if before:
            page = await self._ask(path, before=NEWEST, limit=_BEFORE)
            self._show(self._room.history(page["items"]))
            return
        while (page := await self._ask(path, since=self._room.seq, limit=_PAGE))["items"]:
            self._show(self._room.history(page["items"]))

    async def _look_who_is_there(self) -> None:
        for user in self._room.others[:_WATCHED]:
            try:
                self._room.presence[user] = (await self._ask(f"/v1/presence/{segment(user)}"))["status"]
            except (PlatformRefused, PlatformUnreachable):
                return  # presence is a courtesy: the chat goes on without

    async def _ask(self, path: str, **params: Any) -> Json:
        answer: Json = await asyncio.to_thread(self._session.platform.get, path, act_as=self._user, **params)
        return answer

    async def _post(self, message: Json) -> None:
        self._taken = (await asyncio.to_thread(self._session.platform.post, "/v1/messages", message))["seq"]

    async def _token(self) -> str:
        path = f"/v1/users/{segment(self._user)}/tokens"
        return str((await asyncio.to_thread(self._session.platform.post, path, {}))["access_token"])

    def _typed(self) -> None:
        now = time.monotonic()
        if now - self._typed_at >= _TYPING:
            self._typed_at = now
            self._aside(self._connection.send({"type": "typing", "conversation_id": self._room.conversation_id}))

    def _was_refused(self, refused: PlatformRefused) -> None:
        self._terminal.show(Line("failed", f"not sent: {refused}"))

    def _is_late(self, why: Exception) -> None:
        self._terminal.show(Line("failed", f"not sent yet, trying on: {why}"))

    def _show(self, lines: Any) -> None:
        for line in lines:
            self._terminal.show(line)

    def _aside(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def find_conversation(session: Session, user: str, with_user: str | None, conversation_id: str | None) -> Json:
    """
    The conversation that was asked for, or the user's latest one.

    Raises:
        Failed: the user has none.
        PlatformRefused: unknown users, or not the user's conversation.
    """
    platform = session.platform
    conversation: Json
    if conversation_id is not None:
        conversation = platform.get(f"/v1/conversations/{segment(conversation_id)}", act_as=user)
        return conversation
    if with_user is not None:
        body = {"type": "private", "members": [user, with_user]}
        conversation = platform.post("/v1/conversations", body)
        return conversation
    found = platform.get("/v1/conversations", act_as=user, limit=1)["items"]
    if not found:
        raise Failed(f"{user} is in no conversation yet: say with whom, --with USER")
    return dict(found[0])

"""A device of one of the demo's people: a socket that is read when the story wants to know what came."""

import json
import time
from types import TracebackType
from typing import TYPE_CHECKING

from shared.cli.chat.connection import READY, refusal, socket_url
from shared.cli.command import Session
from shared.cli.platform import Json, segment

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

_LOOK = 0.05  # seconds that one look waits
_OPENING = 10.0  # seconds until ``ready``


class Device:
    """
    Open while it is entered. ``replayed``: the messages that the platform sent before it said ``ready``.

    Raises:
        PlatformRefused: the platform does not let the user in, or said nothing in time.
    """

    def __init__(self, session: Session, user: str) -> None:
        self._session, self._user = session, user
        self._socket: ClientConnection | None = None
        self.replayed: list[Json] = []

    def __enter__(self) -> "Device":
        from websockets.exceptions import InvalidHandshake
        from websockets.sync.client import connect

        platform = self._session.platform
        token = platform.post(f"/v1/users/{segment(self._user)}/tokens", {})["access_token"]
        try:
            self._socket = connect(
                socket_url(platform.client.url), additional_headers={"Authorization": f"Bearer {token}"}
            )
        except (InvalidHandshake, OSError) as error:
            raise refusal(error) from None
        try:
            self._until_ready()
        except BaseException:
            self._socket.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            self._socket.close()

    def _until_ready(self) -> None:
        deadline = time.monotonic() + _OPENING
        while (frame := self.next() or {}).get("type") != READY:
            if time.monotonic() > deadline:
                raise refusal(TimeoutError(f"not {READY} after {_OPENING:g} s"))
            if frame.get("type") == "message":
                self.replayed.append(frame)
        self.has(*self.replayed)

    def next(self) -> Json | None:
        """The next frame, if one is there or comes within moments."""
        from websockets.exceptions import ConnectionClosed

        assert self._socket is not None
        try:
            frame: Json = json.loads(self._socket.recv(timeout=_LOOK))
        except TimeoutError:
            return None
        except ConnectionClosed as closed:
            raise refusal(closed) from None
        return frame

    def find(self, **wanted: object) -> Json | None:
        """The next frame that has these fields; those before it are passed over."""
        while (frame := self.next()) is not None:
            if all(frame.get(name) == value for name, value in wanted.items()):
                return frame
        return None

    def has(self, *messages: Json) -> None:
        """The client has these: it acknowledges the last number of each conversation."""
        assert self._socket is not None
        for conversation_id, seq in {each["conversation_id"]: each["seq"] for each in messages}.items():
            self._socket.send(json.dumps({"type": "ack", "conversation_id": conversation_id, "seq": seq}))

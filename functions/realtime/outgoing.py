"""Frames on their way to sockets: encoded once, however many sockets get them."""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from events import MessageAccepted
from events.vocabulary import System
from shared.domain.frames import message_frame
from shared.http.live_socket import text_frame


class Outgoing:
    """``seq`` is 0 for what is told once and kept nowhere; ``system`` says who came or went by this message."""

    __slots__ = ("_text_frame", "conversation_id", "json", "seq", "system")

    def __init__(self, json: bytes, conversation_id: str = "", seq: int = 0, system: System | None = None) -> None:
        self.json, self.conversation_id, self.seq, self.system = json, conversation_id, seq, system
        self._text_frame: bytes | None = None

    @property
    def text_frame(self) -> bytes:
        """As WebSocket has it (RFC 6455 5.6)."""
        if self._text_frame is None:
            self._text_frame = text_frame(self.json)
        return self._text_frame


class _Payload(Struct):
    type: str
    action: Literal["joined", "left", "added", "removed"] | None = None
    user_id: str = ""
    by: str = ""


class _Head(Struct):
    """What a gateway must know of a frame; the rest is the client's."""

    type: str
    conversation_id: str = ""
    seq: int = 0
    payload: _Payload | None = None


_HEADS = msgspec.json.Decoder(_Head)


def heard(frame: bytes) -> tuple[str, Outgoing]:
    """
    The type of a frame that fan-out brought, and the frame.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    head = _HEADS.decode(frame)
    if head.type != "message":
        return head.type, Outgoing(frame, head.conversation_id)
    payload = head.payload
    system = None
    if payload is not None and payload.type == "system" and payload.action is not None:
        system = System(action=payload.action, user_id=payload.user_id, by=payload.by)
    return head.type, Outgoing(frame, head.conversation_id, head.seq, system)


def of_message(message: MessageAccepted) -> Outgoing:
    """A message as the timeline has it: the same frame as when it was pushed."""
    system = message.payload if isinstance(message.payload, System) else None
    frame = msgspec.json.encode(message_frame(message))
    return Outgoing(frame, message.conversation_id, message.seq, system)


def said(type: str, **fields: Any) -> Outgoing:
    """A frame of the gateway's own."""
    return Outgoing(msgspec.json.encode({"type": type, **fields}))

"""What clients say on their sockets (api.md, Real time)."""

from typing import Annotated, get_args

import msgspec
from msgspec import Meta, Struct

from events.vocabulary import ConversationId, Seq
from shared.domain.errors import Invalid

Cursor = Annotated[int, Meta(ge=0)]


class Auth(Struct, frozen=True, tag="auth", tag_field="type"):
    """The first frame of a socket that brought no token; later ones bring a new token before the old one ends."""

    token: str
    act_as: str | None = None


class Ack(Struct, frozen=True, tag="ack", tag_field="type"):
    """The client has everything up to ``seq``."""

    conversation_id: ConversationId
    seq: Seq


class Read(Struct, frozen=True, tag="read", tag_field="type"):
    """The user has seen everything up to ``seq``."""

    conversation_id: ConversationId
    seq: Seq


class Typing(Struct, frozen=True, tag="typing", tag_field="type"):
    conversation_id: ConversationId


class Sync(Struct, frozen=True, tag="sync", tag_field="type"):
    """
    The client resumes from what it has itself: it is sent what comes after these numbers.

    ``epoch`` and ``offset`` are those of the last frame that had them: if nothing that is kept nowhere was missed
    since, ``ready`` says so (``recovered``).
    """

    cursors: dict[str, Cursor] = {}
    epoch: str | None = None
    offset: Cursor | None = None


class Pong(Struct, frozen=True, tag="pong", tag_field="type"):
    pass


Incoming = Auth | Ack | Read | Typing | Sync | Pong
_DECODER: msgspec.json.Decoder[Incoming] = msgspec.json.Decoder(Incoming)
_KNOWN = frozenset(str(one.__struct_config__.tag) for one in get_args(Incoming))


class _Named(Struct):
    type: str = ""


_NAMES = msgspec.json.Decoder(_Named)


def read(frame: str | bytes) -> Incoming:
    """
    Raises:
        Invalid: it is no frame that we know, or one with a wrong field.
    """
    try:
        return _DECODER.decode(frame)
    except msgspec.ValidationError as error:
        raise Invalid(f"{_named(frame)}: {error}") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Invalid(f"a frame is one JSON object: {error}") from None


def _named(frame: str | bytes) -> str:
    """What a frame that is wrong wants to be."""
    try:
        name = _NAMES.decode(frame).type
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        name = ""  # the decoder says what it meets first, and here that was a wrong field
    return name if name in _KNOWN else "no frame that we know"

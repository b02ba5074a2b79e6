"""What clients say on their sockets (api.md, Real time)."""

from typing import Annotated

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


def read(frame: str | bytes) -> Incoming:
    """
    Raises:
        Invalid: it is no frame that we know.
    """
    try:
        return _DECODER.decode(frame)
    except msgspec.ValidationError as error:
        raise Invalid(f"no frame that we know: {error}") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Invalid(f"a frame is one JSON object: {error}") from None

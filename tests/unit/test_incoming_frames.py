"""What clients may say on their sockets, and what they are told of the rest."""

import pytest

from functions.realtime import incoming
from shared.domain.errors import Invalid

DEEP = "[" * 30_000 + "]" * 30_000


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (f'{{"type": "pong", "more": {DEEP}}}', "a frame is one JSON object"),
        (f'{{"more": {DEEP}, "type": "pong"}}', "a frame is one JSON object"),
        (f'{{"type": "ack", "conversation_id": 5, "more": {DEEP}}}', "no frame that we know"),
    ],
    ids=["beside", "before its type", "after a wrong field"],
)
def test_a_frame_of_many_levels_is_refused_as_any_other(frame: str, told: str) -> None:
    """Whoever has not said yet who they are may send it: it is no bug of ours, with a stack trace in the log."""
    with pytest.raises(Invalid, match=told):
        incoming.read(frame)

"""
What the end of a call means to a broker, the same for both (design.md 5).

Never 404, 408, 409 or 429 for something permanent: the broker would try again. Never a body: what is no
CloudEvent would be taken for a broken reply.
"""

from enum import Enum

from events import BadEvent
from shared.domain.errors import Refused, Rejected, Unknown


class Verdict(Enum):
    """The status that says it."""

    DONE = 204
    AGAIN = 503
    DEAD = 422


def judge(error: Exception | None) -> Verdict:
    """
    Repeating what was refused changes nothing; everything else, surprises too, may pass.

    An Unknown is never repeated blindly (channels.md 3.0): deliver reconciles it, and one that escapes is
    looked at by people.

    >>> judge(None), judge(BadEvent("junk")), judge(OSError())
    (<Verdict.DONE: 204>, <Verdict.DEAD: 422>, <Verdict.AGAIN: 503>)
    """
    match error:
        case None:
            return Verdict.DONE
        case Refused() | BadEvent() | Rejected() | Unknown():
            return Verdict.DEAD
        case _:
            return Verdict.AGAIN

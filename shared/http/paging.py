"""
Lists come in pages: ``{items, next_cursor}``.

A cursor is where the last page ended, inside what the caller may read anyway: the partition is always made
from the token. So it is checked, not signed; a made-up one finds nothing more than a real one.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated

import orjson
from fastapi import Query

from shared.domain.errors import Invalid

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
MAX_NUMBER = 2**53
"""The greatest number that a cursor, like any JSON number, carries exactly."""

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many items at most")]
Cursor = Annotated[str | None, Query(max_length=1024, description="`next_cursor` of the page before")]


def encode_cursor(position: Sequence[str | int]) -> str:
    """
    >>> decode_cursor(encode_cursor(["userA", 7]), (str, int))
    ('userA', 7)
    """
    return base64.urlsafe_b64encode(orjson.dumps(list(position))).rstrip(b"=").decode("ascii")


def decode_cursor(cursor: str, types: Sequence[type[str] | type[int]]) -> tuple[str | int, ...]:
    """
    The position in a cursor, whose parts have exactly these ``types``.

    Raises:
        Invalid: nobody got this cursor from us.
    """
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        position = orjson.loads(raw)
    except (ValueError, binascii.Error):
        raise _bad() from None
    if not isinstance(position, list) or [type(part) for part in position] != list(types):
        raise _bad()
    if any(isinstance(part, int) and not 0 <= part <= MAX_NUMBER for part in position):
        raise _bad()
    return tuple(position)


def _bad() -> Invalid:
    return Invalid("query parameter cursor: use the next_cursor of an earlier page, or leave it out")

"""
The sequence protocol's arithmetic (design.md 4): numbers 1, 2, 3 … without gaps, one for each message_id.

A conversation's numbers are kept in buckets, so that no partition grows for ever. A number is taken by an
all-or-nothing insert of two rows: the number's and the message_id's. What is decided here is which number to
try, and what a refusal means; the writes are made by ``shared.repositories.timeline``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BUCKET = 5000
"""Numbers in one partition of the timeline."""


def bucket_of(seq: int, size: int = BUCKET) -> int:
    """
    >>> bucket_of(1), bucket_of(4999), bucket_of(5000)
    (0, 0, 1)
    """
    return seq // size


def fits(head: int, wanted: int, size: int = BUCKET) -> int:
    """
    How many of ``wanted`` messages may be numbered after ``head`` in one bucket.

    >>> fits(0, 3), fits(4998, 3), fits(4999, 3)
    (3, 1, 3)
    """
    return min(wanted, (bucket_of(head + 1, size) + 1) * size - (head + 1))


@dataclass(frozen=True, slots=True)
class Holder:
    """A number that is taken, and the message that holds it."""

    seq: int
    message_id: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Advance:
    """What reading on from a refused number has shown: the new head, and our messages found on the way."""

    head: int
    found: Sequence[Holder]


def advance(head: int, occupied: Iterable[Holder], ours: frozenset[str]) -> Advance:
    """
    Read on from ``head`` over the ``occupied`` rows, in order of seq, to the first free number.

    A row that does not follow the one before it ends the reading: what lies behind a hole is not counted.
    """
    found: list[Holder] = []
    for holder in occupied:
        if holder.seq <= head:
            continue
        if holder.seq != head + 1:
            break
        head = holder.seq
        if holder.message_id in ours:
            found.append(holder)
    return Advance(head, found)

"""Storing a message and handing its event over, as one promise (design.md 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from events import Event
from shared.ports.tables import Put, Row, Table


@dataclass(frozen=True, slots=True)
class Acceptance:
    """
    One unit of ``Outbox.commit``.

    ``claims`` are inserted if none exists, all or nothing, in one partition of ``table``. With them stand
    ``puts`` (idempotent) and ``events``.
    """

    table: Table
    claims: Sequence[Row]
    puts: Sequence[Put]
    events: Sequence[Event[Any]]
    leads: Sequence[Put] = ()
    """Where to look for the claims: on disk before they are, and harmless where the claims are refused."""


class Outbox(Protocol):
    async def commit(self, acceptance: Acceptance) -> list[Row]:
        """
        Insert the claims and promise the rest: [] when done, else the rows that were in the way and nothing
        was changed.

        After [] the claims, the puts and the events are on disk: a crash at any moment loses none of them,
        and the events will be delivered at least once.

        Raises:
            Unanswered: it may have happened, wholly or in part; if in part, the sweeper finishes it.
            Unavailable: nothing happened.
        """
        ...

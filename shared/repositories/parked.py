"""Events that the broker gave up, kept with their reason until somebody replays or discards them (C8)."""

from dataclasses import dataclass
from datetime import datetime

from events import CloudEvent, derived_id
from events.cloudevent import from_structured
from shared.ports.tables import Row, Tables
from shared.repositories.schema import PARKED

KEPT = 30 * 24 * 3600
"""Seconds that a parked event is kept."""

WATCHED = 24 * 3600
"""Seconds that a replayed event is remembered: parked again in that time, its attempts count on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedEvent:
    """``attempts``: how often it was parked; ``due_at``: when it is replayed by itself, None: only by hand."""

    parked_id: str
    trigger: str
    reason: str
    attempts: int
    parked_at: datetime
    due_at: datetime | None
    event: CloudEvent
    replayed_at: datetime | None = None


def parked_id(event: CloudEvent, trigger: str) -> str:
    """The same event given up by the same trigger again is the same entry."""
    return derived_id("parked", event.attributes["id"], trigger)


class Parked:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def keep(self, tenant: str, parked: ParkedEvent, *, over: ParkedEvent | None) -> bool:
        """Park the event in the place of ``over``; False when somebody else has changed the entry meanwhile."""
        columns: Row = {
            "trigger": parked.trigger,
            "reason": parked.reason,
            "attempts": parked.attempts,
            "parked_at": parked.parked_at,
            "due_at": parked.due_at,
            "replayed_at": parked.replayed_at,
            "event": parked.event.to_structured(),
        }
        if over is not None:
            return await self._change(tenant, over, columns, ttl=KEPT)
        row = {"tenant": tenant, "parked_id": parked.parked_id, **columns}
        return not await self._tables.put_if_absent(PARKED, row, ttl=KEPT)

    async def get(self, tenant: str, parked_id: str) -> ParkedEvent | None:
        row = await self._tables.get(PARKED, (tenant, parked_id), serial=True)
        return None if row is None else _parked(row)

    async def list(self, tenant: str, *, after: str | None, limit: int) -> list[ParkedEvent]:
        """Events that are parked now, in the order of their ids."""
        found: list[ParkedEvent] = []
        while len(found) < limit:
            rows = await self._tables.slice(PARKED, (tenant,), after=after, limit=limit)
            found += [parked for row in rows if (parked := _parked(row)).replayed_at is None]
            if len(rows) < limit:
                break
            after = str(rows[-1]["parked_id"])
        return found[:limit]

    async def replayed(self, tenant: str, parked: ParkedEvent, at: datetime) -> None:
        """
        It was handed over again; remembered for a day, in case it comes back.

        If it is back already, the entry is that of the new failure, and stays.
        """
        changes: Row = {"replayed_at": at, "due_at": None}
        await self._change(tenant, parked, changes, ttl=WATCHED)

    async def discard(self, tenant: str, parked_id: str) -> None:
        await self._tables.delete(PARKED, (tenant, parked_id))

    async def _change(self, tenant: str, before: ParkedEvent, changes: Row, *, ttl: int) -> bool:
        expected: Row = {
            "attempts": before.attempts,
            "due_at": before.due_at,
            "replayed_at": before.replayed_at,
        }
        key = tenant, before.parked_id
        return await self._tables.update_if(PARKED, key, expected=expected, changes=changes, ttl=ttl)


def _parked(row: Row) -> ParkedEvent:
    parked_at, due_at, replayed_at, event = row["parked_at"], row["due_at"], row["replayed_at"], row["event"]
    assert isinstance(parked_at, datetime) and isinstance(event, bytes)
    assert due_at is None or isinstance(due_at, datetime)
    assert replayed_at is None or isinstance(replayed_at, datetime)
    return ParkedEvent(
        parked_id=str(row["parked_id"]),
        trigger=str(row["trigger"]),
        reason=str(row["reason"]),
        attempts=int(str(row["attempts"])),
        parked_at=parked_at,
        due_at=due_at,
        event=from_structured(event),
        replayed_at=replayed_at,
    )

"""Deliveries to webhooks: their state by compare-and-set, their tries as rows, and an index by time."""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import msgspec

from shared.domain.webhook import Answer, Delivery, State
from shared.ports.tables import Put, Row, Tables
from shared.repositories.webhook_schema import WEBHOOK_DELIVERIES, WEBHOOK_LOG, WEBHOOK_TRIES

KEPT = timedelta(days=30)
"""How long a delivery, its tries and its place in the log are kept."""
_TTL = int(KEPT.total_seconds())
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOURS_AT_ONCE = 24  # partitions of the log that are read together
_MOST_TRIES = 200
_CHANGING = ("due_at", "state", "tries", "made", "until", "status_code", "reason", "finished_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    number: int
    at: datetime
    milliseconds: int
    status_code: int | None
    problem: str | None
    excerpt: str
    truncated: bool


def place(delivery: Delivery) -> str:
    """Where it stands in the log: places sort by time."""
    return _place(delivery.created_at, delivery.delivery_id)


@dataclass(frozen=True, slots=True)
class WebhookDeliveries:
    tables: Tables

    async def add(self, tenant: str, delivery: Delivery) -> Delivery:
        """Keep it, if it is new; the one that is kept."""
        row: Row = {"tenant": tenant, **{name: getattr(delivery, name) for name in _COLUMNS}}
        in_the_way = await self.tables.put_if_absent(WEBHOOK_DELIVERIES, row, ttl=_TTL)
        kept = (_delivery(in_the_way[0]) or delivery) if in_the_way else delivery
        at_hour: Row = {
            "tenant": tenant,
            "webhook_id": kept.webhook_id,
            "hour": _hour(kept.created_at),
            "place": place(kept),
        }
        await self.tables.put(Put(WEBHOOK_LOG, at_hour, ttl=_TTL))
        return kept

    async def get(self, tenant: str, delivery_id: str) -> Delivery | None:
        row = await self.tables.get(WEBHOOK_DELIVERIES, (tenant, delivery_id), serial=True)
        return None if row is None else _delivery(row)

    async def change(self, tenant: str, before: Delivery, after: Delivery) -> Delivery | None:
        """``after`` in the place of ``before``, as it is kept then; None: somebody else has changed it."""
        after = replace(after, version=before.version + 1)
        changes: Row = {"version": after.version, **{name: getattr(after, name) for name in _CHANGING}}
        key, expected = (tenant, before.delivery_id), {"version": before.version}
        done = await self.tables.update_if(WEBHOOK_DELIVERIES, key, expected=expected, changes=changes, ttl=_TTL)
        return after if done else None

    async def tried(self, tenant: str, delivery: Delivery, answer: Answer, at: datetime) -> None:
        """Keep what came of the try that the delivery was taken for."""
        row: Row = {
            "tenant": tenant,
            "delivery_id": delivery.delivery_id,
            "number": delivery.made,
            "at": at,
            "milliseconds": round(answer.seconds * 1000),
            "status_code": answer.status_code,
            "problem": answer.problem,
            "excerpt": answer.excerpt,
            "truncated": answer.truncated,
        }
        await self.tables.put(Put(WEBHOOK_TRIES, row, ttl=_TTL))

    async def tries(self, tenant: str, delivery_id: str) -> list[Try]:
        """The oldest first; those of which nobody knows what came are not among them."""
        rows = await self.tables.slice(WEBHOOK_TRIES, (tenant, delivery_id), limit=_MOST_TRIES)
        return [msgspec.convert({name: row[name] for name in Try.__slots__}, Try) for row in rows]

    async def log(
        self,
        tenant: str,
        webhook_id: str,
        *,
        since: datetime,
        until: datetime,
        before: str | None = None,
        limit: int,
    ) -> list[Delivery]:
        """Deliveries that were created from ``since`` to ``until`` and stand ``before`` a place, the newest first."""
        first, last = _place(since, ""), _place(until, "~")
        last = last if before is None else min(last, before)
        found: list[str] = []
        hour, oldest = _hour(_time_of(last)), _hour(since)
        while hour >= oldest and len(found) < limit:
            hours = range(hour, max(hour - _HOURS_AT_ONCE, oldest - 1), -1)
            slices = await asyncio.gather(
                *(
                    self.tables.slice(
                        WEBHOOK_LOG, (tenant, webhook_id, one), after=first, until=last, limit=limit + 1, reverse=True
                    )
                    for one in hours
                )
            )
            found += [str(row["place"]) for rows in slices for row in rows if row["place"] != before]
            hour -= _HOURS_AT_ONCE
        deliveries = await asyncio.gather(*(self.get(tenant, _id_of(one)) for one in found[:limit]))
        return [delivery for delivery in deliveries if delivery is not None]


_COLUMNS = (
    "delivery_id",
    "webhook_id",
    "notification_id",
    "type",
    "body",
    "created_at",
    *_CHANGING,
    "version",
)


def _delivery(row: Row) -> Delivery | None:
    """None for what is left of one whose time is over but for a late change."""
    if row["body"] is None:
        return None
    known = {name: row[name] for name in _COLUMNS}
    return Delivery(**known | {"state": State(str(row["state"]))})  # type: ignore[arg-type]


def _place(at: datetime, delivery_id: str) -> str:
    return f"{_milliseconds(at):015}/{delivery_id}"


def _time_of(place: str) -> datetime:
    return _EPOCH + timedelta(milliseconds=int(place.partition("/")[0]))


def _id_of(place: str) -> str:
    return place.partition("/")[2]


def _milliseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(milliseconds=1)


def _hour(at: datetime) -> int:
    return _milliseconds(at) // 3_600_000

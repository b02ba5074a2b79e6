"""
reap: uploads that nobody finished and bytes that nobody uses are removed (B1, B8).

Takes chat4all.timer.ticked.v1 with the name "reap"; emits nothing.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import ClassVar

from events import Event, EventData, TimerTicked
from shared.domain.file import GRACE, OPEN, UPLOAD_LIFE
from shared.observability import metrics
from shared.ports import Clock, ObjectStore, Ports
from shared.repositories.blobs import Blobs
from shared.repositories.files import FileRecord, Files
from shared.repositories.tenants import Tenants
from shared.repositories.uploads import Uploads
from shared.ticks import OneAtATime, Tick

_MARGIN = timedelta(days=1)
"""Past the life of an upload, until what the store has of it and no row knows is an orphan."""
BUDGET, UNDER_WAY = timedelta(minutes=3), timedelta(minutes=1)
"""Its Trigger waits for five minutes: a tenant may have many bytes to delete."""
_ONCE_AN_HOUR = 10
"""
Minutes at its beginning in which orphans are looked for; ticks come every ten. That imports the store's client, half a
second of CPU where the process was just started. A lost tick costs an hour, which is nothing to what is days old.
"""
_GOLDEN = 0.6180339887498949
"""Its multiples lie evenly between 0 and 1, those by minutes of ticks too: nothing is further from every fraction."""
_BEING_MADE = timedelta(minutes=10)
"""A place in the quota is taken before the file has a row."""


def decide(file: FileRecord | None, expires_at: datetime, now: datetime) -> str | None:
    """What is to be done about a place among the open uploads: "abort", "release", or nothing."""
    if file is None:
        return "release" if now > expires_at - UPLOAD_LIFE + _BEING_MADE else None
    if file.state not in OPEN:
        return "release"
    return "abort" if now > expires_at else None


def in_turn(tenants: Sequence[str], minute: int) -> list[str]:
    """
    Each minute begins with another, so that where a tick has no time for all none is always left out.

    >>> in_turn("abc", 10), in_turn("abc", 20)
    (['a', 'b', 'c'], ['b', 'c', 'a'])
    """
    first = int(minute * _GOLDEN % 1 * len(tenants))
    return [*tenants[first:], *tenants[:first]]


@dataclass(frozen=True, slots=True)
class Reap:
    accepts: ClassVar[tuple[type[EventData], ...]] = (TimerTicked,)

    clock: Clock
    objects: ObjectStore
    tenants: Tenants
    files: Files
    uploads: Uploads
    blobs: Blobs
    one_at_a_time: OneAtATime = field(default_factory=OneAtATime)

    async def handle(self, event: Event[TimerTicked]) -> None:
        await self.one_at_a_time(self._reap_all)

    async def _reap_all(self) -> None:
        now, tick = self.clock.now(), Tick(self.clock, budget=BUDGET, under_way=UNDER_WAY)
        names = [tenant.name for tenant in await tick.in_time(self.tenants.all())]
        tenants = in_turn(names, int(now.timestamp() // 60))
        orphans_before = [now - UPLOAD_LIFE - _MARGIN] if now.minute < _ONCE_AN_HOUR else []
        _, left = await asyncio.gather(  # side by side: neither can take all the time
            tick.each(orphans_before, self.objects.discard_stale),
            tick.each(tenants, partial(self._reap, tick, now)),
        )
        if len(left) == len(tenants):
            metrics.uploads_open.set(sum(left))
        tick.end()

    async def _reap(self, tick: Tick, now: datetime, tenant: str) -> int:
        """How many uploads of the tenant are open afterwards. What there is no time for is left to the next tick."""
        places = await self.uploads.open(tenant)
        left = len(places)
        for place in places:
            if not tick.goes_on:
                break
            file = await self.files.get(tenant, place.file_id)
            match decide(file, place.expires_at, now):
                case "abort" if file is not None:
                    await self.uploads.abort(tenant, file)
                    metrics.uploads_reaped.inc()
                    left -= 1
                case "release":
                    await self.uploads.release(tenant, place.owner, place.file_id)
                    left -= 1
        metrics.blobs_buried.inc(await self.blobs.bury(tenant, now - GRACE, tick))
        return left


def new(ports: Ports) -> Reap:
    files = Files(ports.tables, ports.clock)
    return Reap(
        clock=ports.clock,
        objects=ports.objects,
        tenants=Tenants(ports.tables, ports.clock),
        files=files,
        uploads=Uploads(ports.tables, files, ports.objects, ports.clock),
        blobs=Blobs(ports.tables, ports.objects, ports.clock),
    )

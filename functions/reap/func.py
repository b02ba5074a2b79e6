"""
reap: uploads that nobody finished and bytes that nobody uses are removed (B1, B8).

Takes chat4all.timer.ticked.v1 with the name "reap"; emits nothing.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import ClassVar

from events import Event, EventData, TimerTicked
from shared.domain.errors import Unavailable
from shared.domain.file import GRACE, OPEN, UPLOAD_LIFE
from shared.observability import metrics
from shared.ports import Clock, ObjectStore, Ports
from shared.repositories.blobs import Blobs
from shared.repositories.files import FileRecord, Files
from shared.repositories.tenants import Tenants
from shared.repositories.uploads import Uploads
from shared.ticks import OneAtATime

_MARGIN = timedelta(days=1)
"""Past the life of an upload, until what the store has of it and no row knows is an orphan."""
_BEING_MADE = timedelta(minutes=10)
"""A place in the quota is taken before the file has a row."""


def decide(file: FileRecord | None, expires_at: datetime, now: datetime) -> str | None:
    """What is to be done about a place among the open uploads: "abort", "release", or nothing."""
    if file is None:
        return "release" if now > expires_at - UPLOAD_LIFE + _BEING_MADE else None
    if file.state not in OPEN:
        return "release"
    return "abort" if now > expires_at else None


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
        now, open_ = self.clock.now(), 0
        failed: list[Unavailable] = []
        for tenant in await self.tenants.all():
            try:
                open_ += await self._reap(tenant.name, now)
                metrics.blobs_buried.inc(await self.blobs.bury(tenant.name, now - GRACE))
            except Unavailable as error:  # the other tenants do not wait for it
                failed.append(error)
        await self.objects.discard_stale(now - UPLOAD_LIFE - _MARGIN)
        if failed:
            raise failed[0]
        metrics.uploads_open.set(open_)

    async def _reap(self, tenant: str, now: datetime) -> int:
        """How many uploads of the tenant are open afterwards."""
        left = 0
        for place in await self.uploads.open(tenant):
            file = await self.files.get(tenant, place.file_id)
            match decide(file, place.expires_at, now):
                case "abort" if file is not None:
                    await self.uploads.abort(tenant, file)
                    metrics.uploads_reaped.inc()
                case "release":
                    await self.uploads.release(tenant, place.owner, place.file_id)
                case _:
                    left += 1
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

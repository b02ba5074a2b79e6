"""
Who is there, kept in tables alone: what is lost with a cache would make people vanish (docs/adr/0024).

A heartbeat is a row of its device. An open socket is a row too, written when it opens and when it ends; while it
is open its gateway answers for it with one row of its own, however many sockets it holds.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from functools import partial
from itertools import groupby
from zlib import crc32

from events import Event, PresenceChanged, derived_id
from events.vocabulary import PresenceStatus, rfc3339
from shared.domain.errors import Unavailable
from shared.domain.presence import OFFLINE_AFTER, Device, Standing, is_present, seen, standing
from shared.observability.log import log
from shared.ports import Clock, EventSink, Tables
from shared.ports.tables import Put, Row, Value
from shared.repositories.identity_schema import PLATFORM
from shared.repositories.schema import GATEWAYS, PRESENCE, PRESENT_DEVICES
from shared.ticks import Tick

SHARDS = 16
SOURCE = "/functions/presence"
_GATEWAYS = 1000
_PAGE = 1000  # devices in one look of ``expire``
_FORGET_GATEWAY = 10 * OFFLINE_AFTER


class Presence:
    """
    Emits chat4all.presence.changed.v1 when a user's status is another one than was told last.

    Every method that writes raises Unavailable when the store cannot; then it is to be called again.
    """

    def __init__(self, tables: Tables, sink: EventSink, clock: Clock) -> None:
        self._tables = tables
        self._sink = sink
        self._clock = clock
        self._first_shard = 0
        """Where ``expire`` begins; lost with the process, it is any."""

    async def of(self, tenant: str, user_id: str) -> Standing:
        told = await self._tables.get(PRESENCE, (tenant, user_id))
        return await self._standing(tenant, user_id, None if told is None else _time(told, "last_seen"))

    async def heartbeat(
        self, tenant: str, user_id: str, device: str, status: PresenceStatus, traceparent: str | None = None
    ) -> Standing:
        """The device is there and ``status``; offline: it says goodbye."""
        now = self._clock.now()
        if status is PresenceStatus.OFFLINE:
            await self._tables.delete(PRESENT_DEVICES, (*_partition(tenant, user_id), f"device/{device}"))
        else:
            await self._keep(tenant, user_id, Device(f"device/{device}", status, now))
        return await self._tell(tenant, user_id, now, traceparent)

    async def opened(self, tenant: str, user_id: str, gateway: str) -> None:
        """``gateway`` holds an open socket of the user: the first one, or one more."""
        now = self._clock.now()
        await self._keep(tenant, user_id, Device(f"gateway/{gateway}", PresenceStatus.ONLINE, now, gateway))
        await self._tell(tenant, user_id, now)

    async def closed(self, tenant: str, user_id: str, gateway: str) -> None:
        """The last socket of the user at ``gateway`` has ended; they are offline 30 s later unless they come back."""
        now = self._clock.now()
        await self._keep(tenant, user_id, Device(f"gateway/{gateway}", PresenceStatus.ONLINE, now))

    async def holds(self, tenant: str, user_id: str, gateway: str) -> bool:
        """Whether ``opened`` is still known; who was forgotten by mistake is to be told of again."""
        row = await self._tables.get(PRESENT_DEVICES, (*_partition(tenant, user_id), f"gateway/{gateway}"))
        return row is not None and row["gateway"] == gateway

    async def beat(self, gateway: str) -> None:
        """``gateway`` lives; to be called before its first socket and every ``GATEWAY_BEAT``."""
        row: Row = {"tenant": PLATFORM, "gateway": gateway, "seen_at": self._clock.now()}
        await self._tables.put(Put(GATEWAYS, row))

    async def erase_user(self, tenant: str, user_id: str) -> int:
        """Forget when they were there (LGPD art. 18); how many rows there were."""
        platform, shard, user = _partition(tenant, user_id)
        rows = await self._devices(shard, user)
        told = await self._tables.get(PRESENCE, (tenant, user_id))
        await self._tables.delete(PRESENT_DEVICES, *((platform, shard, user, row["device"]) for row in rows))
        await self._tables.delete(PRESENCE, (tenant, user_id))
        return len(rows) + (told is not None)

    async def expire(self) -> int:
        """
        Forget devices that were not seen for 30 s, and tell who is offline by that; how many users changed.

        Where it is when its time is up the next call begins.
        """
        tick, now = Tick(self._clock), self._clock.now()
        gateways = await self._gateways()
        changed = 0
        for shard in (*range(self._first_shard, SHARDS), *range(self._first_shard)):
            async for rows in self._pages(shard):
                leaving = [
                    (user, gone)
                    for user, devices in groupby(rows, key=lambda row: str(row["user"]))
                    if (gone := [row for row in devices if not is_present(_device(row), gateways, now)])
                ]
                changed += sum(await tick.each(leaving, partial(self._forget_or_leave, shard)))
                await asyncio.sleep(0)  # whoever has ten thousand devices to look at holds nobody up
                if not tick.goes_on:
                    self._first_shard = shard
                    tick.end()
                    return changed
        tick.end()
        await self._forget_gateways(gateways, now)  # not before all whom they held were told of
        return changed

    async def _pages(self, shard: int) -> AsyncIterator[list[Row]]:
        """Each user in one page, with all of their devices."""
        after: str | None = None
        while rows := await self._tables.slice(PRESENT_DEVICES, (PLATFORM, shard), after=after, limit=_PAGE):
            if len(rows) < _PAGE:
                yield rows
                break
            after = str(rows[-1]["user"])
            yield rows + await self._devices(shard, after, after=rows[-1]["device"])

    async def _devices(self, shard: int, user: str, after: Value = None) -> list[Row]:
        """All of the user, or those that come after one of them."""
        found: list[Row] = []
        while True:
            rows = await self._tables.slice(
                PRESENT_DEVICES, (PLATFORM, shard), prefix=(user,), after=after, limit=_PAGE
            )
            found += rows
            if len(rows) < _PAGE:
                return found
            after = rows[-1]["device"]

    async def _forget_or_leave(self, shard: int, leaving: tuple[str, list[Row]]) -> bool:
        try:
            return await self._forget(shard, *leaving)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001  it would fail for ever, and with it each tick
            log.error("who fell silent cannot be told of", tenant=leaving[0].partition("/")[0], exc_info=error)
            return False

    async def _forget(self, shard: int, user: str, gone: list[Row]) -> bool:
        tenant, _, user_id = user.partition("/")
        last_seen = max(_time(row, "seen_at") for row in gone)
        await self._tell(tenant, user_id, last_seen)  # before they go: without their rows nobody would try again
        # Read again: what was written since has the same key, and a gateway that was held up may have come back.
        devices = [_device(row) for row in await self._devices(shard, user)]
        gateways = await self._gateways() if _any_held(devices) else {}
        now = self._clock.now()
        silent = [device for device in devices if not is_present(device, gateways, now)]
        if silent:
            last_seen = max(seen(device, gateways) for device in silent)
            await self._tables.delete(PRESENT_DEVICES, *((PLATFORM, shard, user, device.name) for device in silent))
        # What came in this very moment went with them. What it told is taken back; the next heartbeat, or the gateway's
        # next look, sets it right.
        told = await self._tell(tenant, user_id, last_seen)
        return told.status is PresenceStatus.OFFLINE

    async def _forget_gateways(self, gateways: Mapping[str, datetime], now: datetime) -> None:
        silent = {gateway for gateway, seen_at in gateways.items() if seen_at < now - _FORGET_GATEWAY}
        if not silent:
            return
        # Read again: one that was away may be back, and where it is not known its sockets are told of nothing.
        known = await self._gateways()
        dead = [gateway for gateway in silent if gateway in known and known[gateway] < now - _FORGET_GATEWAY]
        if dead:
            await self._tables.delete(GATEWAYS, *((PLATFORM, gateway) for gateway in dead))

    async def _tell(self, tenant: str, user_id: str, seen_at: datetime, traceparent: str | None = None) -> Standing:
        told = await self._tables.get(PRESENCE, (tenant, user_id))
        before = PresenceStatus.OFFLINE if told is None else _status(told)
        last_seen = seen_at if told is None else max(seen_at, _time(told, "last_seen"))
        now = await self._standing(tenant, user_id, last_seen)
        assert now.last_seen is not None
        if told is None and now.status is PresenceStatus.OFFLINE:
            return now  # never told of, or erased while a socket was still open
        if now.status is not before:
            data = PresenceChanged(user_id=user_id, status=now.status, last_seen=now.last_seen)
            event_id = derived_id("presence", tenant, user_id, now.status, rfc3339(now.last_seen))
            at = self._clock.now()
            await self._sink.emit(
                Event(id=event_id, source=SOURCE, tenant=tenant, time=at, data=data, traceparent=traceparent)
            )
        if now.status is not before or now.status is PresenceStatus.OFFLINE:
            row: Row = {
                "tenant": tenant,
                "user_id": user_id,
                "status": str(now.status),
                "last_seen": now.last_seen,
            }
            await self._tables.put(Put(PRESENCE, row))
        return now

    async def _standing(self, tenant: str, user_id: str, last_seen: datetime | None) -> Standing:
        _, shard, user = _partition(tenant, user_id)
        devices = [_device(row) for row in await self._devices(shard, user)]
        gateways = await self._gateways() if _any_held(devices) else {}
        return standing(devices, gateways, last_seen, self._clock.now())

    async def _gateways(self) -> dict[str, datetime]:
        rows = await self._tables.slice(GATEWAYS, (PLATFORM,), limit=_GATEWAYS)
        return {str(row["gateway"]): _time(row, "seen_at") for row in rows}

    async def _keep(self, tenant: str, user_id: str, device: Device) -> None:
        platform, shard, user = _partition(tenant, user_id)
        row: Row = {
            "tenant": platform,
            "shard": shard,
            "user": user,
            "device": device.name,
            "status": str(device.status),
            "seen_at": device.seen_at,
            "gateway": device.gateway,
        }
        await self._tables.put(Put(PRESENT_DEVICES, row))


def _partition(tenant: str, user_id: str) -> tuple[str, int, str]:
    """Where the user's devices are: no tenant has a slash in its name."""
    user = f"{tenant}/{user_id}"
    return PLATFORM, crc32(user.encode()) % SHARDS, user


def _any_held(devices: Iterable[Device]) -> bool:
    return any(device.gateway is not None for device in devices)


def _device(row: Row) -> Device:
    gateway = row["gateway"]
    return Device(
        name=str(row["device"]),
        status=_status(row),
        seen_at=_time(row, "seen_at"),
        gateway=None if gateway is None else str(gateway),
    )


def _status(row: Row) -> PresenceStatus:
    """Online where it is one that a later release wrote: they are there, whatever else it says."""
    try:
        return PresenceStatus(str(row["status"]))
    except ValueError:
        return PresenceStatus.ONLINE


def _time(row: Row, column: str) -> datetime:
    at = row[column]
    assert isinstance(at, datetime)
    return at

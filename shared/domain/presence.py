"""
Who is there (A14): a user is as present as the most present of their devices.

A device is present for 30 s after it was last seen. What holds an open socket is not seen again and again: it is
present as long as its gateway is (docs/adr/0024).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from events.vocabulary import PresenceStatus

OFFLINE_AFTER = timedelta(seconds=30)
"""After the last heartbeat, or the end of the last socket."""
GATEWAY_BEAT = timedelta(seconds=10)
"""How often a gateway says that it lives: it may miss two before its users count as gone."""


@dataclass(frozen=True, slots=True)
class Device:
    """``gateway`` holds its socket; None: it is known by its last heartbeat, or its socket has ended."""

    name: str
    status: PresenceStatus
    seen_at: datetime
    gateway: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """``last_seen`` is None for somebody who never was."""

    status: PresenceStatus
    last_seen: datetime | None


def seen(device: Device, gateways: Mapping[str, datetime]) -> datetime:
    """When the device was last there; ``gateways`` says when each was."""
    return max(device.seen_at, gateways.get(device.gateway, device.seen_at)) if device.gateway else device.seen_at


def is_present(device: Device, gateways: Mapping[str, datetime], now: datetime) -> bool:
    return seen(device, gateways) > now - OFFLINE_AFTER


def standing(
    devices: Iterable[Device], gateways: Mapping[str, datetime], last_seen: datetime | None, now: datetime
) -> Standing:
    """``last_seen`` is what was known before, from devices that are gone."""
    times = [last_seen] if last_seen is not None else []
    status = PresenceStatus.OFFLINE
    for device in devices:
        times.append(seen(device, gateways))
        if not is_present(device, gateways, now):
            continue
        if device.status is PresenceStatus.ONLINE:
            status = PresenceStatus.ONLINE
        elif status is PresenceStatus.OFFLINE:
            status = device.status
    return Standing(status, max(times, default=None))

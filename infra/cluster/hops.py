"""How long an event takes from Kafka to the function that it is for, where that is awake."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from events import CloudEvent
from infra.cluster import logs
from infra.cluster.talk import Talk
from shared.adapters.kafka.event_log import appended_at
from shared.ports import Ports
from shared.ports.event_log import LoggedEvent
from shared.runtime.wiring import Wiring

_LOOK_BACK = 20_000
_SETTLED = 30.0
"""Seconds until what was still under way after the last message has been handled."""
_PACE = 1.0
"""Seconds between two messages: each is some fifteen events, and two cores that are full show how long they wait."""
_ALONE = 0.5
"""Seconds between two events of which each is handled before the next comes."""
_AWAKE = 30
"""Messages, or events, after which all whom they are for are awake, and have done what waited for them."""


@dataclass(frozen=True, slots=True)
class Hops:
    """
    By function. taken: milliseconds from Kafka's having an event to the moment at which its handling began; missing:
    how many events it should have had and was not done with, half a minute after the last.
    """

    taken: Mapping[str, Sequence[float]]
    missing: Mapping[str, int]


async def of_messages(talk: Talk, ports: Ports, wiring: Wiring, times: int) -> Hops:
    """Of whole messages: what follows from one comes nearly at once, and waits for each other."""
    await _said_often(talk, _AWAKE)
    begin = ports.clock.now().timestamp()
    await _said_often(talk, times)
    logged = [one for one in await ports.log.latest(_LOOK_BACK) if appended_at(one.offset) > begin]
    return await _seen(logged, wiring)


async def alone(event: CloudEvent, ports: Ports, wiring: Wiring, times: int) -> Hops:
    """
    Of one event at a time.

    ``event``: one that was handled before, so that little follows from it; it is told again under other ids.
    """
    again = [CloudEvent({**event.attributes, "id": ports.ids.uuid()}, event.data) for _ in range(_AWAKE + times)]
    for one in again:
        await ports.sink.append(one)
        await asyncio.sleep(_ALONE)
    wanted = {one.attributes["id"] for one in again[_AWAKE:]}
    logged = [one for one in await ports.log.latest(_LOOK_BACK) if one.event.attributes["id"] in wanted]
    return await _seen(logged, wiring)


async def _seen(logged: Sequence[LoggedEvent], wiring: Wiring) -> Hops:
    appended = {one.event.attributes["id"]: appended_at(one.offset) for one in logged}
    wanted = awaited(wiring, [one.event for one in logged])
    until = time.monotonic() + _SETTLED
    while True:
        found = hops(logs.said(), appended)
        without = missing(wanted, found)
        if not any(without.values()) or time.monotonic() > until:
            return Hops({name: list(of_it.values()) for name, of_it in found.items()}, without)
        await asyncio.sleep(logs.WRITTEN)


async def _said_often(talk: Talk, times: int) -> None:
    """Returns when the last message is sent; what else follows from it may still be under way."""
    for _ in range(times):
        message_id = await asyncio.to_thread(talk.send)
        await asyncio.sleep(_PACE)
    await asyncio.to_thread(talk.until_sent, message_id)


def hops(lines: Iterable[Mapping[str, Any]], appended: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """
    Milliseconds by function and event; of an event that came more than once, the first that was done.

    ``lines``: of the functions' logs. ``appended``: when the events were, in seconds since 1970, by id.
    """
    found: dict[str, dict[str, float]] = {}
    for line in lines:
        if logs.done(line) and line.get("event_id") in appended:
            event_id: str = line["event_id"]
            began = datetime.fromisoformat(line["timestamp"]).timestamp() - line["ms"] / 1000
            took = 1000 * (began - appended[event_id])
            of_it = found.setdefault(line["function"], {})
            of_it[event_id] = min(took, of_it.get(event_id, took))
    return found


def awaited(wiring: Wiring, events: Iterable[CloudEvent]) -> dict[str, set[str]]:
    """
    Ids of those of the events that Triggers want, by function: logs say its name, not that of a Service. Without what
    timers tell: it has nothing to do with a message, and whom it wakes may be at zero.
    """
    found: dict[str, set[str]] = {}
    for event in events:
        for trigger in wiring.triggers:
            if "timer" not in trigger.filter and trigger.wants(event.attributes):
                function = wiring.services[trigger.subscriber].function
                found.setdefault(function, set()).add(event.attributes["id"])
    return found


def missing(wanted: Mapping[str, Set[str]], found: Mapping[str, Mapping[str, float]]) -> dict[str, int]:
    """How many of the events each function has no line of; of one without any line, all."""
    return {function: len(ids - found.get(function, {}).keys()) for function, ids in wanted.items()}

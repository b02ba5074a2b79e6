"""
redrive: what is due is woken (design.md 5, 12).

Takes chat4all.timer.ticked.v1 with the name "redrive"; emits the events that were kept on the due list.
An entry goes only after its event was handed over, so a crash between the two wakes once more.
"""

import random
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from events import Event, EventData, TimerTicked
from shared.domain.errors import Unavailable
from shared.observability.log import log
from shared.ports import Clock, EventSink, Ports
from shared.repositories.due import DueEntry, DueList
from shared.repositories.parked import Parked, ParkedEvent
from shared.ticks import LONG, OneAtATime, Tick

_ROUND = 1000  # entries that are read together: what several of them want is handed over once

Want = tuple[str, str]
"""A tenant, and the id of an event."""


def decide(entry: DueEntry, parked: ParkedEvent | None) -> bool:
    """Whether the entry still wakes: what is parked may have been replayed or discarded by hand meanwhile."""
    if entry.kind != "parked":
        return True
    if parked is None or parked.replayed_at is not None or parked.due_at is None:
        return False
    return parked.due_at <= entry.at  # sooner than the entry, if that was put off


@dataclass(frozen=True, slots=True)
class Redrive:
    accepts: ClassVar[tuple[type[EventData], ...]] = (TimerTicked,)

    clock: Clock
    sink: EventSink
    due: DueList
    parked: Parked
    one_at_a_time: OneAtATime = field(default_factory=OneAtATime)

    async def handle(self, event: Event[TimerTicked]) -> None:
        await self.one_at_a_time(self._walk)

    async def _walk(self) -> None:
        tick, more = Tick(self.clock), True
        while more and tick.goes_on:
            more = await tick.in_time(self._round(tick))
        tick.end()

    async def _round(self, tick: Tick) -> bool:
        """Whether there may be more."""
        found = await self.due.due(_ROUND, tick)
        wanted: dict[Want, list[DueEntry]] = defaultdict(list)
        for entry in found.entries:
            wanted[entry.tenant, entry.wake.attributes["id"]].append(entry)
        # Not by age: what failed before is the oldest, and 50 of those would look like a broker that is away.
        in_no_order = random.sample(list(wanted.items()), len(wanted))
        gone = set(await tick.each(in_no_order, partial(self._wake_or_put_off, tick)))
        left = (entry for want, entries in wanted.items() if want not in gone for entry in entries)
        await self.due.passed(found, left)
        return found.more

    async def _wake_or_put_off(self, tick: Tick, wanted: tuple[Want, list[DueEntry]]) -> Want:
        want, entries = wanted
        try:
            await self._wake(tick, entries)
        except Unavailable:
            now = self.clock.now()
            if min(entry.at for entry in entries) < now - LONG:
                await self.due.put_off(*entries, until=tick.again_at(now))
            raise
        except Exception as error:  # noqa: BLE001  it would fail for ever, and hold up what comes after it
            log.error("what is due cannot be woken", due_ids=[entry.due_id for entry in entries], exc_info=error)
            await self.due.put_off(*entries, until=self.clock.now() + LONG)
        return want

    async def _wake(self, tick: Tick, entries: list[DueEntry]) -> None:
        """Hand over what they all want."""
        looked_up = [(entry, await self._parked(entry)) for entry in entries]
        awake = [(entry, parked) for entry, parked in looked_up if decide(entry, parked)]
        if awake:
            await self.sink.append(awake[-1][0].wake)
            tick.handed_over()
        for entry, parked in awake:
            if parked is not None:  # as it was before: by now it may have failed and been parked anew
                await self.parked.replayed(entry.tenant, parked, self.clock.now())
        await self.due.done(*entries)

    async def _parked(self, entry: DueEntry) -> ParkedEvent | None:
        return await self.parked.get(entry.tenant, entry.due_id) if entry.kind == "parked" else None


def new(ports: Ports) -> Redrive:
    return Redrive(
        clock=ports.clock,
        sink=ports.sink,
        due=DueList(ports.tables, ports.clock),
        parked=Parked(ports.tables),
    )

"""
redrive: what is due is woken (design.md 5, 12).

Takes chat4all.timer.ticked.v1 with the name "redrive"; emits the events that were kept on the due list.
An entry goes only after its event was handed over, so a crash between the two wakes once more.
"""

import asyncio
from dataclasses import dataclass, field
from typing import ClassVar

from events import Event, EventData, TimerTicked
from shared.ports import Clock, EventSink, Ports
from shared.repositories.due import DueEntry, DueList
from shared.repositories.parked import Parked, ParkedEvent

_AT_ONCE = 1000  # entries in one tick


def decide(entry: DueEntry, parked: ParkedEvent | None) -> bool:
    """Whether the entry still wakes: what is parked may have been replayed or discarded by hand meanwhile."""
    if entry.kind != "parked":
        return True
    return parked is not None and parked.replayed_at is None and parked.due_at == entry.at


@dataclass(frozen=True, slots=True)
class Redrive:
    accepts: ClassVar[tuple[type[EventData], ...]] = (TimerTicked,)

    clock: Clock
    sink: EventSink
    due: DueList
    parked: Parked
    walking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def handle(self, event: Event[TimerTicked]) -> None:
        if self.walking.locked():
            return  # ticks that piled up while nothing ran would each wake the same entries
        async with self.walking:
            await self._walk()

    async def _walk(self) -> None:
        due = await self.due.due(_AT_ONCE)
        looked_up = [(entry, await self._parked(entry)) for entry in due.entries]
        awake = [(entry, parked) for entry, parked in looked_up if decide(entry, parked)]
        if awake:
            wakes = {entry.wake.attributes["id"]: entry.wake for entry, _ in awake}
            await self.sink.append(*wakes.values())
        for entry, parked in awake:
            if parked is not None:  # as it was before: by now it may have failed and been parked anew
                await self.parked.replayed(entry.tenant, parked, self.clock.now())
        await self.due.done(due)

    async def _parked(self, entry: DueEntry) -> ParkedEvent | None:
        return await self.parked.get(entry.tenant, entry.due_id) if entry.kind == "parked" else None


def new(ports: Ports) -> Redrive:
    return Redrive(
        clock=ports.clock,
        sink=ports.sink,
        due=DueList(ports.tables, ports.clock),
        parked=Parked(ports.tables),
    )

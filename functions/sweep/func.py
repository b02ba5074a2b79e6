"""
sweep: what a crash left half done is finished, what has expired is removed (design.md 4).

Takes chat4all.timer.ticked.v1 with the name "sweep"; emits what the outbox still owes.
"""

import asyncio
from dataclasses import dataclass, field
from typing import ClassVar

from events import Event, EventData, TimerTicked
from shared.ports import Ports
from shared.ports.sweeper import Sweeper


@dataclass(frozen=True, slots=True)
class Sweep:
    accepts: ClassVar[tuple[type[EventData], ...]] = (TimerTicked,)

    sweeper: Sweeper
    sweeping: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def handle(self, event: Event[TimerTicked]) -> None:
        if self.sweeping.locked():
            return  # ticks that piled up while nothing ran would each look through the same minutes
        async with self.sweeping:
            await self.sweeper.sweep()


def new(ports: Ports) -> Sweep:
    return Sweep(sweeper=ports.sweeper)

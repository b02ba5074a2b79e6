"""
sweep: what a crash left half done is finished, what has expired is removed (design.md 4).

Takes chat4all.timer.ticked.v1 with the name "sweep"; emits what the outbox still owes.
"""

from dataclasses import dataclass, field
from typing import ClassVar

from events import Event, EventData, TimerTicked
from shared.ports import Ports
from shared.ports.sweeper import Sweeper
from shared.ticks import OneAtATime


@dataclass(frozen=True, slots=True)
class Sweep:
    accepts: ClassVar[tuple[type[EventData], ...]] = (TimerTicked,)

    sweeper: Sweeper
    one_at_a_time: OneAtATime = field(default_factory=OneAtATime)

    async def handle(self, event: Event[TimerTicked]) -> None:
        await self.one_at_a_time(self.sweeper.sweep)


def new(ports: Ports) -> Sweep:
    return Sweep(sweeper=ports.sweeper)

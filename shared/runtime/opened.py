"""What opening a mode gives: the ports, who wakes functions, what it stands on."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from shared.ports import Ports
from shared.runtime.dependency import Dependency

if TYPE_CHECKING:
    from shared.runtime.subscriber import Subscriber
    from shared.runtime.trigger_runner import Pace, Runner
    from shared.runtime.wiring import Trigger


async def _on_disk_already() -> None:
    return


@dataclass(frozen=True, slots=True)
class Opened:
    """
    ``runner`` makes what wakes the subscribers, by service, of these Triggers. ``sync`` returns once all that was
    written is on disk; a store of its own acknowledges nothing before. ``serve_objects``: the ASGI application of
    presigned URLs, None when they lead elsewhere.
    """

    ports: Ports
    runner: "Callable[[Iterable[Trigger], Mapping[str, Subscriber], Pace], Runner]"
    dependencies: Mapping[str, Dependency]
    sync: Callable[[], Awaitable[None]] = _on_disk_already
    serve_objects: Any = None


Tell = Callable[[str, str | None], None]
"""A server that is waited for, and why; None: it has come. What it raises ends the waiting."""


@dataclass(slots=True)
class Waiting:
    """What a start waits for, by server, and why; it is asked for while nothing else can be answered."""

    tell: Tell = lambda name, why: None
    why: dict[str, str] = field(default_factory=dict)
    _missed: set[str] = field(default_factory=set)

    def begin(self, name: str) -> None:
        self.why[name] = "not asked yet"

    def still(self, name: str, why: str) -> None:
        self.why[name] = why
        if name not in self._missed:
            self._missed.add(name)
            self.tell(name, why)

    def over(self, name: str) -> None:
        self.why.pop(name, None)
        if name in self._missed:
            self.tell(name, None)

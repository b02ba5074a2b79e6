"""Functions by name: the folder functions/<name>/, imported only when asked for (design.md 8, cold start)."""

from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol

import functions
from events import CloudEvent, Event, EventData
from shared.ports import Ports
from shared.runtime.wiring_error import WiringError


class EventFunction(Protocol):
    """What ``new(ports)`` of a function's func.py makes, when it takes events; accepting () it takes none."""

    accepts: ClassVar[tuple[type[EventData], ...]]

    async def handle(self, event: Event[Any]) -> None: ...


class AnyEventFunction(Protocol):
    """One that takes every event as it is, extensions included: dead letters are of any type."""

    accepts: ClassVar[tuple[type[CloudEvent]]]

    async def handle(self, event: CloudEvent) -> None: ...


def folder_of(name: str) -> str:
    """
    >>> folder_of("record-status")
    'record_status'
    """
    return name.replace("-", "_")


def name_of(folder: str) -> str:
    """
    >>> name_of("record_status"), name_of("record-status")
    ('record-status', 'record-status')
    """
    return folder.replace("_", "-")


def names() -> tuple[str, ...]:
    """Every function there is, by the name of its service, in alphabetical order."""
    root = Path(functions.__path__[0])
    return tuple(sorted(name_of(path.parent.name) for path in root.glob("*/func.py")))


def new(name: str, ports: Ports) -> Any:
    """
    The function ``name`` over these ports.

    Raises:
        WiringError: there is none of that name; the text names those that are.
    """
    if name not in names():
        raise WiringError(f"there is no function {name!r}; there are {', '.join(names())}")
    return import_module(f"functions.{folder_of(name)}.func").new(ports)

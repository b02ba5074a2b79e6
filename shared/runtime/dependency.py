"""Something the platform stands on, and whether it can do without it for a while (E8)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

Check = Callable[[], Awaitable[str]]
"""Returns what to say when it is well; raises Unavailable or OSError when it is not."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """``needed``: without it the process is not ready; else it goes on, with less."""

    check: Check
    needed: bool = True

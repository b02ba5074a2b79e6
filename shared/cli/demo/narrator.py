"""Tells the story step by step, waits with a deadline, and keeps what came true."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from shared.cli.command import Failed
from shared.cli.output import Output
from shared.cli.visible import visible

T = TypeVar("T")

_PAUSE = 0.05  # seconds between two looks


@dataclass
class Narrator:
    """``deadline`` is how many seconds one wait may take."""

    output: Output
    texts: Mapping[str, str]
    deadline: float
    steps: list[dict[str, Any]] = field(default_factory=list)
    _began: float = field(default_factory=time.perf_counter)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    def text(self, key: str, **facts: Any) -> str:
        return self.texts[key].format(**facts)

    def act(self, key: str) -> None:
        from rich.markup import escape

        self.output.say(f"\n[bold]{escape(self.text(key))}[/bold]")

    def step(self, key: str, **facts: Any) -> None:
        """Something has come true."""
        from rich.markup import escape

        self.steps.append({"step": key, **facts})
        self.output.say(f"  [green]✓[/green] {escape(self.text(key, **facts))}")

    def wait(self, what: str, look: Callable[[], T | None]) -> tuple[T, float]:
        """
        What ``look`` finds at last, and how many milliseconds that took.

        Raises:
            Failed: it found nothing before the deadline.
        """
        began = time.perf_counter()
        with self._spinner(what):
            while True:
                found = look()
                took = time.perf_counter() - began
                if found is not None:
                    return found, took * 1000
                if took > self.deadline:
                    raise Failed(self.text("failed", why=f"{what}: {self.deadline:g} s"))
                time.sleep(_PAUSE)

    def sure(self, holds: bool, why: str) -> None:
        """
        Raises:
            Failed: it does not hold.
        """
        if not holds:
            raise Failed(self.text("failed", why=why))

    def _spinner(self, what: str) -> Any:
        from contextlib import nullcontext

        if self.output.as_json:
            return nullcontext()
        return self.output.console.status(visible(self.text("waiting", what=what)))

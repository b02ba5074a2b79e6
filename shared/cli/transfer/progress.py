"""What a transfer tells of itself while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from shared.cli.visible import visible

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID


class Progress(Protocol):
    def note(self, text: str) -> None:
        """Something that people may need afterwards, such as the file's id."""

    def stage(self, name: str, total: int, done: int = 0) -> None:
        """Something new begins, of which ``done`` bytes are there already."""

    def advance(self, size: int) -> None:
        """So many bytes more; fewer when a part has to be sent again."""


class Silent:
    """For programs."""

    def note(self, text: str) -> None: ...

    def stage(self, name: str, total: int, done: int = 0) -> None: ...

    def advance(self, size: int) -> None: ...


class Drawn:
    """A bar for each stage, on stderr, from the first one on; without a terminal one line when a stage has ended."""

    def __init__(self, bar: "Bar") -> None:
        self._bar = bar
        self._task: TaskID | None = None

    def note(self, text: str) -> None:
        self._bar.console.print(visible(text), markup=False, highlight=False, soft_wrap=True)

    def stage(self, name: str, total: int, done: int = 0) -> None:
        self._bar.start()  # not before: a bar without a stage ends with an empty line
        self._task = self._bar.add_task(name, total=total, completed=done)

    def advance(self, size: int) -> None:
        if self._task is not None:
            self._bar.advance(self._task, size)


@contextmanager
def progress(silent: bool) -> Iterator[Progress]:
    if silent:
        yield Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:<11}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    bar = Bar(*columns, console=Console(stderr=True))
    try:
        yield Drawn(bar)
    finally:
        if bar.tasks:
            bar.stop()

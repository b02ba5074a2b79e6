"""The terminal of a chat: lines above, what is being typed below. Without a terminal, plain lines in and out."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError
from contextlib import nullcontext
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

from shared.cli.chat.room import Line
from shared.cli.output import Output
from shared.cli.repeats import Repeats
from shared.cli.visible import visible

if TYPE_CHECKING:
    from rich.table import Table

_STYLES = {
    "mine": "default",
    "theirs": "bold",
    "news": "dim",
    "delivered": "dim",
    "read": "cyan",
    "failed": "red",
}
_TIME = 5  # columns of 12:03
_REFRESH = 0.5  # seconds between two looks at who is there


class Terminal:
    """
    ``status`` gives the line at the foot, ``typed`` is called whenever what is being typed changes; ``interactive``
    where lines are typed, not read from a file.
    """

    def __init__(self, output: Output, status: Callable[[], str], typed: Callable[[], None]) -> None:
        self._output, self._typed = output, typed
        self._status = lambda: visible(status())
        self._repeats = Repeats()
        self.interactive = not output.as_json and sys.stdin.isatty() and sys.stdout.isatty()

    def show(self, line: Line) -> None:
        if not self._output.as_json:
            self._output.console.print(drawn(line))

    def frame(self, frame: dict[str, Any]) -> None:
        """For programs; a message that came before, as after a connection was lost, has ``repeat_of``, its own id."""
        if not self._output.as_json:
            return
        if frame["type"] == "message":
            frame = self._repeats.told(frame, frame["message_id"], frame["message_id"])
        self._output.line(frame, lambda: None)

    def above(self) -> Any:
        """While it is entered, what is printed appears above the line that is being typed."""
        if not self.interactive:
            return nullcontext()
        from prompt_toolkit.patch_stdout import patch_stdout

        return patch_stdout(raw=True)

    async def lines(self) -> AsyncIterator[str]:
        """What the user enters, until they leave (Ctrl-D, Ctrl-C) or the input ends."""
        if not self.interactive:
            lines = _read_aside()
            while line := await lines.get():
                yield line.rstrip("\n")
            return
        from prompt_toolkit import PromptSession

        session: PromptSession[str] = PromptSession(
            "> ", bottom_toolbar=self._status, erase_when_done=True, refresh_interval=_REFRESH
        )
        session.default_buffer.on_text_changed += lambda _: self._typed()
        while True:
            try:
                yield await session.prompt_async()
            except (EOFError, KeyboardInterrupt):
                return


def _read_aside() -> "asyncio.Queue[str]":
    """
    The lines of stdin, and an empty one at its end.

    Read by a daemon thread: one of asyncio's own would hold up the end of the command until the next line comes.
    """
    lines: asyncio.Queue[str] = asyncio.Queue(1)  # what waits is the outbox's to hold
    loop = asyncio.get_running_loop()
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")

    def read() -> None:
        line = "\n"
        while line:
            line = sys.stdin.readline()
            put = lines.put(line)
            try:
                asyncio.run_coroutine_threadsafe(put, loop).result()
            except (RuntimeError, CancelledError):  # the loop has ended
                put.close()
                return

    threading.Thread(target=read, name="stdin", daemon=True).start()
    return lines


def drawn(line: Line) -> "Table":
    """The line in columns, so that a long text goes on below itself, however wide the terminal is."""
    from rich.table import Table
    from rich.text import Text

    row = Table.grid(padding=(0, 1, 0, 0))
    row.add_column(width=_TIME, style="dim")
    row.add_column(overflow="fold")
    text = Text()
    if line.mark and not line.who:
        text.append(f"{line.mark} ", _STYLES[line.style])
    if line.who:
        text.append(f"{visible(line.who)}: ", "green" if line.style == "mine" else "yellow")
    text.append(visible(line.text), _STYLES[line.style])
    if line.mark and line.who:
        text.append(f"  {line.mark}", "dim")
    row.add_row(line.at, text)
    return row

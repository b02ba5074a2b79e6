"""What goes to the terminal: tables for people, one JSON document for programs, errors on stderr."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from shared.cli.visible import as_json, visible

if TYPE_CHECKING:
    from rich.console import Console

_STYLES = {
    "PENDING": "dim",
    "UNCERTAIN": "yellow",
    "SENT": "cyan",
    "DELIVERED": "blue",
    "READ": "green",
    "FAILED": "red",
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
}

_ENDLESS = 1_000_000  # columns


@dataclass
class Output:
    """With ``as_json`` nothing but JSON reaches stdout, and an error is one JSON object on stderr."""

    as_json: bool = False

    @cached_property
    def console(self) -> "Console":
        """As wide as the terminal; what goes into a pipe or a file is never wrapped."""
        from rich.console import Console

        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = _ENDLESS
        return console

    def document(self, document: Any, human: Callable[[], None]) -> None:
        """``document`` for programs; ``human`` draws the same for people."""
        if self.as_json:
            print(as_json(document, indent=None if not sys.stdout.isatty() else 2))
        else:
            human()

    def line(self, document: Any, human: Callable[[], None]) -> None:
        """One of a stream: newline-delimited JSON, or a line for people; seen at once."""
        if self.as_json:
            print(as_json(document), flush=True)
        else:
            human()

    def say(self, text: str) -> None:
        """A sentence for people; ``text`` is markup."""
        if not self.as_json:
            self.console.print(visible(text), soft_wrap=True)

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "", empty: str = "none"
    ) -> None:
        """In a pipe or a file each row is one line."""
        from rich.table import Table
        from rich.text import Text

        whole = str if self.console.is_terminal else _on_one_line
        drawn = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
        for column in columns:
            drawn.add_column(whole(column), overflow="fold")
        for row in rows:
            drawn.add_row(*(Text(whole(visible(shown(cell))), style=_STYLES.get(str(cell), "")) for cell in row))
        if drawn.row_count:
            self.console.print(drawn)
        else:
            self.console.print(f"[dim]{title + ': ' if title else ''}{empty}[/dim]")

    def facts(self, document: dict[str, Any]) -> None:
        """One object, a line for each field."""
        self.table(("field", "value"), document.items())

    def error(self, title: str, detail: str = "", errors: Sequence[dict[str, Any]] = (), **more: Any) -> None:
        if self.as_json:
            fields = {"title": title, "detail": detail, **({"errors": list(errors)} if errors else {}), **more}
            print(as_json(fields), file=sys.stderr)
            return
        if errors and all(str(error.get("detail", "")) in detail for error in errors):
            detail = ""  # it is the list that follows, in one line
        lines = [f"{title}: {detail}" if detail and detail != title else title]
        lines += [f"  {': '.join(filter(None, (error.get('pointer'), error.get('detail'))))}" for error in errors]
        if more.get("command"):
            lines.append(f"  here: {more['command']}")
        if more.get("trace_id"):
            lines.append(f"  trace_id {more['trace_id']}")
        print(visible("\n".join(lines)), file=sys.stderr)


def _on_one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines())


def shown(value: Any) -> str:
    """
    ``value`` in one cell.

    >>> shown(None), shown(True), shown(["a", "b"]), shown({"type": "text", "text": "Olá"})
    ('', 'yes', 'a, b', 'Olá')
    >>> shown({"type": "file", "file_id": "f1", "filename": "cat.jpg"})
    '[file] cat.jpg (f1)'
    """
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(shown(item) for item in value)
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": str(kind), **rest}:
            what = rest.get("caption") or rest.get("filename") or rest.get("action")
            file_id = f"({rest['file_id']})" if "file_id" in rest else None
            return " ".join(str(part) for part in (f"[{kind}]", what, file_id) if part)
        case dict():
            return ", ".join(f"{name}={shown(item)}" for name, item in value.items())
        case float():
            return f"{value:.1f}"
        case _:
            return str(value)

"""
Writes docs/reference/cli.md from the commands themselves: ``python -m shared.cli.reference``.

With --check it writes nothing and exits with 1 when the page differs.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from shared.cli.command import CONNECTION_PANEL
from shared.cli.main import app
from shared.runtime.start_error import EXIT_CODES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"

_HEAD = """<!-- Made by python -m shared.cli.reference; do not edit. -->
# The command line

`scripts/chat4all` in the repository, `chat4all` where the package is installed. Every command but `up` talks to
a running platform over HTTP; `tenants` and parts of `doctor` work on the data directory.

With `--json` a command prints JSON on stdout and nothing else (`tail`: one object a line); an error is then one
JSON object on stderr.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | the platform refused, or what was asked for did not come true: title, detail and errors are on stderr |
| 2 | wrong usage |
| 3 | the platform cannot be reached, or nothing says who asks; stderr says what to do |
| 130 | stopped by Ctrl-C in the midst of something |
"""

_CONNECTION = """## Options of every command that talks to the platform

They, and `--json`, stand after the command or before it: `chat4all --tenant acme users list`.
"""


def page() -> str:
    """The page as it should be."""
    root: Any = get_command(app)
    commands = list(_walk(root, ("chat4all",)))
    connection = [
        parameter
        for parameter in dict(commands)["chat4all token"].params
        if getattr(parameter, "rich_help_panel", None) == CONNECTION_PANEL
    ]
    parts = [_HEAD, _start_errors(), _CONNECTION, _table(connection)]
    for path, command in commands:
        own = [
            each
            for each in command.params
            if getattr(each, "rich_help_panel", None) != CONNECTION_PANEL and each.name != "help"
        ]
        parts.append(f"## `{path}`\n\n{command.help.strip()}\n")
        if own:
            parts.append(_table(own))
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    wanted = page()
    if "--check" in arguments:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == wanted:
            return 0
        print(f"{PAGE.name} differs from the commands: run python -m shared.cli.reference", file=sys.stderr)
        return 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


def _walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, child in getattr(command, "commands", {}).items():
        if getattr(child, "commands", None):
            yield from _walk(child, (*path, name))
        else:
            yield " ".join((*path, name)), child


def _table(parameters: list[Any]) -> str:
    rows = ["| argument or option | meaning |", "|---|---|"]
    for each in parameters:
        if each.param_type_name == "argument":
            shown = f"`{(each.metavar or each.name.upper()).strip('[]')}`"
        else:
            shown = ", ".join(f"`{option}`" for option in (*each.opts, *each.secondary_opts))
        notes = [each.help or ""]
        if each.required:
            notes.append("(required)")
        elif each.default not in (None, False, ()) and each.param_type_name == "option" and each.show_default:
            notes.append(f"(default: {getattr(each.default, 'value', each.default)})")
        if each.envvar:
            names = [each.envvar] if isinstance(each.envvar, str) else each.envvar
            notes.append(f"[{', '.join(names)}]")
        rows.append(f"| {shown} | {' '.join(note for note in notes if note)} |")
    return "\n".join(rows) + "\n"


def _start_errors() -> str:
    rows = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    return f"What prevents a start (`up`) is one line on stderr and\n\n| exit code | meaning |\n|---|---|\n{rows}\n"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""Starts the platform in this process."""

from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    app.command("up")(up)


def up(
    port: Annotated[
        int | None,
        typer.Option("--port", envvar="CHAT4ALL_PORT", min=0, max=65535, help="(default: 8080)", show_default=False),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option("--host", envvar="CHAT4ALL_HOST", help="(default: 127.0.0.1)", show_default=False),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            envvar="CHAT4ALL_DATA_DIR",
            help="Where everything is kept (default: the data directory of XDG).",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[
        str | None, typer.Option("--mode", envvar="CHAT4ALL_MODE", help="(default: embedded)", show_default=False)
    ] = None,
) -> None:
    """
    Start the whole platform in this process, until Ctrl-C or SIGTERM.

    Other settings come as CHAT4ALL_ variables (docs/reference/settings.md). What prevents the start is one line
    on stderr and an exit code of its own (docs/reference/cli.md).
    """
    from shared.runtime.embedded import run
    from shared.settings import load_settings

    given: dict[str, Any] = {"port": port, "host": host, "data_dir": data_dir, "mode": mode}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    raise typer.Exit(run(settings))

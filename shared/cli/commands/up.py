"""Starts the platform in this process."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer


def register(app: typer.Typer) -> None:
    app.command("up")(up)


def up(
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="0 takes a free one (default: 8080).", show_default=False),
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on (default: 127.0.0.1).", show_default=False)
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            help="Where everything is kept (default: the data directory of XDG).",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option("--mode", help="embedded, or servers: on Kafka, Cassandra, Redis and NATS.", show_default=False),
    ] = None,
    triggers: Annotated[
        str | None,
        typer.Option(
            "--triggers",
            help="What events it takes: all, none, or services, comma-separated (default: all).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """
    Start the whole platform in this process, until Ctrl-C or SIGTERM.

    Every setting is also an environment variable, such as CHAT4ALL_PORT (docs/reference/settings.md); an option
    goes before it. What prevents the start is one line on stderr and an exit code of its own.
    """
    from shared.runtime.start_error import SETTINGS_WRONG, StartError
    from shared.settings import SettingsError, load_settings

    given: dict[str, Any] = {"port": port, "host": host, "data_dir": data_dir, "mode": mode, "triggers": triggers}
    try:
        settings = load_settings(**{name: value for name, value in given.items() if value is not None})
        from shared.cli.banner import announce, tell
        from shared.runtime.platform import run

        code = run(settings, announce, tell)
    except SettingsError as error:
        print(f"chat4all: {error}", file=sys.stderr)
        raise typer.Exit(SETTINGS_WRONG) from None
    except StartError as error:
        print(f"chat4all: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from None
    raise typer.Exit(code)

"""Serves one function as a process of its own."""

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from shared.cli.ready import say_ready

_MODE = "CHAT4ALL_MODE"


def register(app: typer.Typer) -> None:
    app.command("run")(run)


def run(
    service: Annotated[
        str, typer.Argument(help="A service or function, as in knative/services or functions.", show_default=False)
    ],
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 0,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", help="Where the vault's key is (default: of XDG).", show_default=False),
    ] = None,
    mode: Annotated[
        str | None, typer.Option("--mode", help="embedded or servers (default: CHAT4ALL_MODE).", show_default=False)
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", min=1, help="Calls under way at once at most, for each Trigger.", show_default=False
        ),
    ] = None,
    events: Annotated[
        bool, typer.Option("--events/--no-events", help="Take its events from Kafka, or only what is POSTed.")
    ] = True,
) -> None:
    """
    Serve one function, on func-python's HTTP contract, until Ctrl-C or SIGTERM.

    In the mode servers it also takes its events from Kafka: start the same function again, here or on another
    machine, and both share the work. Every process of an installation needs the same CHAT4ALL_SECRET_KEY, or the
    same data directory.
    """
    from shared.observability.log import write_to
    from shared.runtime.data_directory import prepare
    from shared.runtime.functions import name_of
    from shared.runtime.mode_check import check_mode
    from shared.runtime.only_one import only_one
    from shared.runtime.open_ports import EMBEDDED, SERVERS
    from shared.runtime.run_function import run_function
    from shared.runtime.start_error import SETTINGS_WRONG, WIRING_WRONG, StartError
    from shared.runtime.wiring_error import WiringError
    from shared.settings import SettingsError, load_settings

    try:
        chosen = {"mode": mode, "data_dir": data_dir}
        settings = load_settings(**{name: value for name, value in chosen.items() if value is not None})
        write_to(sys.stdout, level=settings.log_level)
        given = {_MODE: settings.mode, "CHAT4ALL_DATA_DIR": str(settings.data_dir)}
        prepare(settings.data_dir)
        check_mode(settings)
        with only_one(settings.data_dir) if settings.mode == EMBEDDED else nullcontext():
            run_function(
                service,
                {**os.environ, **given},  # noqa: TID251  the process's border; checked by load_settings
                host=host,
                port=port,
                woken=events and settings.mode == SERVERS,
                concurrency=concurrency or settings.concurrency,
                announce=lambda url: say_ready(name_of(service), url, f" (mode {settings.mode})"),
            )
    except StartError as error:
        print(f"chat4all: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from None
    except SettingsError as error:
        print(f"chat4all: {error}", file=sys.stderr)
        raise typer.Exit(SETTINGS_WRONG) from None
    except WiringError as error:
        print(f"chat4all: {error}", file=sys.stderr)
        raise typer.Exit(WIRING_WRONG) from None

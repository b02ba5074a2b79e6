"""Wakes functions that are Services of their own."""

import os
import sys
from typing import Annotated

import typer

from shared.cli.ready import say_ready


def register(app: typer.Typer) -> None:
    app.command("dispatch")(dispatch)


def dispatch(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Of health and metrics.")] = 8080,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency", min=1, help="Calls under way at once at most, for each Trigger.", show_default=False
        ),
    ] = None,
) -> None:
    """
    Take all events from Kafka and call Knative Services with them, until Ctrl-C or SIGTERM.

    It stands for Knative's Kafka Broker: Services scale to zero and are woken by its calls.
    """
    from shared.observability.log import write_to
    from shared.runtime import wiring
    from shared.runtime.dispatcher import Dispatcher
    from shared.runtime.open_ports import SERVERS, check_key_is_said, open_by
    from shared.runtime.serve import serve
    from shared.runtime.start_error import SETTINGS_WRONG, WIRING_WRONG
    from shared.runtime.trigger_runner import Pace
    from shared.runtime.wiring_error import WiringError
    from shared.settings import SettingsError, load_settings

    cfg = {**os.environ, "CHAT4ALL_MODE": SERVERS}  # noqa: TID251  the process's border
    try:
        settings = load_settings(mode=SERVERS)
        check_key_is_said(cfg)
    except (SettingsError, WiringError) as error:
        print(f"chat4all: {error}", file=sys.stderr)
        raise typer.Exit(SETTINGS_WRONG) from None
    write_to(sys.stdout, level=settings.log_level)
    try:
        wired = wiring.read()
    except WiringError as error:
        print(f"chat4all: {error}", file=sys.stderr)
        raise typer.Exit(WIRING_WRONG) from None
    dispatcher = Dispatcher(open_by, wired, Pace(calls=concurrency or settings.concurrency))
    serve(
        dispatcher,
        cfg,
        host=host,
        port=port,
        announce=lambda url: say_ready("dispatch", f"{url}/health/readiness"),
    )

"""Which chat4all this is."""

import typer

from shared.cli.command import AsJson
from shared.cli.output import Output


def register(app: typer.Typer) -> None:
    app.command("version")(version)


def version(as_json: AsJson = False) -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    found = installed("chat4all")
    Output(as_json).document({"version": found}, lambda: print(f"chat4all {found}"))

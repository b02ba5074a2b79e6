"""The machine-readable description of the HTTP surface."""

from pathlib import Path
from typing import Annotated

import typer

from shared.cli.command import Session, command
from shared.cli.visible import as_json

app = typer.Typer(help="The OpenAPI document.", no_args_is_help=True)


@app.callback()
def openapi() -> None:
    """The OpenAPI document."""


@command(app, "export")
def export(
    session: Session,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file (default: stdout).", show_default=False)
    ] = None,
) -> None:
    """Fetch the OpenAPI document of the running platform."""
    document = session.public.call("GET", "/openapi.json", anonymous=True).body
    text = as_json(document, indent=2) + "\n"
    if output is None:
        print(text, end="")
        return
    output.write_text(text, encoding="utf-8")
    session.output.document({"written": str(output)}, lambda: session.output.say(f"written to {output}"))

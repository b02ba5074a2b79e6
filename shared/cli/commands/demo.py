"""The narrated run."""

from typing import Annotated

import typer

from shared.cli.command import Session, command


def register(app: typer.Typer) -> None:
    command(app, "demo")(demo)


def demo(
    session: Session,
    language: Annotated[
        str, typer.Option("--lang", envvar=["LC_ALL", "LC_MESSAGES", "LANG"], help="en or pt.", show_default=False)
    ] = "en",
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Seconds that one wait may take.")] = 20.0,
) -> None:
    """
    See the promises kept: a chat, WhatsApp to Instagram and back, and the same message twice.

    Works on simulators of the providers, so nothing leaves the machine, and as the tenant that they serve: the first
    one. May be run again and again. Exit code 1 says what did not come true.
    """
    from rich.markup import escape

    from shared.cli.demo.narrator import Narrator
    from shared.cli.demo.story import Story
    from shared.cli.demo.texts import texts

    narrator = Narrator(session.output, texts(language), timeout)
    story = Story(session, narrator)
    document = story.tell()

    def human() -> None:
        count, url = len(narrator.steps), session.platform.client.url
        summary = narrator.text("summary", count=count, seconds=narrator.seconds)
        session.output.say(f"\n[bold green]{escape(summary)}[/bold green]")
        session.output.say(f"[dim]{escape(narrator.text('next', url=url, message_id=story.shown[1][1]))}[/dim]")

    session.output.document(document, human)

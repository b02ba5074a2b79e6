"""The wiring, and how each consumer keeps up."""

import typer

from shared.cli.command import Session, command
from shared.cli.output import shown


def register(app: typer.Typer) -> None:
    command(app, "triggers")(triggers)


def triggers(session: Session) -> None:
    """Which event wakes which function, how it is retried, and how far behind it is."""
    page = session.platform.get("/v1/triggers")

    def human() -> None:
        rows = [
            (
                each["name"],
                shown(each["filter"]).replace("chat4all.", ""),
                each["function"],
                each.get("delivery"),
                each.get("offset"),
                each.get("lag"),
                each.get("in_flight"),
            )
            for each in page["items"]
        ]
        session.output.table(("trigger", "filter", "function", "delivery", "offset", "lag", "in flight"), rows)

    session.output.document(page, human)

"""What the platform gave up on for now: look, try again, or let go."""

from typing import Annotated

import typer

from shared.cli.command import Session, command
from shared.cli.platform import PlatformRefused, segment

app = typer.Typer(help="Parked events: dead letters that wait for their time or for you.", no_args_is_help=True)


@command(app, "list")
def list_parked(
    session: Session, limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50
) -> None:
    """What is parked, why, and when it is tried again."""
    page = session.platform.items("/v1/parked", limit=limit)

    def human() -> None:
        rows = [
            (
                each["parked_id"],
                each["trigger"],
                each["reason"],
                each["attempts"],
                each["parked_at"],
                each.get("due_at") or "when you replay it",
                (each.get("event") or {}).get("type"),
            )
            for each in page["items"]
        ]
        session.output.table(
            ("id", "trigger", "reason", "attempts", "parked", "due", "event"), rows, empty="nothing is parked"
        )

    session.output.document(page, human)


@command(app, "replay")
def replay(
    session: Session,
    parked_id: Annotated[str | None, typer.Argument(metavar="[ID]", show_default=False)] = None,
    everything: Annotated[bool, typer.Option("--all", help="Replay all that is parked now.")] = False,
) -> None:
    """Put an event back into the broker. Harmless to repeat: ids stay the same."""
    if everything == (parked_id is not None):
        raise typer.BadParameter("give an ID, or --all")
    if parked_id is not None:
        session.platform.post(f"/v1/parked/{segment(parked_id)}/replay")
        replayed = [parked_id]
    else:
        # The list is read to its end before the first replay: replaying takes entries out of it.
        waiting = session.platform.items("/v1/parked", limit=1_000_000)["items"]
        replayed = [each["parked_id"] for each in waiting if _replayed(session, each["parked_id"])]
    session.output.document({"replayed": replayed}, lambda: session.output.say(f"replayed: {len(replayed)}"))


@command(app, "discard")
def discard(session: Session, parked_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Let go of a parked event for ever."""
    session.platform.call("DELETE", f"/v1/parked/{segment(parked_id)}")
    session.output.document({"discarded": [parked_id]}, lambda: print(f"discarded {parked_id}"))


def _replayed(session: Session, parked_id: str) -> bool:
    try:
        session.platform.post(f"/v1/parked/{segment(parked_id)}/replay")
    except PlatformRefused as refused:
        if refused.status != 404:  # gone meanwhile: its time came, or somebody else was faster
            raise
        return False
    return True

"""Messages: send one, read the history, look one over; and follow what happens, live."""

import sys
import time
from enum import StrEnum
from operator import itemgetter
from typing import Annotated, Any

import typer

from shared.cli.command import INTERRUPTED, Failed, Session, command
from shared.cli.platform import NEWEST, Json, segment

app = typer.Typer(help="Messages and their statuses.", no_args_is_help=True)

_RANK = {"PENDING": 0, "UNCERTAIN": 0, "SENT": 1, "DELIVERED": 2, "READ": 3}
_PAUSE = 0.1  # seconds between two looks at a status


class Until(StrEnum):
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"


def register(app: typer.Typer) -> None:
    command(app, "send")(send)


def send(
    session: Session,
    conversation_id: Annotated[str, typer.Argument()],
    text: Annotated[str, typer.Argument()],
    sender: Annotated[str, typer.Option("--from", help="The user who writes.", show_default=False)],
    to: Annotated[
        list[str] | None,
        typer.Option("--to", help="A user, or channel:address; may be repeated (default: all other members)."),
    ] = None,
    channel: Annotated[
        list[str] | None, typer.Option("--channel", help="A channel, or all; may be repeated (default: in-app).")
    ] = None,
    message_id: Annotated[
        str | None, typer.Option("--message-id", help="A UUID of yours: sent twice, it is one message.")
    ] = None,
    wait_for: Annotated[
        Until | None, typer.Option("--wait-for", help="Wait until the message has come so far.")
    ] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait at most.")] = 30.0,
) -> None:
    """
    Send a text to a conversation.

    With --wait-for the exit code is 1 when the message fails or does not come so far in time.
    """
    body: Json = {
        "conversation_id": conversation_id,
        "from": sender,
        "payload": {"type": "text", "text": text},
        **({"to": to} if to else {}),
        **({"channels": channel} if channel else {}),
        **({"message_id": message_id} if message_id else {}),
    }
    answer = session.platform.call("POST", "/v1/messages", body)
    accepted: Json = answer.body
    replayed = answer.headers.get("Idempotent-Replayed") == "true"
    _say_accepted(session, accepted, replayed)
    status = None
    if wait_for is not None:
        try:
            status = _wait(session, accepted["message_id"], sender, wait_for.upper(), timeout)
        except KeyboardInterrupt:
            why = f"stopped waiting; {accepted['message_id']} is accepted, and goes on"
            raise Failed(why, exit_code=INTERRUPTED, message_id=accepted["message_id"]) from None
    document = {**accepted, "idempotent_replayed": replayed, **({"reached": status} if status else {})}
    session.output.document(document, lambda: session.output.say(f"now {status}") if status else None)


def _say_accepted(session: Session, accepted: Json, replayed: bool) -> None:
    """At once: whoever gives up waiting must know that it is there, or they send it again."""
    from rich.markup import escape

    again = " [yellow](it was there already)[/yellow]" if replayed else ""
    session.output.say(
        f"[green]{accepted['status']}[/green] as {accepted['message_id']}, "
        f"number {accepted['seq']} of {escape(accepted['conversation_id'])}{again}"
    )


def _wait(session: Session, message_id: str, sender: str, wanted: str, timeout: float) -> str:
    deadline = time.monotonic() + timeout
    while True:
        found = session.platform.get(f"/v1/messages/{message_id}/status", act_as=sender)
        status = str(found["status"])
        if status == "FAILED":
            why = f"{message_id} has FAILED; see `chat4all messages show {message_id}`"
            raise Failed(why, message_id=message_id, status=status)
        if _RANK.get(status, 0) >= _RANK[wanted]:
            return status
        if time.monotonic() >= deadline:
            why = f"{message_id} is {status} after {timeout:g} s, not {wanted}"
            raise Failed(why, message_id=message_id, status=status)
        time.sleep(_PAUSE)


ActAs = Annotated[
    str | None, typer.Option("--as", help="What this user may see (default: all of the tenant).", show_default=False)
]


@command(app, "list")
def history(
    session: Session,
    conversation_id: Annotated[str, typer.Argument()],
    user: ActAs = None,
    since: Annotated[int, typer.Option("--since", min=0, help="Numbers greater than this.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 50,
    latest: Annotated[
        int | None, typer.Option("--latest", min=1, help="The newest so many, instead of --since and --limit.")
    ] = None,
) -> None:
    """
    The history of a conversation, in the order of its numbers, from the oldest on.

    When there may be more, stderr says how to go on.
    """
    path = f"/v1/conversations/{segment(conversation_id)}/messages"
    if latest is None:
        page = session.platform.items(path, limit=limit, act_as=user, since=since)
    else:
        if since:
            raise typer.BadParameter("--latest goes back from the newest: say it or --since")
        page = session.platform.items(path, limit=latest, act_as=user, before=NEWEST)
        page["items"].sort(key=itemgetter("seq"))  # each page is ascending, and the next one is older

    def human() -> None:
        rows = [
            (each["seq"], each["created_at"], each["from"], each.get("channels"), each.get("status"), each["payload"])
            for each in page["items"]
        ]
        session.output.table(("seq", "at", "from", "channels", "status", "message"), rows, empty="nothing said yet")
        if page["next_cursor"] and latest is None:
            more = f"go on with --since {page['items'][-1]['seq']}, or see the newest with --latest {limit}"
            print(f"there may be more: {more}", file=sys.stderr)

    session.output.document(page, human)


@command(app, "show")
def show(session: Session, message_id: Annotated[str, typer.Argument()], user: ActAs = None) -> None:
    """One message with its deliveries and its whole status history."""
    message, past = look(session, message_id, user)

    def human() -> None:
        kept = {name: value for name, value in message.items() if name != "deliveries"}
        session.output.facts(kept)
        session.output.table(
            ("recipient", "channel", "status", "provider's id", "reason"),
            [
                (
                    each["recipient"],
                    each["channel"],
                    each["status"],
                    each.get("provider_message_id"),
                    each.get("reason"),
                )
                for each in message.get("deliveries") or ()
            ],
            title="\ndeliveries",
        )
        draw_history(session, past)

    session.output.document({**message, "history": past}, human)


def look(session: Session, message_id: str, user: str | None) -> tuple[Json, list[Json]]:
    """A message and its status history."""
    path = f"/v1/messages/{segment(message_id)}"
    message = session.platform.get(path, act_as=user)
    past: Any = session.platform.get(f"{path}/status/history", act_as=user)
    return message, past["items"] if isinstance(past, dict) else past


def draw_history(session: Session, past: list[Json], title: str = "\nstatus history") -> None:
    session.output.table(
        ("at", "status", "recipient", "channel", "source"),
        [
            (each["timestamp"], each["status"], each.get("recipient"), each.get("channel"), each.get("source"))
            for each in past
        ],
        title=title,
    )

"""The wiring, and how each consumer keeps up."""

import typer

from shared.cli.command import Session, command
from shared.cli.platform import Json


def register(app: typer.Typer) -> None:
    command(app, "triggers")(triggers)


def triggers(session: Session) -> None:
    """Which event wakes which function, how it is retried, and how far behind it is."""
    page = session.platform.get("/v1/triggers")

    def human() -> None:
        rows = [
            (
                "\n  ".join((each["name"], *_filter(each["filter"]))),
                "\n  ".join((each["function"], _delivery(each["delivery"]))),
                each["offset"],
                each["lag"],
                f"{each['in_flight']}\n  {each['call_limit']}",
            )
            for each in page["items"]
        ]
        # Several lines a row: side by side the names would not fit into 80 columns, and broken ones cannot be copied.
        columns = ("trigger\n  wakes up on", "function\n  retries and timeout", "offset", "lag", "in flight\n  calls ≤")
        session.output.table(columns, rows)

    session.output.document(page, human)


def _filter(wanted: dict[str, str]) -> list[str]:
    """
    >>> _filter({"type": "chat4all.delivery.requested.v1", "channel": "whatsapp"})
    ['delivery.requested', 'channel=whatsapp']
    """
    kind = wanted.get("type", "").removeprefix("chat4all.").removesuffix(".v1")
    return [kind] * bool(kind) + [f"{name}={value}" for name, value in wanted.items() if name != "type"]


def _delivery(delivery: Json) -> str:
    timeout = delivery["timeout_seconds"]
    growth = "×2" if delivery["backoff_policy"] == "exponential" else "linear"
    end = "" if timeout is None else f", {timeout:g} s"
    return f"{delivery['retry']} from {delivery['backoff_delay_seconds']:g} s {growth}{end}"

"""The event log: what happened, why, and what is happening now."""

import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from shared.cli.command import Failed, Session, command
from shared.cli.platform import Json
from shared.cli.repeats import Repeats
from shared.cli.visible import visible

if TYPE_CHECKING:
    from rich.tree import Tree

    from shared.cli.chain import Link

app = typer.Typer(help="The event log.", no_args_is_help=True)

_UUID = 36  # characters
_WAIT = 10.0  # seconds that one question for new events stays open
_NEWEST = 10  # events that tail begins with


def register(app: typer.Typer) -> None:
    command(app, "tail")(tail)


def _known(kind: str | None) -> str | None:
    """
    ``kind``, of which there are types that contain it: with any other one a tail would wait for ever.

    Raises:
        typer.BadParameter: there are none; the text names the nearest ones.
    """
    from difflib import get_close_matches

    from events import CATALOGUE

    if kind is None or any(kind in full for full in CATALOGUE):
        return kind
    names = sorted(map(_short, CATALOGUE))
    near = get_close_matches(kind, names, cutoff=0.5)
    told = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    raise typer.BadParameter(f"no event's type contains {kind!r}; {told}")


Kind = Annotated[
    str | None,
    typer.Option("--type", callback=_known, help="Only types that contain this, such as message.delivered."),
]


def tail(
    session: Session,
    since: Annotated[
        int | None, typer.Option("--since", min=0, help="Begin after this offset (default: with the newest).")
    ] = None,
    kind: Kind = None,
    message: Annotated[str | None, typer.Option("--message", help="Only events of this message.")] = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Stop after so many.", show_default=False)] = None,
) -> None:
    """
    Follow the events live, until Ctrl-C. With --json one object a line.

    When the platform goes away it is waited for, and nothing is missing. What was shown before, such as one fact that
    two have reported, is said to be a repeat.
    """
    seen, repeats = 0, Repeats()
    try:
        for found in session.platform.log(after=since, wait=_WAIT, newest=_NEWEST, lost=_tell_loss):
            entry = repeats.marked(found)
            if not _wanted(entry, kind) or (message and _message(entry) != message):
                continue
            session.output.line(entry, lambda entry=entry: _print(session, entry))  # type: ignore[misc]
            seen += 1
            if seen == count:
                return
    except KeyboardInterrupt:
        return


@command(app, "list")
def list_events(
    session: Session,
    after: Annotated[int | None, typer.Option("--after", min=0, help="Offsets greater than this.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="At most so many.")] = 50,
    kind: Kind = None,
) -> None:
    """The newest events; with --after those that follow an offset."""
    page = session.platform.get("/v1/events", after=after, limit=limit)
    repeats = Repeats()
    page["items"] = [repeats.marked(entry) for entry in page["items"] if _wanted(entry, kind)]

    def human() -> None:
        for entry in page["items"]:
            _print(session, entry)

    session.output.document(page, human)


@command(app, "show")
def show(
    session: Session,
    any_id: Annotated[str, typer.Argument(metavar="ID", help="An event's id, a message's id or a trace id.")],
) -> None:
    """
    The whole chain that an event belongs to: what brought about what, and how long each step took.

    A step is counted from the newest time before it. What is dated by what somebody told, such as a provider of a
    delivery, shows that date instead (with --json `after_ms` is null).
    """
    from shared.cli.chain import linked

    entries = chain_of(session, any_id)
    if not entries:
        raise Failed(f"no event, message or trace {any_id} in the log (it may have been trimmed)")
    roots = linked(entries)

    def human() -> None:
        for root in roots:
            session.output.console.print(_tree(root))

    session.output.document({"items": [_document(root) for root in roots]}, human)


def chain_of(session: Session, any_id: str) -> list[Json]:
    """Every kept event of the message or trace, and of the traces that these belong to."""
    from shared.cli.chain import trace_id

    platform = session.platform
    if re.fullmatch(r"[0-9a-f]{32}", any_id):
        found = platform.chain(trace_id=any_id)
    elif len(any_id) == _UUID:
        found = platform.chain(message_id=any_id) or _with_id(session, any_id)
    else:
        found = _with_id(session, any_id)
    entries = {entry["offset"]: entry for entry in found}
    for message in {message for entry in found if (message := _message(entry))} - {any_id}:
        entries |= {entry["offset"]: entry for entry in platform.chain(message_id=message)}
    for trace in {trace for entry in entries.values() if (trace := trace_id(entry))} - {any_id}:
        entries |= {entry["offset"]: entry for entry in platform.chain(trace_id=trace)}
    return [entries[offset] for offset in sorted(entries)]


def _tell_loss(error: Exception) -> None:
    print(f"connection lost ({visible(str(error))}); going on when the platform is back", file=sys.stderr, flush=True)


def _message(entry: Json) -> str | None:
    """The message that an event is about."""
    return (entry["event"].get("data") or {}).get("message_id")


def _with_id(session: Session, event_id: str) -> list[Json]:
    for entry in session.platform.log(after=0):
        if entry["event"]["id"] == event_id:
            return [entry]
    return []


def _wanted(entry: Json, kind: str | None) -> bool:
    return kind is None or kind in entry["event"]["type"]


def _short(kind: str) -> str:
    """
    >>> _short("chat4all.message.delivered.v1")
    'message.delivered'
    """
    return kind.removeprefix("chat4all.").removesuffix(".v1")


def _repeat(entry: Json) -> str:
    return f" (repeat of {entry['repeat_of']})" if "repeat_of" in entry else ""


def _print(session: Session, entry: Json) -> None:
    from rich.text import Text

    event = entry["event"]
    data = event.get("data") or {}
    facts = " ".join(
        f"{name}={data[name]}" for name in ("seq", "status", "recipient", "kind", "reason") if data.get(name)
    )
    session.output.console.print(
        Text.assemble(
            (f"{entry['offset']:>8} ", "dim"),
            (visible(f"{event.get('time', '')} "), "dim"),
            (visible(f"{_short(event['type']):<22} "), "bold cyan"),
            visible(f"{event.get('subject', '')} "),
            (visible(f"{event.get('channel', '')} "), "magenta"),
            visible(facts),
            (visible(_repeat(entry)), "yellow"),
        ),
        soft_wrap=True,
    )


def _document(link: "Link") -> Json:
    return {
        **link.entry,
        "after_ms": None if link.pause is None else round(link.pause, 3),
        "effects": [_document(effect) for effect in link.effects],
    }


def _tree(link: "Link", below: bool = False) -> "Tree":
    from rich.tree import Tree

    tree = Tree(_label(link, below))
    for effect in link.effects:
        tree.children.append(_tree(effect, below=True))
    return tree


def _when(link: "Link") -> str:
    from rich.markup import escape

    if link.pause is None:
        return f"[yellow]dated {escape(str(link.entry['event'].get('time', '')))}[/yellow]"
    return f"[green]{link.pause:+.0f} ms[/green]"


def _label(link: "Link", below: bool) -> str:
    from rich.markup import escape

    event = link.entry["event"]
    data = event.get("data") or {}
    parts = [
        f"[bold cyan]{escape(_short(event['type']))}[/bold cyan][yellow]{_repeat(link.entry)}[/yellow]",
        _when(link) if below else escape(str(event.get("time", ""))),
        escape(str(event.get("channel") or "")),
        escape(str(data.get("status") or "")),
        f"[dim]{escape(str(event.get('source', '')))} {escape(str(event['id']))}[/dim]",
    ]
    return visible("  ".join(part for part in parts if part))

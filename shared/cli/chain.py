"""
Which event brought about which: computed, not recorded.

The id of an event is derived from its cause's id, its type and the part that tells siblings apart
(events.envelope), so a cause is found by trying: among the events of a chain exactly one gives the id.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from events import CATALOGUE, BadEvent, derived_id, from_cloudevent
from events.cloudevent import from_structured

Entry = dict[str, Any]
"""As GET /v1/events gives it: {"offset", "event"}."""


@dataclass
class Link:
    """``pause`` is the time since the cause in milliseconds; since the first event of all where it is unknown."""

    entry: Entry
    pause: float
    effects: list["Link"] = field(default_factory=list)


def linked(entries: Sequence[Entry]) -> list[Link]:
    """The trees of causes and effects, each level in the order of the log."""
    ordered = sorted(entries, key=lambda entry: int(entry["offset"]))
    if not ordered:
        return []
    first = _time(ordered[0])
    links = {str(entry["event"]["id"]): Link(entry, _milliseconds(first, _time(entry))) for entry in ordered}
    roots = []
    for link in links.values():
        cause = _cause(link, links)
        if cause is None:
            roots.append(link)
        else:
            link.pause = _milliseconds(_time(cause.entry), _time(link.entry))
            cause.effects.append(link)
    return roots


def trace_id(entry: Entry) -> str | None:
    """The trace that an event belongs to (W3C Trace Context: version-trace-parent-flags)."""
    parts = str(entry["event"].get("traceparent") or "").split("-")
    return parts[1] if len(parts) == 4 else None


def _cause(link: Link, links: dict[str, Link]) -> Link | None:
    event = link.entry["event"]
    part = _part(event)
    if part is None:
        return None
    for candidate, cause in links.items():
        if cause is not link and derived_id(candidate, str(event["type"]), part) == event["id"]:
            return cause
    return None


def _part(event: dict[str, Any]) -> str | None:
    import orjson

    try:
        return str(from_cloudevent(from_structured(orjson.dumps(event)), CATALOGUE).data.part)
    except BadEvent:
        return None


def _time(entry: Entry) -> datetime:
    return datetime.fromisoformat(str(entry["event"]["time"]))


def _milliseconds(earlier: datetime, later: datetime) -> float:
    return (later - earlier).total_seconds() * 1000

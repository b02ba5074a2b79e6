"""
Which event brought about which: computed, not recorded.

The id of an event is derived from its cause's id, its type and the part that tells siblings apart (events.envelope),
so a cause is found by trying: among the events of a chain exactly one gives the id. News of a status is found by what
it tells. What came from outside (a provider's callback, a client's receipt) or out of a mailbox has no such cause; it
hangs below the delivery or the message that it is about. What was logged again hangs below what brought it about again,
and its effects below the first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from events import (
    CATALOGUE,
    BadEvent,
    DeliveryRequested,
    MessageAccepted,
    MessageDelivered,
    MessageFailed,
    MessageRead,
    MessageSent,
    ReceiptReported,
    StatusReported,
    derived_id,
    from_cloudevent,
)
from events.cloudevent import from_structured
from shared.cli.repeats import Repeats

NEWS = frozenset(model.TYPE for model in (MessageSent, MessageDelivered, MessageRead, MessageFailed))
"""Named after what they tell, not after who told it first: a provider and deliver may both report SENT."""

Entry = dict[str, Any]
"""As GET /v1/events gives it, {"offset", "event"}, and ``repeat_of`` where it is a repeat."""


@dataclass
class Link:
    """
    ``pause``: milliseconds since the newest time in the chain of its causes; since the first event of all where no
    cause is known. None where the event's own time does not say when it was emitted: it was told, as a provider's.
    """

    entry: Entry
    pause: float | None = None
    effects: list["Link"] = field(default_factory=list)


def linked(entries: Sequence[Entry]) -> list[Link]:
    """The trees of causes and effects, each level in the order of the log."""
    ordered = sorted(entries, key=lambda entry: int(entry["offset"]))
    if not ordered:
        return []
    repeats = Repeats()
    links = [Link(repeats.marked(entry)) for entry in ordered]
    firsts = {str(link.entry["event"]["id"]): link for link in links if "repeat_of" not in link.entry}
    roots = _joined(links, lambda link: _derived_from(link, firsts))
    roots = _joined(roots, lambda link: _news_of(link, firsts))
    roots = _joined(roots, lambda link: _told_of(link, firsts))
    _pace(roots, _time(ordered[0]))
    return roots


def _pace(links: list[Link], newest: datetime) -> None:
    """
    News is dated as its report tells, and a provider's clock has whole seconds: such a time measures no step, but what
    follows is counted from it where it is the newest.
    """
    for link in links:
        at = _time(link.entry)
        if link.entry["event"]["type"] not in NEWS and at >= newest:
            link.pause = _milliseconds(newest, at)
        _pace(link.effects, max(newest, at))


def _joined(links: list[Link], cause_of: Callable[[Link], Link | None]) -> list[Link]:
    """Hang each link below its cause; those that have none."""
    roots = []
    for link in links:
        cause = cause_of(link)
        if cause is None:
            roots.append(link)
        else:
            cause.effects.append(link)
    return roots


def trace_id(entry: Entry) -> str | None:
    """The trace that an event belongs to (W3C Trace Context: version-trace-parent-flags)."""
    parts = str(entry["event"].get("traceparent") or "").split("-")
    return parts[1] if len(parts) == 4 else None


def _derived_from(link: Link, links: dict[str, Link]) -> Link | None:
    event = link.entry["event"]
    part = _part(event)
    if part is None:
        return None
    for candidate, cause in links.items():
        if cause is not link and derived_id(candidate, str(event["type"]), part) == event["id"]:
            return cause
    return None


def _news_of(link: Link, links: dict[str, Link]) -> Link | None:
    """The report that a message.sent, .delivered, .read or .failed tells of: the same trace, channel and status."""
    event = link.entry["event"]
    if event["type"] not in NEWS:
        return None
    earlier = [cause for cause in links.values() if int(cause.entry["offset"]) < int(link.entry["offset"])]
    return next((cause for cause in reversed(earlier) if _tells_of(link, cause)), None)


def _tells_of(news: Link, report: Link) -> bool:
    if trace_id(news.entry) != trace_id(report.entry):
        return False
    event, data = report.entry["event"], report.entry["event"].get("data") or {}
    told = news.entry["event"]["data"]
    if event["type"] == StatusReported.TYPE:
        return bool((data["channel"], data["status"]) == (told["channel"], told["status"]))
    return bool(event["type"] == ReceiptReported.TYPE and data["user_id"] == told["recipient"])


def _told_of(link: Link, links: dict[str, Link]) -> Link | None:
    earlier = [cause for cause in links.values() if int(cause.entry["offset"]) < int(link.entry["offset"])]
    return next((cause for cause in reversed(earlier) if _is_about(link, cause.entry["event"])), None)


def _is_about(link: Link, earlier: dict[str, Any]) -> bool:
    """Whether a report is about this delivery, or a receipt about this message."""
    event, cause = link.entry["event"], earlier.get("data") or {}
    data = event.get("data") or {}
    if event["type"] == StatusReported.TYPE and earlier["type"] == DeliveryRequested.TYPE:
        # A provider names its own message; which of ours that is, record-status has found out.
        named = [data, *(effect.entry["event"]["data"] for effect in link.effects)]
        same = any(each.get("message_id") == cause["message_id"] for each in named)
        return bool(same and data["channel"] == cause["channel"])
    if event["type"] == ReceiptReported.TYPE and earlier["type"] == MessageAccepted.TYPE:
        same = data["conversation_id"] == cause["conversation_id"]
        return bool(same and data["from_seq"] <= cause["seq"] <= data["to_seq"])
    return False


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

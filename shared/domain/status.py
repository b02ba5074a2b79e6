"""
How reports add up to a status (A9).

Reports come late, twice and out of order from sources that do not know each other. So the statuses of one
delivery are totally ordered and what is known is the highest one reported, whatever the order and number of
the reports. FAILED counts only while nothing has been delivered: a provider's "delivered" beats any fear of
ours. An operator's resend is a new attempt, whose reports stand above those of the attempts before it, but
never above a delivery that happened.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from events.vocabulary import Status

_RANK = {
    Status.PENDING: 0,
    Status.UNCERTAIN: 1,
    Status.SENT: 2,
    Status.FAILED: 3,
    Status.DELIVERED: 4,
    Status.READ: 5,
}
_ARRIVED = frozenset({Status.DELIVERED, Status.READ})
_BEFORE_ALL_ELSE = frozenset({Status.PENDING, Status.SENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One report about the delivery of a message to one recipient by one channel."""

    recipient: str
    channel: str
    status: Status
    at: datetime
    source: str
    attempt: int = 1
    delivery_id: str | None = None
    provider_message_id: str | None = None
    reason: str | None = None


def height(report: Report) -> tuple[bool, int, int]:
    """What reports are compared by: arrived or not, then the attempt, then the status."""
    arrived = report.status in _ARRIVED
    return arrived, 0 if arrived else report.attempt, _RANK[report.status]


def known(reports: Iterable[Report]) -> Report | None:
    """The highest report; among equally high ones the earliest. None when there are none."""
    best: Report | None = None
    for report in reports:
        if best is None or (height(report), best.at) > (height(best), report.at):
            best = report
    return best


def of_recipient(statuses: Iterable[Status]) -> Status | None:
    """The most advanced of a recipient's channels; FAILED only when none of them did better."""
    return max(statuses, key=lambda status: -1 if status is Status.FAILED else _RANK[status], default=None)


def of_message(statuses: Iterable[Status]) -> Status:
    """The least advanced of a message's recipients; SENT when there is nobody to reach."""
    return min(statuses, key=lambda status: 3.5 if status is Status.FAILED else _RANK[status], default=Status.SENT)


def overall(latest: Iterable[Report]) -> Status:
    """A message's status from the known report of each (recipient, channel)."""
    by_recipient: dict[str, list[Status]] = {}
    for report in latest:
        by_recipient.setdefault(report.recipient, []).append(report.status)
    return of_message(status for statuses in by_recipient.values() if (status := of_recipient(statuses)))


def deliveries(reports: Iterable[Report]) -> list[Report]:
    """The known report of each (recipient, channel), in the order of their names, with what its sending told."""
    groups: dict[tuple[str, str], list[Report]] = {}
    for report in reports:
        groups.setdefault((report.recipient, report.channel), []).append(report)
    return [_with_its_note(best, group) for _, group in sorted(groups.items()) if (best := known(group)) is not None]


def _with_its_note(best: Report, group: Iterable[Report]) -> Report:
    """A file that went as a link is still one when it is read."""
    if best.reason is not None or best.status not in (Status.DELIVERED, Status.READ):
        return best
    sent = (one.reason for one in group if one.status is Status.SENT and one.attempt == best.attempt)
    return replace(best, reason=next(sent, None))


def history(reports: Iterable[Report]) -> Sequence[Report]:
    """
    Every report that moved its delivery forward, by time; READ implies the DELIVERED it came without.

    A provider's clock may be behind ours or tick in seconds, so no report counts as older than the plan and the
    sending that it is the consequence of.
    """
    groups: dict[tuple[str, str], list[Report]] = {}
    for report in sorted(_not_before_their_causes(reports), key=lambda report: (report.at, height(report))):
        moved = groups.setdefault((report.recipient, report.channel), [])
        if moved and height(report) <= height(moved[-1]):
            continue
        if report.status is Status.READ and not any(before.status is Status.DELIVERED for before in moved):
            moved.append(_implied_delivery(report))
        moved.append(report)
    entries = [report for moved in groups.values() for report in moved]
    return sorted(entries, key=lambda report: (report.at, height(report)))


def _not_before_their_causes(reports: Iterable[Report]) -> Iterator[Report]:
    groups: dict[tuple[str, str], list[Report]] = {}
    for report in reports:
        groups.setdefault((report.recipient, report.channel), []).append(report)
    for group in groups.values():
        ours = [report for report in group if report.status in _BEFORE_ALL_ELSE]
        for report in group:
            causes = (cause.at for cause in ours if cause.attempt <= report.attempt and height(cause) < height(report))
            latest = max(causes, default=report.at)
            yield report if report.at >= latest else replace(report, at=latest)


def _implied_delivery(read: Report) -> Report:
    return Report(
        recipient=read.recipient,
        channel=read.channel,
        status=Status.DELIVERED,
        at=read.at,
        source="inferred",
        attempt=read.attempt,
        delivery_id=read.delivery_id,
        provider_message_id=read.provider_message_id,
    )

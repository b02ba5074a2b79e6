"""The history of a message, told by clocks that do not agree (A9; design.md 12)."""

from datetime import UTC, datetime, timedelta

from events.vocabulary import Status
from shared.domain.status import Report, history

PLANNED = datetime(2026, 11, 21, 5, 52, 50, 147_000, tzinfo=UTC)


def _report(status: Status, milliseconds: int, source: str = "deliver", attempt: int = 1) -> Report:
    at = PLANNED + timedelta(milliseconds=milliseconds)
    return Report(recipient="carla", channel="whatsapp", status=status, at=at, source=source, attempt=attempt)


def _told(*reports: Report) -> list[tuple[Status, int]]:
    entries = history(reports)
    return [(entry.status, round((entry.at - PLANNED) / timedelta(milliseconds=1))) for entry in entries]


def test_a_provider_whose_clock_ticks_in_seconds_hides_no_step() -> None:
    """Found by the demo: WhatsApp's timestamps are whole seconds, so DELIVERED came before PENDING and SENT."""
    assert _told(
        _report(Status.PENDING, 0, "route"),
        _report(Status.SENT, 40),
        _report(Status.SENT, -147, "provider"),
        _report(Status.DELIVERED, -147, "provider"),
        _report(Status.READ, -147, "provider"),
    ) == [(Status.PENDING, 0), (Status.SENT, 0), (Status.DELIVERED, 40), (Status.READ, 40)]


def test_a_report_that_comes_late_keeps_its_own_time() -> None:
    assert _told(
        _report(Status.PENDING, 0, "route"),
        _report(Status.SENT, 40),
        _report(Status.READ, 90, "provider"),
        _report(Status.DELIVERED, 95, "provider"),
    ) == [(Status.PENDING, 0), (Status.SENT, 40), (Status.DELIVERED, 90), (Status.READ, 90)]


def test_a_later_attempt_does_not_move_what_came_of_an_earlier_one() -> None:
    assert _told(
        _report(Status.PENDING, 0, "route"),
        _report(Status.DELIVERED, 50, "provider"),
        _report(Status.PENDING, 5000, "operator", attempt=2),
    ) == [(Status.PENDING, 0), (Status.DELIVERED, 50)]

"""
Statuses add up whatever order they come in and however often (A9): what is known is a maximum, and news never
takes anything back within one attempt.
"""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from events.vocabulary import Status
from shared.domain.status import Report, deliveries, height, history, known, of_message, of_recipient, overall

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
ARRIVED = (Status.DELIVERED, Status.READ)
PROGRESS = (Status.PENDING, Status.UNCERTAIN, Status.SENT, Status.DELIVERED, Status.READ)

REPORTS = st.builds(
    Report,
    recipient=st.sampled_from(["bia", "caio"]),
    channel=st.sampled_from(["whatsapp", "instagram"]),
    status=st.sampled_from(Status),
    at=st.integers(0, 5).map(lambda seconds: START + timedelta(seconds=seconds)),
    source=st.sampled_from(["deliver", "provider", "route"]),
    attempt=st.integers(1, 2),
)
OF_ONE = REPORTS.map(
    lambda report: Report(
        recipient="bia",
        channel="whatsapp",
        status=report.status,
        at=report.at,
        source=report.source,
        attempt=report.attempt,
    )
)
MANY = st.lists(REPORTS, max_size=12)


def known_of_each(reports):
    return [(one.recipient, one.channel, one.status, one.at) for one in deliveries(reports)]


@given(reports=MANY, data=st.data())
def test_order_and_repeats_do_not_matter(reports, data):
    repeats = data.draw(st.lists(st.sampled_from(reports), max_size=5)) if reports else []
    shuffled = data.draw(st.permutations(reports + repeats))
    assert known_of_each(shuffled) == known_of_each(reports)
    assert overall(deliveries(shuffled)) == overall(deliveries(reports))


@given(reports=st.lists(OF_ONE, min_size=1, max_size=10), news=OF_ONE)
def test_news_never_lowers_what_is_known(reports, news):
    before, after = known(reports), known([*reports, news])
    assert height(after) >= height(before)
    if before.status in ARRIVED:
        assert after.status in ARRIVED, "a delivery that happened is never taken back"
    if news.attempt == before.attempt and Status.FAILED not in (before.status, after.status):
        assert PROGRESS.index(after.status) >= PROGRESS.index(before.status)


@given(reports=st.lists(OF_ONE, min_size=1, max_size=10))
def test_failed_counts_only_while_nothing_has_been_delivered(reports):
    arrived = [one for one in reports if one.status in ARRIVED]
    status = known(reports).status
    if arrived:
        assert status in ARRIVED
        assert (status is Status.READ) == any(one.status is Status.READ for one in arrived)
    else:
        latest = max(one.attempt for one in reports)
        statuses = [one.status for one in reports if one.attempt == latest]
        assert (status is Status.FAILED) == (Status.FAILED in statuses)


@given(statuses=st.lists(st.sampled_from(Status), min_size=1, max_size=6))
def test_a_message_is_as_far_as_the_least_of_its_recipients_and_they_as_far_as_the_best_of_their_channels(statuses):
    furthest = of_recipient(statuses)
    if set(statuses) != {Status.FAILED}:
        assert furthest is not Status.FAILED
        assert PROGRESS.index(furthest) == max(PROGRESS.index(one) for one in statuses if one is not Status.FAILED)
    else:
        assert furthest is Status.FAILED
    least = of_message(statuses)
    unfinished = [one for one in statuses if one in PROGRESS[:3]]
    if unfinished:
        assert least == min(unfinished, key=PROGRESS.index), "somebody is still on the way"
    elif Status.FAILED in statuses:
        assert least is Status.FAILED
    else:
        assert least == min(statuses, key=PROGRESS.index)


def test_a_message_that_nobody_is_to_be_told_of_is_sent():
    assert of_message([]) is Status.SENT
    assert of_recipient([]) is None
    assert known([]) is None


@given(reports=MANY)
def test_the_history_climbs_for_each_delivery_and_ends_at_what_is_known(reports):
    told = history(reports)
    assert [one.at for one in told] == sorted(one.at for one in told), "in order of time"
    now = {(one.recipient, one.channel): one for one in deliveries(reports)}
    for (recipient, channel), latest in now.items():
        mine = [one for one in told if (one.recipient, one.channel) == (recipient, channel)]
        assert all(height(before) < height(after) for before, after in pairwise(mine)), "each entry is a step up"
        assert height(mine[-1]) == height(latest), "the last one is what is known"
        statuses = [one.status for one in mine]
        if Status.READ in statuses:
            assert statuses.count(Status.DELIVERED) == 1, "reading implies delivery"
            assert statuses.index(Status.DELIVERED) < statuses.index(Status.READ)


@given(reports=MANY, data=st.data())
def test_the_history_is_the_same_in_whatever_order_reports_came(reports, data):
    by_key = {(one.recipient, one.channel, one.attempt, one.status): one for one in reports}
    stored = list(by_key.values())  # as the table keeps them: one row for each key
    assert told(data.draw(st.permutations(stored))) == told(stored)


def told(reports):
    return sorted((one.recipient, one.channel, one.at, one.status) for one in history(reports))

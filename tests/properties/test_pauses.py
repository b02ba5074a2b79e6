"""How long is waited before trying again (C8; design.md 5), and the breaker that spares a broken provider."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.backoff import DELIVERY_SCHEDULE, PARKED_SCHEDULE, pause
from shared.domain.breaker import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    SECOND_CHANCE,
    THRESHOLD,
    Breaker,
    failed,
    let_through,
    may_try,
    succeeded,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SCHEDULES = st.sampled_from([DELIVERY_SCHEDULE, PARKED_SCHEDULE])


@given(tries=st.integers(1, 20), key=st.text(max_size=40), schedule=SCHEDULES)
def test_a_pause_is_its_step_of_the_schedule_give_or_take_a_fifth(tries, key, schedule):
    waited = pause(tries, key, schedule)
    if tries > len(schedule):
        assert waited is None
    else:
        assert 0.8 * schedule[tries - 1] <= waited <= 1.2 * schedule[tries - 1]
        assert waited == pause(tries, key, schedule)
        assert waited.microseconds % 1000 == 0


def test_those_that_failed_together_do_not_come_back_together():
    assert len({pause(6, f"delivery {n}") for n in range(200)}) > 190


def test_deliveries_are_tried_for_a_day_and_more():
    assert timedelta(hours=24) < sum(DELIVERY_SCHEDULE, timedelta()) < timedelta(hours=48)


def failing(times, breaker=None, now=NOW):
    breaker = breaker or Breaker()
    for who in range(times):
        breaker = failed(breaker, now, who=who)
    return breaker


def test_it_opens_after_failures_in_a_row_and_not_before():
    assert failing(THRESHOLD - 1).state(NOW) == "closed"
    assert failing(THRESHOLD).state(NOW) == "open"
    assert failing(THRESHOLD - 1, succeeded(failing(THRESHOLD - 1))).state(NOW) == "closed"


def test_one_recipient_who_is_broken_alone_opens_nothing():
    breaker = Breaker()
    for _ in range(10 * THRESHOLD):
        breaker = failed(breaker, NOW, who=7)
    assert breaker.state(NOW) == "closed"


def test_those_whose_calls_failed_come_second_when_it_is_half_open():
    opened = failing(THRESHOLD)
    assert may_try(opened, 99, opened.until)
    assert not may_try(opened, 1, opened.until)
    assert may_try(opened, 1, opened.until + SECOND_CHANCE), "when nobody else wants to, they may"


def test_a_broken_account_opens_it_at_once():
    assert failed(Breaker(), NOW, who=1, at_once=True).state(NOW) == "open"


def test_after_its_pause_one_call_is_let_through():
    opened = failing(THRESHOLD)
    then = opened.until
    assert opened.state(then) == "half-open"
    trying = let_through(opened, then, who=1)
    assert trying.state(then) == "open", "nobody else goes until it is known how it went"
    assert succeeded(trying).state(then) == "closed"
    assert failed(trying, then, who=1).until - then == 2 * FIRST_PAUSE, "its failure opens it for longer"


def test_calls_that_were_under_way_when_it_opened_open_it_for_no_longer():
    """Found by the fault campaign (10b): a provider that was mute for 15 s was left alone for minutes."""
    opened = failing(THRESHOLD)
    assert failing(20, opened).until == opened.until
    trying = let_through(opened, opened.until, who=99)
    assert failing(20, trying, opened.until).until == trying.until
    assert failed(trying, opened.until, who=99).until - opened.until == 2 * FIRST_PAUSE


@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 400)), max_size=40))
def test_whatever_happens_it_comes_back(steps):
    breaker, now = Breaker(), NOW
    for works, seconds in steps:
        now += timedelta(seconds=seconds)
        state = breaker.state(now)
        if state == "open":
            assert now < breaker.until <= now + LONGEST_PAUSE
            continue
        if state == "half-open":
            breaker = let_through(breaker, now, who=seconds)
        before = breaker
        breaker = succeeded(breaker) if works else failed(breaker, now, who=seconds)
        if works:
            assert breaker.state(now) == "closed"
        elif state == "half-open":
            assert breaker.state(now) == "open"
            assert breaker.opened == before.opened + 1
    assert breaker.state(now + LONGEST_PAUSE) != "open"

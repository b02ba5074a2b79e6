"""Rate limits against a caller that may come whenever it wants (E11)."""

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.rate_limit import MICROSECONDS, Quota, admit

quotas = st.builds(Quota, st.integers(1, 20_000), st.integers(1, 3600))
pauses = st.lists(st.integers(0, 120 * MICROSECONDS), max_size=60)


def ask(quota, pauses, begin=1_700_000_000 * MICROSECONDS):
    """(moment, standing) of requests with these pauses before them."""
    even, now, asked = None, begin, []
    for pause in pauses:
        now += pause
        even, standing = admit(even, now, quota)
        asked.append((now, standing))
    return even, asked


@given(st.integers(1, 500), st.integers(1, 3600))
def test_the_whole_quota_is_granted_at_once_and_not_one_more(requests, window):
    _, asked = ask(Quota(requests, window), [0] * (requests + 3))
    assert [standing.admitted for _, standing in asked] == [True] * requests + [False] * 3
    assert [standing.remaining for _, standing in asked] == [*range(requests - 1, -1, -1), 0, 0, 0]


@given(quotas, pauses)
def test_in_no_stretch_of_time_is_more_admitted_than_the_quota_and_what_came_back_meanwhile(quota, pauses):
    _, asked = ask(quota, pauses)
    moments = [now for now, standing in asked if standing.admitted]
    for first, begin in enumerate(moments):
        for last in range(first, len(moments)):
            assert last - first + 1 <= quota.requests + (moments[last] - begin) // quota.interval


@given(quotas, pauses)
def test_who_waits_as_told_is_admitted_and_who_comes_a_microsecond_earlier_is_not(quota, pauses):
    even, asked = ask(quota, [*pauses, 0])
    now, standing = asked[-1]
    wait = round(standing.wait * MICROSECONDS)
    assert admit(even, now + wait, quota)[1].admitted
    assert not wait or not admit(even, now + wait - 1, quota)[1].admitted


@given(quotas, pauses)
def test_what_is_kept_may_be_forgotten_once_it_is_in_the_past(quota, pauses):
    even, asked = ask(quota, [*pauses, 0])
    now = asked[-1][0] + round(asked[-1][1].reset * MICROSECONDS)
    assert even == now
    assert admit(even, now, quota) == admit(None, now, quota)


@given(quotas, pauses, quotas)
def test_another_quota_never_makes_anybody_wait_longer_than_the_longer_window(quota, pauses, other):
    even, asked = ask(quota, [*pauses, 0])
    standing = admit(even, asked[-1][0], other)[1]
    assert standing.wait <= max(quota.window, other.window)


@given(st.integers(1, 100_000), st.integers(1, 500))
def test_parts_are_no_more_than_the_whole_and_never_nothing(requests, parts):
    part = Quota(requests).divided(parts).requests
    assert part >= 1
    assert part * parts <= max(requests, parts)

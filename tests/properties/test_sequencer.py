"""Frames in order, each once, however fan-out reorders, repeats and loses them (A3, A11; design.md 4)."""

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.sequencer import MOST_AHEAD, Sequencer


@given(start=st.integers(0, 5), came=st.lists(st.integers(1, 30), max_size=80))
def test_what_is_given_out_is_the_run_without_a_hole_each_once(start: int, came: list[int]) -> None:
    line = Sequencer[int](start)
    out = [seq for taken in came for seq in line.take(taken, taken)]
    assert out == list(range(start + 1, start + 1 + len(out)))
    assert line.position == start + len(out)
    assert line.position + 1 not in came or not out or max(came) <= line.position
    assert line.gap == any(seq > line.position for seq in came)


@given(before=st.lists(st.integers(1, 20), max_size=30), head=st.integers(0, 15), after=st.lists(st.integers(1, 20)))
def test_what_came_before_the_position_was_known_is_not_lost(before: list[int], head: int, after: list[int]) -> None:
    line = Sequencer[int]()
    assert [seq for taken in before for seq in line.take(taken, taken)] == []
    out = list(line.start(head)) + [seq for taken in after for seq in line.take(taken, taken)]
    assert out == list(range(head + 1, head + 1 + len(out)))
    assert {seq for seq in before + after if seq > head} - set(out) == {
        seq for seq in before + after if line.position is not None and seq > line.position
    }


def test_what_waits_is_bounded_and_found_again_by_reading() -> None:
    line = Sequencer[int](0)
    for seq in range(2, 3 * MOST_AHEAD):
        assert line.take(seq, seq) == []
    out = [seq for read in range(1, 3 * MOST_AHEAD) for seq in line.take(read, read)]
    assert out == list(range(1, 3 * MOST_AHEAD))
    assert not line.gap

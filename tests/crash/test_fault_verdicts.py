"""What a fault promises beyond the invariants is judged from the history, too (E1, E2)."""

import pytest

from shared.testing import history
from shared.testing.faults.catalogue import CATALOGUE, SHORT
from shared.testing.faults.drill import Fault, broken, judge, nothing

SEQ = history.Item(1, "m1", "ana", "hello")


def told(*statuses: int, recovery: float = 1.0, calls: int = 1) -> list[history.Operation]:
    """Ana says hello to a person at a provider, is answered with these statuses in turn, and it arrives."""
    target = history.Target("bob", "whatsapp", "+55")
    sends = [
        history.Send(
            "t", "c", "ana", 1, "m1", "hello", 0.0, n, n + 0.5, status, 1 if status == 202 else None, targets=(target,)
        )
        for n, status in enumerate(statuses)
    ]
    return [
        history.Conversation("t", "c", ("ana",)),
        *sends,
        *(history.Delivered("whatsapp", "+55", "hello", f"p{n}", n) for n in range(calls)),
        history.Fault("it", 10.0, 10.0 + recovery),
        history.Quiesced(1.0, 0),
        history.Page("t", "c", "ana", 0, 50, 20.0, 20.1, (SEQ,), final=True),
    ]


def findings(fault: Fault, operations: list[history.Operation]) -> list[str]:
    return [f"{one.invariant} {one.detail}" for one in judge(fault, operations).findings]


def test_a_fault_that_did_no_harm_leaves_no_finding() -> None:
    fault = Fault("1", "it", nothing, within=5, refusals=False, repeats=False)

    row = judge(fault, told(202))

    assert row.findings == ()
    assert (row.accepted, row.refused, row.recovery) == (1, 0, pytest.approx(1.0))


def test_a_recovery_that_takes_too_long_is_found() -> None:
    assert findings(Fault("1", "it", nothing, within=5), told(202, recovery=6)) == ["I10 recovery took 6.0 s, not 5"]


def test_a_request_that_is_told_to_try_again_is_found_where_none_may_be() -> None:
    operations = told(503, 202)

    assert judge(Fault("1", "it", nothing), operations).refused == 1
    assert findings(Fault("1", "it", nothing), operations) == []
    assert findings(Fault("1", "it", nothing, refusals=False), operations) == [
        "answer 1 messages were told to try again"
    ]


def test_an_answer_that_was_lost_is_counted_and_no_refusal() -> None:
    row = judge(Fault("1", "it", nothing, refusals=False), told(0, 202))

    assert (row.refused, row.unanswered, row.findings) == (0, 1, ())


def test_a_call_that_was_made_twice_is_found_where_none_may_be() -> None:
    assert findings(Fault("1", "it", nothing), told(202, calls=2)) == []
    assert findings(Fault("1", "it", nothing, repeats=False), told(202, calls=2)) == [
        "I4 1 calls to providers were repeated"
    ]


def test_a_drill_that_broke_off_is_no_success() -> None:
    row = broken(Fault("1", "it", nothing), ExceptionGroup("some", [RuntimeError("no engine\nmore of its log")]))

    assert [one.detail for one in row.findings] == ["the drill broke off: RuntimeError: no engine"]


def test_every_fault_has_a_number_of_its_own_and_the_short_form_names_some() -> None:
    numbers = [fault.number for fault in CATALOGUE]

    assert len(set(numbers)) == len(numbers)
    assert set(SHORT) < set(numbers)

"""The checker finds each kind of broken promise in a platform that breaks it, and none in one that does not (E12)."""

import sys
from pathlib import Path

import pytest

from shared.testing.crash import Plan, run
from shared.testing.platform import Platform, free_port

FAKE = Path(__file__).with_name("fake_platform.py")


async def outcome_of(fault: str, directory: Path, *, kills: int = 2):
    port = free_port()
    command = [sys.executable, str(FAKE), "--port", str(port), "--journal", str(directory / "j"), "--fault", fault]
    platform = Platform(port, directory / "data", command=command)
    plan = Plan(kills=kills, messages=600, rooms=3, senders=3, patience=0, points=(), people=(), seed=5)
    return await run(platform, plan)


async def test_a_platform_that_keeps_its_word_through_kills_is_found_innocent(tmp_path: Path) -> None:
    outcome = await outcome_of("none", tmp_path)

    assert outcome.report.findings == ()
    assert outcome.report.accepted >= 600
    assert outcome.report.kills == outcome.report.restarts == 2


@pytest.mark.parametrize(
    ("fault", "invariant"),
    [
        ("lose", "I1"),
        ("forget", "I1"),
        ("alter", "I2"),
        ("gap", "I3"),
        ("reorder", "I3"),
        ("double", "I4"),
        ("regress", "I5"),
        ("retry", "I7"),
        ("leak", "I8"),
    ],
)
async def test_a_platform_that_breaks_a_promise_is_caught(fault: str, invariant: str, tmp_path: Path) -> None:
    outcome = await outcome_of(fault, tmp_path)

    assert invariant in {finding.invariant for finding in outcome.report.findings}

"""
Kills of the platform, at random and at named points, in both modes; ``scripts/crash`` is the long form (E1, E2, E12).
"""

from pathlib import Path

import pytest

from shared.testing.crash import POINTS, Plan, run
from shared.testing.platform import Platform, free_port
from shared.testing.providers import PEOPLE
from shared.testing.real_engines import forget, servers_environment

PROMPT = tuple(person for person in PEOPLE if person.user_id != "wa-broken")
"""Those whose mailbox does not wait for a broken provider."""

PARKED_ONCE = 150.0
"""Seconds that such an event is away at most: tries, 72 s, a tick, and tries again. Nothing should be parked twice."""

ALWAYS_PASSED = tuple((point, passes // 4) for point, passes in POINTS if point.startswith(("outbox", "channel")))


@pytest.mark.timeout(300)
async def test_kill_9_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    plan = Plan(kills=6, messages=3000, rooms=4, seed=7, patience=PARKED_ONCE, points=ALWAYS_PASSED, people=PROMPT)

    outcome = await run(Platform(free_port(), tmp_path / "data"), plan)

    assert outcome.report.findings == ()
    assert outcome.report.accepted >= 3000
    assert outcome.report.kills == outcome.report.restarts == 6


@pytest.mark.real("cassandra", "kafka", "redis", "nats")
@pytest.mark.timeout(900)
async def test_kill_9_under_load_loses_and_doubles_nothing_on_real_engines(tmp_path: Path) -> None:
    environment = servers_environment()
    # Paced: what is left undone when the load ends has to be done in the time of a test, what was parked once included.
    # Receipts wait behind all that people write while the platform starts again: no call is repeated for that.
    plan = Plan(
        kills=4,
        messages=400,
        rooms=3,
        senders=2,
        seed=9,
        patience=PARKED_ONCE + 90,
        points=ALWAYS_PASSED,
        people=PROMPT,
        pause=0.2,
        people_pause=3.0,
        uncertain_wait=30.0,
    )
    try:
        outcome = await run(Platform(free_port(), tmp_path / "data", environment), plan, connections=32)
    finally:
        await forget(environment)

    assert outcome.report.findings == ()
    assert outcome.report.accepted >= 400
    assert outcome.report.kills == outcome.report.restarts == 4

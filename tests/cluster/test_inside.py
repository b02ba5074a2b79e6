"""What trials run beside their load ends with them, however they end."""

import asyncio

import pytest

from infra.cluster.inside import beside
from infra.cluster.scaling import lost


async def test_what_runs_beside_a_trial_ends_when_the_trial_fails() -> None:
    ended = asyncio.Event()

    async def watch() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.RaisesGroup(pytest.RaisesExc(LookupError)):
        async with beside(watch()):
            await asyncio.sleep(0)
            raise LookupError
    assert ended.is_set()


async def test_a_trial_that_nobody_watches_any_more_fails() -> None:
    async def watch() -> None:
        raise TimeoutError("no API server")

    with pytest.RaisesGroup(pytest.RaisesExc(TimeoutError)):
        async with beside(watch()):
            await asyncio.sleep(60)


def test_a_request_that_was_lost_is_counted_wherever_pods_went() -> None:
    scale = {"up and down": {"lost": 1}, "rollout": {"lost": 2}, "memory": [{"pid": 1}]}
    assert lost({"scale": scale, "hops": {}}) == 3
    assert lost({"hops": {}}) == 0

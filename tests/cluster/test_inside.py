"""What trials run beside their load ends with them, however they end."""

import asyncio

import pytest

from infra.cluster.inside import beside


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

"""scripts/bench --live on the bare server: the job is what it says it is, and the audience hears all of it (A12)."""

from contextlib import AsyncExitStack
from pathlib import Path

from shared.testing import bench_live


def test_the_job_is_the_peers() -> None:
    sizes = bench_live.sizes()
    assert sorted(sizes) == [2] * 50 + [10] * 20
    assert sum(sizes) - len(sizes) == 230


async def test_a_step_hears_every_message_at_every_receiver(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        job = await bench_live.bare_job(stack, tmp_path)
        one = await job.step(140, 1)
        assert (one.accepted, one.delivered, one.lacking, one.faults) == (140, 2 * 230, 0, [])
        again = await job.step(70, 1)
        assert again.delivered == 230

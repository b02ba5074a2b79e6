"""
64 MiB up and down while clients and the platform are killed; ``scripts/demo-large-file`` is the long form (B1, B2, B4,
B5; issue 6).
"""

from pathlib import Path

import pytest

from shared.testing.large_file import MIB, Plan, object_store, run
from shared.testing.platform import Platform, free_port


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", ["folder", pytest.param("s3", marks=pytest.mark.real("minio"))])
async def test_every_byte_comes_back_and_nothing_is_held_in_memory(store: str, tmp_path: Path) -> None:
    plan = Plan(64 * MIB, parallel=1, limit_rate=40)

    outcome = await run(Platform(free_port(), tmp_path / "data", object_store(store)), plan, tmp_path)

    outcome.check()
    assert [one.killed for one in outcome.rounds] == ["client", "platform"]
    assert all(0.5 < one.upload_killed_at < 1 for one in outcome.rounds)
    assert all(0.5 < one.download_killed_at < 1 for one in outcome.rounds)

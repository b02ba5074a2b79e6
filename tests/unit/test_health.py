"""What readiness says of the disk: a full one still reads, so reading proves nothing (E8)."""

from pathlib import Path

from shared.runtime.health import examine, room_in


async def test_a_disk_without_room_is_down(tmp_path: Path) -> None:
    found = await examine({"disk": room_in(tmp_path, least=1 << 62)})

    assert found["disk"]["status"] == "down"
    assert "MiB are needed" in found["disk"]["detail"]


async def test_a_disk_with_room_is_well(tmp_path: Path) -> None:
    found = await examine({"disk": room_in(tmp_path, least=1)})

    assert found["disk"]["status"] == "ok"


async def test_a_folder_that_is_gone_is_down(tmp_path: Path) -> None:
    found = await examine({"disk": room_in(tmp_path / "gone")})

    assert found["disk"]["status"] == "down"

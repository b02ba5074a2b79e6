"""
What readiness says of the disk: a full one still reads, so reading proves nothing (E8). And that whoever asks often,
which anybody may, makes no engine answer often.
"""

import asyncio
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from shared.domain.errors import Unavailable
from shared.runtime import health
from shared.runtime.dependency import Dependency
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


class Engine:
    """Counts how often it is asked, and takes a while."""

    def __init__(self, why: str = "") -> None:
        self.asked, self.why = 0, why

    async def check(self) -> str:
        self.asked += 1
        await asyncio.sleep(0.01)
        if self.why:
            raise Unavailable(self.why)
        return "well"


def calling(engine: Engine, *, detail: bool = True) -> httpx.AsyncClient:
    app = FastAPI()
    app.include_router(health.router({"cassandra": Dependency(engine.check)}, detail=detail))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


async def test_many_who_ask_at_once_make_one_question() -> None:
    engine = Engine()
    async with calling(engine) as http:
        paths = ["/health", "/health/ready"] * 10
        answers = await asyncio.gather(*(http.get(path) for path in paths))
        assert {answer.status_code for answer in answers} == {200}
        await http.get("/health")
    assert engine.asked == 1


async def test_what_was_found_is_looked_at_anew_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_FRESH", 0)
    engine = Engine()
    async with calling(engine) as http:
        assert (await http.get("/health")).status_code == 200
        engine.why = "nobody listens"
        assert (await http.get("/health")).status_code == 503


async def test_strangers_are_not_told_what_engines_say(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in the log instead, once."""
    monkeypatch.setattr(health, "_FRESH", 0)
    async with calling(Engine("nobody listens at 10.0.0.9"), detail=False) as http:
        for path in ("/health", "/health/ready"):
            said = (await http.get(path)).json()["dependencies"]["cassandra"]
            assert said.keys() == {"status", "needed", "latency_ms"}
    assert [vars(record)["why"] for record in caplog.records] == ["nobody listens at 10.0.0.9"]

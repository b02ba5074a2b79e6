"""A platform that waits for its servers lives, is not ready, says what it waits for, and refuses politely (E8)."""

from collections.abc import AsyncIterator

import httpx
import pytest

from shared.runtime.door import Door
from shared.runtime.opened import Waiting


@pytest.fixture
def waiting() -> Waiting:
    waiting = Waiting()
    waiting.begin("cassandra")
    waiting.still("cassandra", "nobody answers at 10.0.0.9")
    return waiting


@pytest.fixture
def door(waiting: Waiting) -> Door:
    return Door(waiting)


@pytest.fixture
async def client(door: Door) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://platform") as client:
        yield client


async def test_it_lives_and_is_not_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/live")).status_code == 200
    for path in ("/health", "/health/ready"):
        answer = await client.get(path)
        assert answer.status_code == 503
        assert answer.json()["dependencies"]["cassandra"]["detail"] == "nobody answers at 10.0.0.9"


async def test_whoever_calls_is_told_to_come_back_and_what_is_waited_for(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/messages", json={})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "cassandra" in answer.json()["detail"]
    assert answer.json()["trace_id"]


async def test_what_has_come_is_not_named_any_more(client: httpx.AsyncClient, waiting: Waiting) -> None:
    waiting.over("cassandra")
    assert (await client.get("/health/ready")).json()["dependencies"] == {}


async def test_once_open_it_is_the_application(client: httpx.AsyncClient, door: Door) -> None:
    async def application(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]

    door.open(application)
    assert (await client.get("/anything")).status_code == 204

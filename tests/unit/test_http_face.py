"""The HTTP face of one function as a service of its own answers as that of all functions together (E8)."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx

from functions.send.http import MAX_BODY
from shared.domain.errors import Unavailable
from shared.runtime import bootstrap, functions
from shared.runtime.dependency import Dependency
from shared.runtime.function_service import FUNCTION, FunctionService
from shared.runtime.http_face import App, _WhenAsked, http_face
from shared.testing.memory_ports import opened_memory


async def test_a_message_over_the_size_limit_is_413_from_the_function_alone() -> None:
    async with opened_memory({}) as opened:
        client = await bootstrap.create_tenant(opened.ports, "acme")
        asked = {"client_id": client.client_id, "client_secret": client.client_secret}
        token = await _post("token", opened, "/auth/token", json=asked)
        headers = {"authorization": f"Bearer {token.json()['access_token']}"}
        answer = await _post("send", opened, "/v1/messages", headers=headers, content=b" " * (MAX_BODY + 1))
        assert answer.status_code == 413, answer.text
        listed = await _post("send", opened, "/v1/messages/batch", headers=headers, json={"messages": []})
        assert listed.status_code == 422, "the rest of the function's face is still there"


async def test_the_gateway_says_what_all_of_them_stand_on() -> None:
    async def away() -> str:
        raise Unavailable("nobody listens")

    async with opened_memory({}) as opened:
        standing_on = replace(opened, dependencies={"cassandra": Dependency(away)})
        async with _face("realtime", standing_on) as http:
            ready = await http.get("/health/ready")
            assert (await http.get("/health/live")).status_code == 200
    assert ready.status_code == 503
    said = ready.json()["dependencies"]["cassandra"]
    assert said["status"] == "down"
    assert "detail" not in said, "the paths are public there"


async def test_a_face_that_cannot_be_built_is_said_once_and_its_process_ends(monkeypatch, caplog) -> None:
    """It was a process that was ready, answered a bare 500 for ever, and built anew for each request."""
    told: list[str] = []
    service = FunctionService(opened_memory, lambda: told.append("to end"))
    service.start({FUNCTION: "presence"})
    await service.started()
    monkeypatch.setitem(sys.modules, "functions.presence.http", None)  # cannot be imported from now on
    try:
        assert (service.alive()[0], service.ready()[0]) == (True, True)
        transport = httpx.ASGITransport(service.handle)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            for _ in range(2):
                answer = await http.get("/v1/presence/ana")
                assert answer.status_code == 503
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["instance"] == "/v1/presence/ana"
        assert (service.alive()[0], service.ready()[0]) == (False, False)
        assert told, "until it is asked whether it lives it would get no events either"
    finally:
        service.stop()
        await service.close()
    assert [record.levelname for record in caplog.records].count("CRITICAL") == 1


class Builder:
    """What builds in a thread, as long as it is held."""

    def __init__(self) -> None:
        self.begun, self.go_on, self.times, self.answered = threading.Event(), threading.Event(), 0, 0

    def __call__(self) -> App:
        self.times += 1
        self.begun.set()
        assert self.go_on.wait(10)
        return self.answer

    async def answer(self, scope, receive, send) -> None:
        self.answered += 1


async def test_first_requests_that_come_together_build_once() -> None:
    build = Builder()
    face = _WhenAsked(build)
    asked = [asyncio.create_task(face({}, None, None)) for _ in range(5)]
    await asyncio.to_thread(build.begun.wait, 10)
    build.go_on.set()
    await asyncio.gather(*asked)
    await face({}, None, None)
    assert (build.times, build.answered) == (1, 6)


async def test_a_first_request_that_is_cut_builds_nothing_twice() -> None:
    build = Builder()
    face = _WhenAsked(build)
    first = asyncio.create_task(face({}, None, None))
    await asyncio.to_thread(build.begun.wait, 10)
    first.cancel()
    second = asyncio.create_task(face({}, None, None))
    await asyncio.sleep(0.05)
    build.go_on.set()
    await second
    assert first.cancelled()
    assert (build.times, build.answered) == (1, 1)


async def _post(name, opened, path, **more) -> httpx.Response:
    async with _face(name, opened) as http:
        return await http.post(path, **more)


@asynccontextmanager
async def _face(name, opened) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        http_face(name, functions.new(name, opened.ports), opened, {}) as face,
        httpx.AsyncClient(transport=httpx.ASGITransport(face), base_url="http://test") as http,
    ):
        yield http

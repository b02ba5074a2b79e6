"""The HTTP face of one function as a service of its own answers as that of all functions together (E8)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx

from functions.send.http import MAX_BODY
from shared.domain.errors import Unavailable
from shared.runtime import bootstrap, functions
from shared.runtime.dependency import Dependency
from shared.runtime.http_face import http_face
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

"""The HTTP face of one function as a service of its own answers as that of all functions together (E8)."""

import httpx

from functions.send.http import MAX_BODY
from shared.runtime import bootstrap, functions
from shared.runtime.http_face import http_face
from shared.testing.memory_ports import open_memory


async def test_a_message_over_the_size_limit_is_413_from_the_function_alone() -> None:
    async with open_memory({}) as ports:
        client = await bootstrap.create_tenant(ports, "acme")
        asked = {"client_id": client.client_id, "client_secret": client.client_secret}
        token = await _post("token", ports, "/auth/token", json=asked)
        headers = {"authorization": f"Bearer {token.json()['access_token']}"}
        answer = await _post("send", ports, "/v1/messages", headers=headers, content=b" " * (MAX_BODY + 1))
        assert answer.status_code == 413, answer.text
        listed = await _post("send", ports, "/v1/messages/batch", headers=headers, json={"messages": []})
        assert listed.status_code == 422, "the rest of the function's face is still there"


async def _post(name, ports, path, **more) -> httpx.Response:
    async with (
        http_face(name, functions.new(name, ports), ports, {}) as face,
        httpx.AsyncClient(transport=httpx.ASGITransport(face), base_url="http://test") as http,
    ):
        return await http.post(path, **more)

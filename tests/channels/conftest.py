import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from shared.channels import meta
from shared.ports.channel import WebhookRequest

PAYLOADS = Path(__file__).parent / "payloads"


@pytest.fixture
def payload():
    return lambda name: (PAYLOADS / f"{name}.json").read_bytes()


@pytest.fixture
def signed():
    def sign(body: bytes, secret: str = "s3cret") -> WebhookRequest:
        return WebhookRequest("POST", {"x-hub-signature-256": meta.signature(secret, body)}, {}, body)

    return sign


class Receiver:
    """The platform's end of a webhook: keeps what it was sent, refuses as long as it is told to."""

    def __init__(self) -> None:
        self.requests: list[WebhookRequest] = []
        self.refusals = 0
        self.arrived = asyncio.Event()
        self.app = Starlette(routes=[Route("/hook", self._hook, methods=["GET", "POST"])])
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://platform")

    async def _hook(self, request: Request) -> Response:
        if self.refusals:
            self.refusals -= 1
            return Response(status_code=503)
        query = dict(request.query_params)
        if request.method == "GET":
            return PlainTextResponse(query["hub.challenge"])
        headers = dict(request.headers)
        self.requests.append(WebhookRequest("POST", headers, query, await request.body()))
        self.arrived.set()
        return Response(status_code=200)

    def bodies(self) -> list[dict]:
        return [json.loads(request.body) for request in self.requests]


@pytest.fixture
async def receiver():
    receiver = Receiver()
    yield receiver
    await receiver.http.aclose()


@pytest.fixture
def served():
    """``async with served(app) as url``: a real uvicorn on a free port of this machine."""

    @asynccontextmanager
    async def serve(app) -> AsyncIterator[str]:
        listening = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        config.load()
        server = uvicorn.Server(config)
        server.lifespan = config.lifespan_class(config)
        await server.startup(sockets=[listening])
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.force_exit = True
            await server.shutdown(sockets=[listening])

    return serve

"""
Two gateways on one NATS: a user's sockets spread over them, one that dies, a NATS that is away (A12, A13, E6;
reliability.md 5.5). Tables are in memory and shared, so that nothing but fan-out and sockets is on trial.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, nullcontext, suppress
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from events import CATALOGUE, from_cloudevent
from events.vocabulary import Text
from functions.push.func import new as new_push
from functions.realtime.func import new as new_realtime
from functions.realtime.gateway import Gateway
from functions.realtime.session import Limits
from functions.token.func import new as new_token
from shared.adapters.nats.fan_out import NatsFanOut
from shared.domain.conversation import Conversation
from shared.domain.identity import User
from shared.domain.message import Draft
from shared.http.authenticator import Authenticator
from shared.http.live_socket import LiveSocket
from shared.http.rate_limit import Limits as RateLimits
from shared.http.rate_limit import RateLimiter
from shared.observability import metrics
from shared.ports import Ports
from shared.repositories.conversations import Conversations
from shared.repositories.timeline import Timeline
from shared.repositories.users import Users
from shared.runtime import bootstrap
from shared.testing import real_engines
from shared.testing.memory_ports import open_memory
from shared.testing.proxy import Proxy, proxy

pytestmark = pytest.mark.real("nats")

TENANT, TALK = "acme", "talk"


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not look():  # noqa: ASYNC110  what is looked at are other people's fields
            await asyncio.sleep(0.01)


@dataclass
class Running:
    """A gateway that listens on a port; its way to NATS can be cut."""

    gateway: Gateway
    server: uvicorn.Server
    task: asyncio.Task[None]
    way: Proxy
    port: int

    async def kill(self) -> None:
        """As by SIGKILL: nobody is told, nothing is finished."""
        for task in [self.task, *self.gateway.hub._tasks]:
            task.cancel()
        for connection in list(self.server.server_state.connections):
            connection.transport.abort()
        for listening in self.server.servers:
            listening.close()
        with suppress(asyncio.CancelledError):
            await self.task


@dataclass
class Cluster:
    ports: Ports
    fan_out: NatsFanOut
    stack: AsyncExitStack
    token: str = ""
    pushed: int = 0
    sent: int = 0

    async def gateway(self) -> Running:
        parts = urlsplit(real_engines.address("nats") or "")
        assert parts.hostname is not None and parts.port is not None
        way = await self.stack.enter_async_context(proxy(parts.hostname, parts.port))
        fan_out = NatsFanOut(f"nats://127.0.0.1:{way.port}")
        await fan_out.start()
        self.stack.push_async_callback(fan_out.close)
        await fan_out.connected()
        ports = replace(self.ports, fan_out=fan_out)
        gateway = Gateway(
            new_realtime(ports),
            Authenticator.of(ports),
            RateLimiter.of(ports, RateLimits()),
            Limits(heartbeat=2.8, connections=1000),
        )
        await gateway.start()
        config = uvicorn.Config(
            gateway, port=0, ws=LiveSocket, http="httptools", lifespan="off", log_config=None, access_log=False,
            ws_per_message_deflate=False,
        )  # fmt: skip
        server = uvicorn.Server(config)
        server.capture_signals = nullcontext  # type: ignore[method-assign]
        task = asyncio.create_task(server.serve())
        await until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        self.stack.push_async_callback(self._stop, gateway, server, task)
        return Running(gateway, server, task, way, port)

    async def _stop(self, gateway: Gateway, server: uvicorn.Server, task: asyncio.Task[None]) -> None:
        with suppress(asyncio.CancelledError):
            await gateway.stop()
            server.should_exit = True
            await task

    async def send(self) -> None:
        """Accept one message and push it, as the functions do."""
        self.sent += 1
        timeline = Timeline(self.ports.tables, self.ports.outbox, self.ports.cache, self.ports.clock)
        draft = Draft(
            message_id=self.ports.ids.uuid(), conversation_id=TALK, sender="ana", payload=Text(text=str(self.sent))
        )
        await timeline.accept(TENANT, draft, source="/test", traceparent=None)
        await self.push()

    async def push(self) -> None:
        push = new_push(replace(self.ports, fan_out=self.fan_out))
        for record in await self.ports.log.read(after=self.pushed, limit=1000):  # type: ignore[attr-defined]
            self.pushed = record.offset
            await push.handle(from_cloudevent(record.event, CATALOGUE))


@dataclass
class Client:
    """A device that comes back to whichever gateway is there, with what it has."""

    cluster: Cluster
    seqs: list[int] = field(default_factory=list)
    connection: ClientConnection | None = None
    task: asyncio.Task[None] | None = None

    async def open(self, running: Running) -> None:
        self.connection = await connect(
            f"ws://127.0.0.1:{running.port}/ws?act_as=bruno&token={self.cluster.token}", close_timeout=0.2
        )
        if self.seqs:
            await self.connection.send(json.dumps({"type": "sync", "cursors": {TALK: self.seqs[-1]}}))
        self.task = asyncio.create_task(self._read(self.connection))

    async def _read(self, connection: ClientConnection) -> None:
        with suppress(ConnectionClosed):
            async for text in connection:
                frame = json.loads(text)
                # What it was sent again before its sync arrived it has already.
                if frame["type"] == "message" and not (self.seqs and frame["seq"] <= self.seqs[-1]):
                    self.seqs.append(frame["seq"])

    async def close(self) -> None:
        assert self.connection is not None
        await self.connection.close()
        await self.lost()

    async def lost(self) -> None:
        assert self.task is not None
        await self.task

    async def has(self, count: int) -> None:
        await until(lambda: len(self.seqs) >= count)
        assert self.seqs == list(range(1, count + 1))


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        ports = await stack.enter_async_context(open_memory({}))
        fan_out = await stack.enter_async_context(real_engines.nats_fan_out())
        made = Cluster(ports, fan_out, stack)
        credentials = await bootstrap.create_tenant(ports, TENANT)
        now = ports.clock.now()
        users = Users(ports.tables, ports.clock)
        for user in ("ana", "bruno"):
            await users.create(TENANT, User(user_id=user, created_at=now, updated_at=now))
        talk = Conversation(conversation_id=TALK, type="private", created_at=now, created_by="ana", metadata={})
        await Conversations(ports.tables, ports.clock).create(TENANT, talk, ("ana", "bruno"))
        grant = await new_token(ports).for_client(credentials.client_id, credentials.client_secret)
        made.token = grant.access_token
        yield made


async def client(cluster: Cluster, running: Running) -> Client:
    made = Client(cluster)
    await made.open(running)
    cluster.stack.push_async_callback(made.close)
    return made


async def test_the_devices_of_a_user_are_spread_and_each_gets_everything(cluster: Cluster) -> None:
    one, two = await cluster.gateway(), await cluster.gateway()
    await cluster.send()
    devices = [await client(cluster, where) for where in (one, two, one, two)]
    for _ in range(50):
        await cluster.send()
    for device in devices:
        await device.has(51)


async def test_who_was_at_a_gateway_that_died_goes_on_at_the_other(cluster: Cluster) -> None:
    one, two = await cluster.gateway(), await cluster.gateway()
    devices = [await client(cluster, one) for _ in range(5)]
    stays = await client(cluster, two)

    async def load() -> None:
        for _ in range(300):
            await cluster.send()
            await asyncio.sleep(0.002)

    loading = asyncio.create_task(load())
    await until(lambda: len(devices[0].seqs) >= 100)
    await one.kill()
    for device in devices:
        await device.lost()
        await device.open(two)
    await loading
    for device in [*devices, stays]:
        await device.has(300)


async def test_what_a_cut_way_to_nats_has_swallowed_is_read_from_the_timeline(cluster: Cluster) -> None:
    one, two = await cluster.gateway(), await cluster.gateway()
    behind, beside = await client(cluster, one), await client(cluster, two)
    for _ in range(10):
        await cluster.send()
    await behind.has(10)
    filled = metrics.gaps_filled._value.get()
    await one.way.cut()
    for _ in range(10):
        await cluster.send()
    await beside.has(20)
    await one.way.start()
    await behind.has(20)
    # Of the other gateway's ten some may have been read before they were brought: both count in one process.
    assert 10 <= metrics.gaps_filled._value.get() - filled <= 20
    await cluster.send()
    await behind.has(21)

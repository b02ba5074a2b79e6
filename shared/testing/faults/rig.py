"""
The platform under test, as an operator would run it: one process that takes requests, two that take events.

All are ``chat4all up`` on the same servers. Clients and providers reach the front through a proxy in this process,
so that another front can take its place; Redis, NATS and providers are reached through Toxiproxy.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from urllib.parse import urlsplit
from uuid import uuid4  # noqa: TID251  nothing of an earlier run must be found

import httpx

from shared.adapters.local.vault import load_or_create_key
from shared.runtime.bootstrap import ensure_client
from shared.runtime.choices import Choices
from shared.runtime.engines import Engines
from shared.runtime.open_servers import open_servers
from shared.testing.faults.stack import Stack, Toxiproxy
from shared.testing.http1 import Client
from shared.testing.platform import CLIENT_SECRET, DidNotStart, Platform, free_port
from shared.testing.proxy import Proxy

WORKERS = ("worker-1", "worker-2")


@dataclass(slots=True)
class Rig:
    stack: Stack
    toxiproxy: Toxiproxy
    directory: Path
    environment: Mapping[str, str]
    door: Proxy
    """Where clients and providers knock."""
    run: str
    processes: dict[str, Platform] = field(default_factory=dict)
    watched: dict[str, Client] = field(default_factory=dict)
    """A client for each process, to ask for its metrics."""
    _made: int = 0

    @property
    def engines(self) -> Engines:
        return Engines.read(self.environment)

    async def start(
        self, name: str, *, triggers: str, settings: Mapping[str, str] | None = None, wait: bool = True
    ) -> Platform:
        """Start ``chat4all up`` under this name, and return when it is ready, or at once without ``wait``."""
        platform = self.processes.get(name) or self._platform(name)
        platform.command = _up(platform, triggers)
        self.processes[name] = platform
        await platform.start(settings or {}, patience=90, wait=wait)
        return platform

    async def start_front(self, settings: Mapping[str, str] | None = None) -> None:
        front = await self.start("front", triggers="none", settings=settings)
        self.door.lead_to("127.0.0.1", front.port)

    async def start_workers(self, *names: str, settings: Mapping[str, str] | None = None) -> None:
        await asyncio.gather(*(self.start(name, triggers="all", settings=settings) for name in names or WORKERS))

    async def start_doomed(self, worker: str, point: str, *, within: float) -> None:
        """
        Start a worker that dies at the point when it gets there; that may be before it is ready. Wait for it.

        Raises:
            DidNotStart: it ended by something else.
            TimeoutError: it lives.
        """
        platform = await self.start(worker, triggers="all", settings={"CHAT4ALL_FAILPOINT": point}, wait=False)
        if await self.died(worker, within=within) != -SIGKILL:
            assert platform.process is not None
            raise DidNotStart(platform.process.tail())

    async def start_function(self, service: str) -> None:
        """``chat4all run``: one service as a process of its own."""
        platform = self.processes.get(service) or self._platform(service)
        platform.command = [
            sys.executable, "-m", "shared.cli.main", "run", service, "--mode", "servers",
            "--port", str(platform.port), "--data-dir", str(platform.data),
        ]  # fmt: skip
        platform.ready = "/health/readiness"
        self.processes[service] = platform
        await platform.start(patience=90)

    async def replace_front(self) -> None:
        """Another one is started, gets the new connections, and the old one is asked to end."""
        old = self.processes.pop("front")
        self._forget("front")
        await self.start_front()
        await old.stop()

    async def replace(self, worker: str) -> None:
        old = self.processes.pop(worker)
        self._forget(worker)
        await self.start_workers(worker)
        await old.stop()

    async def stop(self, *names: str) -> None:
        await asyncio.gather(*(self.processes[name].stop() for name in names))

    async def stop_workers(self) -> None:
        await self.stop(*WORKERS)

    async def whole(self) -> None:
        """Everything as it was at the start, whatever a drill has left behind."""
        await self.toxiproxy.heal()
        await self.stack.up_again()
        await asyncio.gather(*(process.kill() for process in self.processes.values()))
        await self.start_front()
        await self.start_workers()

    def runs(self, name: str) -> bool:
        process = self.processes[name].process
        return process is not None and process.running

    async def died(self, name: str, *, within: float) -> int:
        """
        Wait until it has; its exit code.

        Raises:
            TimeoutError: it lives.
        """
        process = self.processes[name].process
        assert process is not None, "not started"
        return await asyncio.wait_for(process.wait(), within)

    def proxy(self, engine: str) -> str:
        """The name of Toxiproxy's proxy before it."""
        return f"{engine}-{self.run}"

    async def tenants(self, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """New tenants, made beside the running platform; for each (client_id, client_secret)."""
        keys = [self.environment["CHAT4ALL_SECRET_KEY"].encode()]
        made = {}
        async with open_servers(self.engines, Choices(keys=keys), folder=self.directory) as opened:
            for name in names:
                await ensure_client(opened.ports, name, f"client-{name}", CLIENT_SECRET)
                made[name] = f"client-{name}", CLIENT_SECRET
        return made

    def logs(self) -> list[Path]:
        return sorted(self.directory.glob("*/log/*.jsonl*"))

    async def close(self) -> None:
        for client in self.watched.values():
            client.close()
        await asyncio.gather(*(process.kill() for process in self.processes.values()))

    def _platform(self, name: str) -> Platform:
        self._made += 1
        platform = Platform(free_port(), self.directory / f"{name}-{self._made}", self.environment)
        self.watched[name] = Client(platform.port, connections=1)
        return platform

    def _forget(self, name: str) -> None:
        self.watched.pop(name).close()


def _up(platform: Platform, triggers: str) -> list[str]:
    return [
        sys.executable, "-m", "shared.cli.main", "up", "--mode", "servers", "--triggers", triggers,
        "--port", str(platform.port), "--data-dir", str(platform.data),
    ]  # fmt: skip


@asynccontextmanager
async def rig(stack: Stack, told: Mapping[str, str], directory: Path) -> AsyncIterator[Rig]:
    """
    The platform on a stack that runs: tables and a topic that nobody has used, one front, two workers.

    Args:
        told: what ``scripts/stack env`` says.
    """
    await asyncio.to_thread(directory.mkdir, parents=True, exist_ok=True)
    run = uuid4().hex[:8]
    async with httpx.AsyncClient(base_url=stack.toxiproxy, timeout=10) as http:
        toxiproxy = Toxiproxy(http)
        redis = await toxiproxy.before(f"redis-{run}", urlsplit(told["CHAT4ALL_REDIS_URL"]).port or 0)
        nats = await toxiproxy.before(f"nats-{run}", urlsplit(told["CHAT4ALL_NATS_URL"]).port or 0)
        door = Proxy("127.0.0.1", 1)
        await door.start()
        environment = {
            **told,
            "CHAT4ALL_REDIS_URL": f"redis://127.0.0.1:{redis}/0",
            "CHAT4ALL_NATS_URL": f"nats://127.0.0.1:{nats}",
            "CHAT4ALL_CASSANDRA_KEYSPACE": f"faults_{run}",
            "CHAT4ALL_KAFKA_TOPIC": f"faults-{run}",
            "CHAT4ALL_KAFKA_GROUP_PREFIX": f"faults-{run}-",
            "CHAT4ALL_SECRET_KEY": load_or_create_key(directory / "vault.key").decode(),
            "CHAT4ALL_SIMULATORS": "false",
            "CHAT4ALL_PROVIDER_HOSTS": "127.0.0.1",
        }
        made = Rig(stack, toxiproxy, directory, environment, door, run)
        try:
            await made.start_front()
            await made.start_workers()
            yield made
        finally:
            await made.close()
            await door.cut()

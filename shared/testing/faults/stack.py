"""The servers that a fault campaign may break: a stack of its own, and Toxiproxy in front of some of them."""

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx

from shared.testing.platform import plain_environment

ROOT = Path(__file__).parents[3]
ENGINES = "kafka,cassandra,redis,nats,toxiproxy"

Signal = Literal["KILL", "TERM", "STOP", "CONT"]


class StackFailed(Exception):
    """scripts/stack could not do it; the text is its own."""


@dataclass(frozen=True, slots=True)
class Stack:
    """``offset`` is added to every port, so that it fits beside another stack."""

    folder: Path
    offset: int

    async def up(self, nodes: int) -> dict[str, str]:
        """Start it on no data; what the platform is told."""
        await self._run("wipe")
        await self._run("up", "--nodes", str(nodes), "--port-offset", str(self.offset), "--only", ENGINES)
        lines = (await self._run("env")).splitlines()
        return dict(line.split("=", 1) for line in lines)

    async def kill(self, server: str, signal: Signal = "KILL") -> None:
        await self._run("kill", server, "--signal", signal)

    async def start(self, server: str) -> None:
        """Returns when it answers."""
        await self._run("start", server)

    async def up_again(self) -> None:
        """Everything that does not run is started, all at once."""
        await self._run("up", "--only", ENGINES)

    async def ended(self, server: str) -> None:
        """
        Raises:
            StackFailed: it still runs after 30 s.
        """
        for _ in range(150):
            seen = await self._run("status", fails=False)
            if f"{server} " not in seen or any(line.split()[:2] == [server, "dead"] for line in seen.splitlines()):
                return
            await asyncio.sleep(0.2)
        raise StackFailed(f"{server} does not end")

    async def wipe(self) -> None:
        await self._run("wipe")

    @property
    def toxiproxy(self) -> str:
        return f"http://127.0.0.1:{8474 + self.offset}"

    async def _run(self, *arguments: str, fails: bool = True) -> str:
        command = (sys.executable, "-m", "infra.stack", *arguments)
        environment = plain_environment() | {"CHAT4ALL_STACK_DIR": str(self.folder)}
        # Not uvloop's: the servers that this starts would inherit its pipes and hold them open.
        ended = await asyncio.to_thread(
            subprocess.run, command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        if ended.returncode and fails:
            raise StackFailed(f"scripts/stack {' '.join(arguments)}: {ended.stderr.strip()}")
        return ended.stdout


@dataclass(frozen=True, slots=True)
class Toxic:
    """
    What befalls a connection (github.com/Shopify/toxiproxy, Toxics); ``stream`` is seen from the platform:
    ``downstream`` is what comes back to it.
    """

    type: Literal["latency", "timeout", "reset_peer", "limit_data", "slicer"]
    attributes: Mapping[str, int]
    stream: Literal["upstream", "downstream"] = "downstream"


@dataclass(frozen=True, slots=True)
class Toxiproxy:
    """Its control API; a proxy is known by its name."""

    http: httpx.AsyncClient

    async def before(self, name: str, upstream: int, *, listen: int = 0) -> int:
        """A proxy before a port of this machine; the port that it listens on."""
        body = {"name": name, "listen": f"127.0.0.1:{listen}", "upstream": f"127.0.0.1:{upstream}"}
        made = await self._call("POST", "/proxies", body)
        return int(made["listen"].rpartition(":")[2])

    async def add(self, name: str, toxic: Toxic) -> None:
        body = {"type": toxic.type, "stream": toxic.stream, "attributes": dict(toxic.attributes)}
        await self._call("POST", f"/proxies/{name}/toxics", {"name": toxic.type, **body})

    async def heal(self) -> None:
        """All toxics go, all proxies are open."""
        await self._call("POST", "/reset")

    async def close(self, name: str) -> None:
        """Connections are cut and refused until ``heal``."""
        await self._call("POST", f"/proxies/{name}", {"enabled": False})

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        answer = await self.http.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

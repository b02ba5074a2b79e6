"""The platform as its users have it: a process with a port and a data directory, that can be killed."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from shared.testing.http1 import Client

CLIENT_ID = "campaign"
CLIENT_SECRET = "a-secret-that-only-this-run-knows"

UNLIMITED = {
    "CHAT4ALL_BOOTSTRAP_CLIENT_ID": CLIENT_ID,
    "CHAT4ALL_BOOTSTRAP_CLIENT_SECRET": CLIENT_SECRET,
    "CHAT4ALL_RATE_LIMIT_PER_MINUTE": "0",
    "CHAT4ALL_MESSAGE_RATE_LIMIT_PER_MINUTE": "0",
}


class DidNotStart(Exception):
    """The platform ended, or was not ready in time; the message has the end of its log."""


def free_port() -> int:
    """A port nobody listened on a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Usage:
    """
    CPU seconds so far, ``main`` those of the main thread; peak and present resident memory in MiB, of one process
    (Linux: /proc).
    """

    cpu: float
    main: float
    peak: float
    resident: float


def usage(pid: int) -> Usage:
    """What the process has used until now."""

    def seconds(path: str) -> float:
        fields = Path(path).read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    return Usage(
        cpu=seconds(f"/proc/{pid}/stat"),
        main=seconds(f"/proc/{pid}/task/{pid}/stat"),
        peak=int(status["VmHWM"].split()[0]) / 1024,
        resident=int(status["VmRSS"].split()[0]) / 1024,
    )


@dataclass(slots=True)
class Process:
    """One child process, its output appended to a file."""

    command: Sequence[str]
    output: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    _child: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._child is not None, "not started"
        return self._child.pid

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.returncode is None

    async def start(self) -> None:
        with self.output.open("ab") as output:
            self._child = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=plain_environment() | dict(self.environment),
                start_new_session=True,
            )

    async def wait(self) -> int:
        """The exit code; negative: the signal that ended it."""
        assert self._child is not None, "not started"
        return await self._child.wait()

    async def kill(self) -> None:
        """SIGKILL: nothing of it runs afterwards."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM, and the exit code."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        if self._child is None:
            return 0
        if self._child.returncode is None:
            self._child.send_signal(number)
        return await self._child.wait()

    def usage(self) -> Usage:
        return usage(self.pid)

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-lines:]) if self.output.exists() else ""


@dataclass(slots=True)
class Platform:
    """``chat4all up`` on a port and a data directory. ``ready`` says how it is asked whether it is ready."""

    port: int
    data: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Sequence[str] | None = None
    ready: str = "/health/ready"
    process: Process | None = None

    async def start(
        self, settings: Mapping[str, str] = MappingProxyType({}), *, patience: float = 100.0, wait: bool = True
    ) -> float:
        """
        Start it, and the seconds until it was ready; ``settings`` hold for this start only.

        Raises:
            DidNotStart: it ended, or was not ready after ``patience`` seconds.
        """
        self.data.mkdir(parents=True, exist_ok=True)
        command = self.command or [
            sys.executable, "-m", "shared.cli.main", "up", "--port", str(self.port), "--data-dir", str(self.data),
        ]  # fmt: skip
        environment = {**UNLIMITED, **self.environment, **settings}
        self.process = Process(command, self.data.with_suffix(".log"), environment)
        began = time.monotonic()
        await self.process.start()
        if wait:
            await self.until_ready(patience=patience)
        return time.monotonic() - began

    async def until_ready(self, *, patience: float = 100.0) -> None:
        assert self.process is not None, "not started"
        client = Client(self.port, connections=1)
        deadline = time.monotonic() + patience
        try:
            while (await client.call("GET", self.ready)).status != 200:
                if not self.process.running or time.monotonic() > deadline:
                    raise DidNotStart(self.process.tail())
                await asyncio.sleep(0.01)
        finally:
            client.close()

    async def kill(self) -> None:
        if self.process is not None:
            await self.process.kill()

    async def stop(self) -> None:
        if self.process is not None:
            await self.process.stop()


def plain_environment() -> dict[str, str]:
    """What every process needs, and none of the caller's own settings."""
    inherited = os.environ  # noqa: TID251  handed on to a child, not read as settings
    return {name: value for name, value in inherited.items() if not name.startswith("CHAT4ALL_")}

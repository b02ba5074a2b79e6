"""
The platform in the mode servers: one process that answers HTTP, with no function or all, and one for each of some.

What it stands on are the engines that the environment names (``scripts/stack env``); their processes are found by
the ports they listen on, so that their CPU can be told beside ours.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shared.testing import measure
from shared.testing.http1 import Client
from shared.testing.platform import Platform, Process, free_port, usage


@dataclass(slots=True)
class Worker:
    """One function as a process; ``/metrics`` is on its port."""

    function: str
    process: Process
    port: int

    async def metrics(self) -> measure.Samples:
        client = Client(self.port, connections=1)
        try:
            return measure.parse((await client.call("GET", "/metrics")).body)
        finally:
            client.close()


@dataclass(slots=True)
class Fleet:
    directory: Path
    environment: Mapping[str, str]
    triggers: str = "none"
    """What events the process that answers HTTP takes."""
    workers: list[Worker] = field(default_factory=list)
    platform: Platform = field(init=False)

    def __post_init__(self) -> None:
        settings = {**self.environment, "CHAT4ALL_TRIGGERS": self.triggers, "CHAT4ALL_SIMULATORS": "true"}
        self.platform = Platform(free_port(), self.directory / "data", settings)

    async def start(self, functions: Sequence[str] = ()) -> float:
        """Seconds until HTTP was answered; the functions after it, one after the other."""
        took = await self.platform.start(patience=90.0)
        for function in functions:
            await self.add(function)
        return took

    async def add(self, function: str, *, slow: float = 0.0, concurrency: int = 100, wait: bool = True) -> Worker:
        """One more process of the function; ready once it has its share of the partitions."""
        port = free_port()
        if slow:
            command = [sys.executable, "-m", "shared.testing.slow_function", function, str(slow), str(concurrency)]
            command.append(str(port))
        else:
            command = [sys.executable, "-m", "shared.cli.main", "run", function, "--port", str(port)]
            command += ["--concurrency", str(concurrency)]
        environment = {**self.environment, "CHAT4ALL_DATA_DIR": str(self.platform.data)}
        output = self.directory / f"{function}-{len(self.workers)}.log"
        worker = Worker(function, Process(command, output, environment), port)
        await worker.process.start()
        self.workers.append(worker)
        if wait:
            probe = Platform(port, self.platform.data, ready="/health/readiness", process=worker.process)
            await probe.until_ready(patience=60.0)
        return worker

    async def stop(self) -> None:
        for worker in self.workers:
            await worker.process.stop()
        await self.platform.stop()

    def takers(self) -> list[Worker]:
        """Every running process that takes events."""
        assert self.platform.process is not None, "not started"
        front = [] if self.triggers == "none" else [Worker("everything", self.platform.process, self.platform.port)]
        return [worker for worker in front + self.workers if worker.process.running]

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far of every process, ours and the engines', by function or engine."""
        assert self.platform.process is not None, "not started"
        front = "http (send)" if self.triggers == "none" else "everything"
        used = {front: self.platform.process.usage().cpu}
        for worker in self.workers:
            used[worker.function] = used.get(worker.function, 0.0) + worker.process.usage().cpu
        for engine, pid in engines().items():
            name = engine.rpartition("-")[0] if engine[-1].isdigit() else engine
            used[name] = used.get(name, 0.0) + usage(pid).cpu
        return used


def engines() -> dict[str, int]:
    """The pids of the stack's servers, by server (docs/reference/stack.md)."""
    told = os.environ.get("CHAT4ALL_STACK_DIR")  # noqa: TID251  a tool's own variable
    state = Path(told) if told else Path.home() / ".local/state/chat4all/stack"
    found = {}
    for file in sorted((state / "run").glob("*.pid")):
        pid = file.read_text().split()[0]
        if Path(f"/proc/{pid}").exists():
            found[file.stem] = int(pid)
    return found

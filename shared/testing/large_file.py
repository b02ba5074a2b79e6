"""
``scripts/demo-large-file``: gigabytes through the platform, while its clients and itself are killed (B1 to B5).

Two rounds: in one the uploading client is killed at about 60 % and the same command is given again; in the other the
platform is, and the client goes on when it is back. Both times the download is killed and gone on with as well, and
what came back is compared byte by byte. The memory of every process is watched all the while.
"""

import asyncio
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from shared.testing.http1 import UNKNOWN, Client
from shared.testing.memory import Memory, pid_listening_on
from shared.testing.platform import CLIENT_ID, CLIENT_SECRET, Platform, free_port, plain_environment
from shared.testing.tenant import Tenant

MIB = 1024 * 1024
GROWTH = 32.0
"""MiB by which no process of ours may grow."""
KILLED_AT = 0.6
_TRIES = 50
PATIENCE = 180.0  # seconds for a start, on a machine that has other work too
ENGINES = tuple(f"CHAT4ALL_{name}_" for name in ("S3", "MINIO", "KAFKA", "CASSANDRA", "REDIS", "NATS"))
STORE = "object store (not ours)"

Victim = Literal["client", "platform"]


class Broken(Exception):
    """What was promised did not come true; the message says what."""


@dataclass(slots=True)
class Round:
    """What happened to one file; seconds."""

    killed: Victim
    size: int
    upload_killed_at: float = 0.0
    """Part of the file that the platform had."""
    parts_missing_then: int = 0
    parts_before_kept: bool = False
    upload_seconds: float = 0.0
    """With the kill, the restart and the verification."""
    download_killed_at: float = 0.0
    download_seconds: float = 0.0
    same_bytes: bool = False


@dataclass(slots=True)
class Plan:
    """``limit_rate``: MiB a second for small files, which are otherwise through before anybody can be killed."""

    size: int
    parallel: int = 4
    limit_rate: float | None = None
    victims: Sequence[Victim] = ("client", "platform")
    bar: Progress | None = None

    @property
    def pace(self) -> list[str]:
        return [] if self.limit_rate is None else ["--limit-rate", str(self.limit_rate)]


@dataclass(slots=True)
class Outcome:
    rounds: list[Round] = field(default_factory=list)
    growth: dict[str, dict[str, float]] = field(default_factory=dict)
    """Process → MiB before, at most, and between them."""

    def check(self) -> None:
        """
        Raises:
            Broken: bytes differ, parts that were there were lost, or a process of ours grew too much.
        """
        for one in self.rounds:
            if not (one.same_bytes and one.parts_before_kept and one.parts_missing_then):
                raise Broken(f"{one}")
        for name, seen in self.growth.items():
            if name != STORE and seen["growth"] >= GROWTH:
                raise Broken(f"{name} grew by {seen['growth']:.1f} MiB")


@dataclass(slots=True)
class Demo:
    platform: Platform
    tenant: Tenant
    plan: Plan
    directory: Path
    memory: Memory

    async def run(self) -> list[Round]:
        await self.tenant.add_users(["ana", "bruno"])
        await self._warm_up()
        rounds = []
        for number, victim in enumerate(self.plan.victims):
            rounds.append(await self._round(victim, seed=number + 1))
        return rounds

    async def _warm_up(self) -> None:
        """What is imported and opened by the first file is not what a large one costs."""
        path = self.directory / "small.bin"
        write(path, 1 * MIB, seed=0)
        conversation = await self._conversation("small")
        async with self._command("upload", path, "--conversation", conversation, "--as", "ana") as upload:
            await upload.succeeds()
            file_id = await upload.file_id()
        async with self._command("download", file_id, "--as", "bruno", "-o", self.directory / "back") as download:
            await download.succeeds()
        (self.directory / "back").unlink()
        assert self.platform.process is not None
        self.memory.watch("platform", self.platform.process.pid)

    async def _round(self, victim: Victim, *, seed: int) -> Round:
        seen = Round(victim, self.plan.size)
        path, back = self.directory / f"large-{seed}.bin", self.directory / f"back-{seed}.bin"
        with self._shown(f"writing {path.name}") as advance:
            write(path, self.plan.size, seed=seed, advance=advance)
        file_id = await self._upload(path, seen, await self._conversation(f"{victim}-{seed}"))
        await self._download(file_id, back, seen)
        seen.same_bytes = await asyncio.to_thread(same, path, back)
        path.unlink()
        back.unlink()
        return seen

    async def _upload(self, path: Path, seen: Round, conversation: str) -> str:
        began = time.monotonic()
        arguments = (
            *("upload", path, "--conversation", conversation, "--as", "ana"),
            *("--parallel", self.plan.parallel, *self.plan.pace),
        )
        async with self._command(*arguments) as upload:
            file_id = await upload.file_id()
            self.memory.watch("uploading client", upload.pid)
            with self._shown(f"uploading, {seen.killed} killed at {KILLED_AT:.0%}") as advance:
                status = await self._until_received(file_id, advance)
            there = {part["part_number"] for part in status["parts_received"]}
            if seen.killed == "client":
                upload.kill()
                await upload.ended()
            else:
                await self.platform.kill()
                await self.platform.start(patience=PATIENCE)
                assert self.platform.process is not None
                self.memory.watch("platform", self.platform.process.pid)
            after = await self._status(file_id)
            seen.parts_before_kept = there <= {part["part_number"] for part in after["parts_received"]}
            if seen.killed == "client":  # into an S3 it goes on while the platform is away
                status = after
            seen.upload_killed_at = round(status["received_bytes"] / self.plan.size, 3)
            seen.parts_missing_then = len(status["missing_parts"])
            if seen.killed == "platform":
                await upload.succeeds()
        if seen.killed == "client":
            async with self._command(*arguments) as again:
                if await again.file_id() != file_id:
                    raise Broken("the same command began another upload")
                self.memory.watch("uploading client", again.pid)
                await again.succeeds()
        seen.upload_seconds = round(time.monotonic() - began, 2)
        return file_id

    async def _download(self, file_id: str, back: Path, seen: Round) -> None:
        began = time.monotonic()
        arguments = ("download", file_id, "--as", "bruno", "-o", back, *self.plan.pace)
        partial = back.with_name(f".{back.name}.{file_id}.part")
        async with self._command(*arguments) as download:
            while not partial.exists():
                await asyncio.sleep(0.005)
                download.check()
            self.memory.watch("downloading client", download.pid)
            with self._shown(f"downloading, client killed at {KILLED_AT:.0%}") as advance:
                while partial.stat().st_size < KILLED_AT * self.plan.size:
                    await asyncio.sleep(0.005)
                    download.check()
                    advance(partial.stat().st_size)
            download.kill()
            await download.ended()
        seen.download_killed_at = round(partial.stat().st_size / self.plan.size, 3)
        async with self._command(*arguments) as again:
            self.memory.watch("downloading client", again.pid)
            await again.succeeds()
        seen.download_seconds = round(time.monotonic() - began, 2)

    async def _until_received(self, file_id: str, advance: Callable[[int], None]) -> dict[str, Any]:
        while True:
            status = await self._status(file_id)
            advance(status["received_bytes"])
            if status["received_bytes"] >= KILLED_AT * self.plan.size:
                return status
            await asyncio.sleep(0.02)

    async def _status(self, file_id: str) -> dict[str, Any]:
        return await self._asked("GET", f"/v1/files/{file_id}/status")

    async def _conversation(self, name: str) -> str:
        body = {"type": "private", "members": ["ana", "bruno"], "conversation_id": f"{name}-{time.time_ns()}"}
        conversation_id: str = (await self._asked("POST", "/v1/conversations", body))["conversation_id"]
        return conversation_id

    async def _asked(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Again where there was no answer: a connection that was idle for too long is closed by the platform."""
        for _ in range(_TRIES):
            answer = await self.tenant.call(method, path, body, act_as="ana")
            if answer.status != UNKNOWN:
                break
            await asyncio.sleep(0.1)
        if not 200 <= answer.status < 300:
            raise Broken(f"{method} {path}: {answer.status} {answer.body[:300]!r}")
        found: dict[str, Any] = answer.json()
        return found

    @asynccontextmanager
    async def _command(self, *arguments: object) -> AsyncIterator["Command"]:
        command = Command(await asyncio.create_subprocess_exec(
            sys.executable, "-m", "shared.cli.main", *map(str, arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=plain_environment() | {
                "CHAT4ALL_URL": f"http://127.0.0.1:{self.platform.port}",
                "CHAT4ALL_CLIENT_ID": self.tenant.client_id,
                "CHAT4ALL_CLIENT_SECRET": self.tenant.client_secret,
                "COLUMNS": "200",
            },
        ))  # fmt: skip
        try:
            yield command
        finally:
            command.kill()
            await command.ended()

    def _shown(self, name: str) -> "Shown":
        return Shown(self.plan.bar, name, self.plan.size)


class Shown:
    """A line of the progress bar, if there is one; called with how many bytes are done."""

    def __init__(self, bar: Progress | None, name: str, size: int) -> None:
        self._bar, self._task = bar, None if bar is None else bar.add_task(name, total=size)

    def __enter__(self) -> Callable[[int], None]:
        return self._to

    def __exit__(self, *_: object) -> None: ...

    def _to(self, done: int) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)


class Command:
    """``chat4all …`` as a process."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child
        self._said: list[str] = []
        self._id: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._listening = asyncio.create_task(self._listen())

    @property
    def pid(self) -> int:
        return self._child.pid

    async def file_id(self) -> str:
        """What an upload says of itself when it begins to send."""
        return await self._id

    async def succeeds(self) -> None:
        await self.ended()
        self._judge()

    def check(self) -> None:
        """
        Raises:
            Broken: it ended.
        """
        if self._child.returncode is not None:
            raise Broken("it ended before it could be killed: " + " ".join(self._said))

    def kill(self) -> None:
        if self._child.returncode is None:
            self._child.send_signal(signal.SIGKILL)

    async def ended(self) -> None:
        await self._listening
        await self._child.wait()

    def _judge(self) -> None:
        if self._child.returncode != 0:
            raise Broken(f"it ended with {self._child.returncode}: {' '.join(self._said)}")

    async def _listen(self) -> None:
        assert self._child.stderr is not None and self._child.stdout is not None
        async for line in self._child.stderr:
            words = line.decode().split()
            self._said.append(line.decode())
            if len(words) == 3 and words[1] == "is" and not self._id.done():
                self._id.set_result(words[2])
        await self._child.stdout.read()
        if not self._id.done():
            self._id.set_exception(Broken("it began no upload: " + " ".join(self._said)))
            self._id.exception()  # nobody need have asked


def write(path: Path, size: int, *, seed: int, advance: Callable[[int], None] = lambda done: None) -> None:
    """Bytes that look random, no block like another, the same for the same seed."""
    pool = random.Random(seed).randbytes(8 * MIB)
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            at = (start // MIB * 7919) % (7 * MIB)
            block = start.to_bytes(8, "big") + hashlib.sha256(b"%d %d" % (seed, start)).digest() + pool[at : at + MIB]
            file.write(block[: min(MIB, size - start)])
            advance(start)
        file.flush()
        os.fsync(file.fileno())  # what is still to be written is not to slow down what comes next


def same(one: Path, two: Path) -> bool:
    """Byte by byte."""
    with one.open("rb") as left, two.open("rb") as right:
        while True:
            block = left.read(MIB)
            if block != right.read(MIB):
                return False
            if not block:
                return True


async def run(platform: Platform, plan: Plan, directory: Path) -> Outcome:
    """Start the platform, carry the files, stop it; ``directory`` holds them meanwhile."""
    client = Client(platform.port, connections=4)
    outcome = Outcome()
    with Memory() as memory:
        if store := _store(platform.environment):
            memory.watch(STORE, store)
        try:
            await platform.start(patience=PATIENCE)
            tenant = Tenant(client, "large-file", CLIENT_ID, CLIENT_SECRET)
            await tenant.login()
            outcome.rounds = await Demo(platform, tenant, plan, directory, memory).run()
        finally:
            client.close()
            await platform.stop()
    for name, seen in memory.watched.items():
        outcome.growth[name] = {
            "before": round(seen.before, 1), "peak": round(seen.peak, 1), "growth": round(seen.growth, 1)
        }  # fmt: skip
    return outcome


def object_store(kind: str) -> dict[str, str]:
    """
    What tells a platform to keep its files there; where the engines are is handed on from our own environment.

    Raises:
        typer.BadParameter: there is no such kind, or nothing says where the S3 is.
    """
    given = os.environ.items()  # noqa: TID251
    engines = {name: value for name, value in given if name.startswith(ENGINES)}
    if kind not in ("folder", "s3"):
        raise typer.BadParameter(f"--store {kind}: it is folder or s3")
    if kind == "s3" and not {"CHAT4ALL_S3_ENDPOINT", "CHAT4ALL_MINIO_ENDPOINT"} & engines.keys():
        raise typer.BadParameter(
            "--store s3: first `told=$(scripts/stack env) && export $told`, or set CHAT4ALL_S3_ENDPOINT"
        )
    return engines | {"CHAT4ALL_OBJECT_STORE": kind}


def _store(environment: Mapping[str, str]) -> int | None:
    """The process behind the S3 that is used, when it is one of this machine."""
    if environment.get("CHAT4ALL_OBJECT_STORE") != "s3":
        return None
    address = urlsplit(environment.get("CHAT4ALL_S3_ENDPOINT") or environment.get("CHAT4ALL_MINIO_ENDPOINT") or "")
    return pid_listening_on(address.port) if address.port else None


def show(outcome: Outcome, console: Console) -> None:
    table = Table(title="A large file, killed and gone on with")
    for column in ("killed", "MiB", "at", "parts missing then", "upload s", "download killed at", "s", "same bytes"):
        table.add_column(column, justify="right")
    for one in outcome.rounds:
        table.add_row(
            one.killed,
            f"{one.size / MIB:.0f}",
            f"{one.upload_killed_at:.0%}",
            f"{one.parts_missing_then}",
            f"{one.upload_seconds:g}",
            f"{one.download_killed_at:.0%}",
            f"{one.download_seconds:g}",
            "yes" if one.same_bytes else "NO",
        )
    console.print(table)
    memory = Table(title="Resident memory, MiB")
    for column in ("process", "before", "peak", "growth"):
        memory.add_column(column, justify="right")
    for name, seen in outcome.growth.items():
        memory.add_row(name, *(f"{seen[key]:.1f}" for key in ("before", "peak", "growth")))
    console.print(memory)


def main(
    size: Annotated[float, typer.Option(help="MiB of the file.")] = 1843.2,
    store: Annotated[str, typer.Option(help="folder, or s3: CHAT4ALL_S3_…, or scripts/stack's.")] = "folder",
    mode: Annotated[str, typer.Option(help="embedded, or servers with the engines of scripts/stack.")] = "embedded",
    parallel: Annotated[int, typer.Option(help="Parts at the same time.")] = 4,
    limit_rate: Annotated[float | None, typer.Option(help="MiB a second.")] = None,
    directory: Annotated[Path | None, typer.Option(help="Where there is room for three times the file.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where the figures go.")] = None,
) -> None:
    console = Console()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # end the children too
    environment = {"CHAT4ALL_MODE": mode} | object_store(store)
    with tempfile.TemporaryDirectory(prefix="chat4all-large-file-", dir=directory) as temporary:
        room = shutil.disk_usage(temporary).free / MIB
        if room < 3.2 * size:
            console.print(f"there are {room:.0f} MiB free in {temporary}; {3.2 * size:.0f} are needed (--directory)")
            raise typer.Exit(2)
        columns = (TextColumn("{task.description:<40}"), BarColumn(), DownloadColumn(True), TransferSpeedColumn())
        with Progress(*columns, console=console) as bar, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            platform = Platform(free_port(), Path(temporary) / "data", environment)
            plan = Plan(int(size * MIB), parallel, limit_rate, bar=bar)
            try:
                outcome = runner.run(run(platform, plan, Path(temporary)))
            except Broken as broken:
                console.print(f"broken: {broken}", style="bold red", markup=False)
                raise typer.Exit(1) from None
    show(outcome, console)
    if json_file:
        json_file.write_text(json.dumps(asdict(outcome), indent=2) + "\n")
    try:
        outcome.check()
    except Broken as broken:
        console.print(f"broken: {broken}", style="bold red", markup=False)
        raise typer.Exit(1) from None
    console.print("Every byte came back, no part that was there was lost, and no process of ours grew by 32 MiB.")


if __name__ == "__main__":
    typer.run(main)

"""
``scripts/bench``: how fast the platform is on this machine, beside what the machine gives (D1-D7, design.md 11).

Nothing here fails because something was slow; it fails when a message was lost.
"""

import asyncio
import json
import math
import platform as machine
import signal
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from shared.testing import baseline, bench_files, bench_live, measure
from shared.testing.checker import Report, check
from shared.testing.history import Operation, Send, now
from shared.testing.http1 import Client, request
from shared.testing.large_file import MIB, object_store
from shared.testing.listener import somebody_listens
from shared.testing.load import MessageIds, Room, Step, closed_loop, open_loop, percentile, whole_history
from shared.testing.platform import CLIENT_ID, CLIENT_SECRET, Platform, free_port
from shared.testing.tenant import Tenant

PRIVATE, GROUPS, GROUP = 5, 2, 10
"""Of seven conversations five are of 2 and two of 10 members, as in the peers' job (3.3 deliveries a message)."""

KEPT_UP = 0.05
"""A rate is held when its answers end within this part of its time after the schedule did."""


@dataclass(slots=True)
class Measured:
    """One rate; milliseconds, messages a second, MiB."""

    rate: float
    seconds: float
    held: bool
    sent: int
    accepted: int
    per_second: float
    accept_ms: dict[str, float]
    readable_ms: dict[str, float]
    pushed_ms: dict[str, float]
    generator_late_ms: dict[str, float]
    cpu_ms_per_message: float
    answers: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Bench:
    """One platform under test and what was learnt about it."""

    platform: Platform
    client: Client
    rooms: Sequence[Room] = ()
    unread: Sequence[Room] = ()
    """Conversations for load that is not verified."""
    history: list[Operation] = field(default_factory=list)
    ids: MessageIds = field(default_factory=lambda: MessageIds(time.monotonic_ns()))

    async def prepare(self, conversations: int) -> Tenant:
        tenant = Tenant(self.client, "bench", CLIENT_ID, CLIENT_SECRET)
        await tenant.login()
        users = [f"u{n}" for n in range(conversations * 2 + GROUP)]
        await tenant.add_users(users)
        rooms = []
        for n in range(conversations):
            private = n % (PRIVATE + GROUPS) < PRIVATE
            members = users[2 * n : 2 * n + (2 if private else GROUP)]
            rooms.append(Room(tenant, await tenant.create_conversation(members), tuple(members)))
        self.rooms = rooms
        self.history.extend(room.created for room in rooms)
        self.unread = [
            Room(room.tenant, await tenant.create_conversation((*room.members[1:], users[-1])), room.members[1:])
            for room in rooms
        ]
        return tenant

    async def metrics(self) -> measure.Samples:
        return measure.parse((await self.client.call("GET", "/metrics")).body)

    async def step(self, rate: float, seconds: float) -> Measured:
        process = self.platform.process
        assert process is not None, "not started"
        readable: list[float] = []
        readers: set[asyncio.Task[None]] = set()
        every = max(1, int(rate / 20))
        taken = 0

        def sample(room: Room, send: Send) -> None:
            nonlocal taken
            taken += 1
            if taken % every == 0:
                task = asyncio.get_running_loop().create_task(self._until_readable(room, send, readable))
                readers.add(task)
                task.add_done_callback(readers.discard)

        metrics, usage = await self.metrics(), process.usage()
        step = await open_loop(self.client, self.rooms, rate=rate, seconds=seconds, ids=self.ids, on_accepted=sample)
        await asyncio.gather(*readers)
        await self._until_handled()
        cpu = process.usage().cpu - usage.cpu
        after = await self.metrics()
        self.history.extend(step.sends)
        return _measured(step, sorted(readable), metrics, after, cpu)

    async def _until_readable(self, room: Room, send: Send, readable: list[float]) -> None:
        assert send.seq is not None
        reader = room.members[-1]
        while True:
            _, items = await room.tenant.page(room.conversation, reader, since=send.seq - 1, limit=1)
            at = now()
            if any(item.message_id == send.message_id for item in items):
                readable.append(at - send.answered)
                return
            if at - send.answered > 10:
                return

    async def _until_handled(self, patience: float = 30.0) -> None:
        """What was accepted is also pushed: its CPU belongs to its step."""
        deadline = now() + patience
        while now() < deadline:
            if not (await self.metrics()).unfinished().total():
                return
            await asyncio.sleep(0.1)

    async def capacity(self, seconds: float) -> float:
        """Messages a second when 64 clients wait for each answer."""
        place = 0

        def one() -> bytes:
            nonlocal place
            place += 1
            room = self.unread[place % len(self.unread)]
            return room.tenant.sending(
                message_id=self.ids(), conversation=room.conversation, sender=room.members[0], text="capacity"
            )

        good, elapsed = await closed_loop(self.client, one, workers=64, seconds=seconds)
        await self._until_handled()
        return good / elapsed

    async def verify(self) -> Report:
        """Read every conversation as its last member, and judge."""
        for room in self.rooms:
            self.history.extend(await whole_history(room))
        return check(self.history)


def _measured(
    step: Step, readable: list[float], before: measure.Samples, after: measure.Samples, cpu: float
) -> Measured:
    latencies = step.latencies()
    answers: dict[str, int] = {}
    for send in step.sends:
        answers[str(send.status)] = answers.get(str(send.status), 0) + 1
    earlier, ages = (samples.buckets("chat4all_event_age_seconds", function="push") for samples in (before, after))
    whole = step.seconds + step.drained
    accepted = len(latencies)
    return Measured(
        rate=step.rate,
        seconds=step.seconds,
        held=accepted == int(step.rate * step.seconds) and step.drained <= max(0.5, KEPT_UP * step.seconds),
        sent=len(step.sends) + step.unanswered,
        accepted=accepted,
        per_second=round(accepted / whole, 1),
        accept_ms=_milliseconds(latencies),
        readable_ms=_milliseconds(readable),
        pushed_ms={f"p{part}": _ms(measure.quantile(earlier, ages, part / 100)) for part in (50, 95, 99)},
        generator_late_ms=_milliseconds(step.lateness()),
        cpu_ms_per_message=round(1000 * cpu / accepted, 3) if accepted else math.nan,
        answers=answers,
    )


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 2)


def _milliseconds(ascending: Sequence[float]) -> dict[str, float]:
    return {f"p{part}": _ms(percentile(ascending, part / 100)) for part in (50, 95, 99)}


async def bare_echo(directory: Path, *, rate: float, seconds: float) -> dict[str, Any]:
    """The same generator against an ASGI application that does nothing."""
    import sys

    port = free_port()
    echo = Platform(
        port,
        directory / "echo",
        command=[sys.executable, "-m", "uvicorn", *baseline.ECHO, "--port", str(port), "--log-level", "warning"],
        ready="/",
    )
    await echo.start()
    client = Client(port)
    try:
        tenant = Tenant(client, "echo", "", "", token="x" * 400)
        rooms = [Room(tenant, f"{n:036d}", ("u1", "u2")) for n in range(70)]
        content = b'{"message_id":"00000000-0000-4000-8000-000000000000","text":"' + b"x" * 100 + b'"}'
        post = request("POST", "/v1/messages", content, host="echo", headers={"authorization": "x" * 400})
        good, elapsed = await closed_loop(client, lambda: post, workers=64, seconds=seconds)
        step = await open_loop(client, rooms, rate=rate, seconds=seconds, ids=MessageIds(1))
    finally:
        client.close()
        await echo.kill()
    return {"per_second": round(good / elapsed), "at_rate": rate, "accept_ms": _milliseconds(step.latencies())}


async def run(
    *, rates: Sequence[float], seconds: float, sustain: float, conversations: int, directory: Path, console: Console
) -> dict[str, Any]:
    """All of it; what comes back is what --json writes."""
    console.print("baselines …")
    reference = 500.0 if 500.0 in rates else rates[0]
    commit = await asyncio.to_thread(baseline.group_commit, directory / "baseline.db", seconds=2)
    echo = await bare_echo(directory, rate=reference, seconds=min(seconds, 4))

    platform = Platform(free_port(), directory / "data")
    first_start = await platform.start()
    await platform.stop()
    start = await platform.start()
    assert platform.process is not None
    client = Client(platform.port)
    try:
        await asyncio.sleep(1)
        idle = platform.process.usage().cpu
        await asyncio.sleep(5)
        idle = (platform.process.usage().cpu - idle) / 5
        bench = Bench(platform, client)
        async with somebody_listens(await bench.prepare(conversations)):
            await bench.step(rates[0], 2)
            steps = []
            for rate in rates:
                console.print(f"{rate:g}/s for {seconds:g} s …")
                steps.append(await bench.step(rate, seconds))
            capacity = await bench.capacity(min(seconds, 5))
            console.print(f"capacity {capacity:.0f}/s with 64 waiting clients")
            highest = max([capacity, *(one.rate for one in steps if one.held)])
            sustained = await _sustained(bench, highest, sustain, console)
        console.print("reading everything back …")
        usage = platform.process.usage()
        report = await bench.verify()
    finally:
        client.close()
        await platform.stop()
    best = next((one for one in sustained if one.held), None)
    at_reference = next(one for one in steps if one.rate == reference)
    return {
        "machine": {"cpus": _cpus(), "python": machine.python_version(), "system": machine.release()},
        "start_seconds": {"first": round(first_start, 2), "again": round(start, 2)},
        "idle_cpu_percent": round(100 * idle, 2),
        "peak_rss_mib": round(usage.peak),
        "steps": [asdict(one) for one in steps],
        "capacity_per_second": round(capacity),
        "sustained": [asdict(one) for one in sustained],
        "sustained_per_second": best.rate if best else None,
        "verified": {
            "accepted": report.accepted,
            "lost": report.lost,
            "doubled": report.doubled,
            "order_breaks": report.order_breaks,
            "gaps": report.gaps,
            "findings": [f"{one.invariant} {one.detail}" for one in report.findings[:20]],
            "broken": len(report.findings),
        },
        "baseline": {"echo": echo, "sqlite_group_commit": asdict(commit)},
        "ratios": {
            "sustained / bare echo": _ratio(best.rate if best else None, echo["per_second"]),
            "sustained / bare group commit rows": _ratio(best.rate if best else None, commit.rows_per_second),
            f"accept p50 / bare echo p50 at {reference:g}/s": _ratio(
                at_reference.accept_ms["p50"], echo["accept_ms"]["p50"]
            ),
        },
    }


async def _sustained(bench: Bench, highest: float, seconds: float, console: Console) -> list[Measured]:
    """Hold as much as can be held for the whole time: downwards from what was reached shortly."""
    tried = []
    for part in (1.0, 0.85, 0.7, 0.55):
        rate = max(1.0, part * highest // 50 * 50)
        console.print(f"{rate:g}/s for {seconds:g} s …")
        tried.append(await bench.step(rate, seconds))
        if tried[-1].held:
            break
    return tried


def _ratio(ours: float | None, bare: float) -> float | None:
    return round(ours / bare, 3) if ours and bare else None


def _cpus() -> int:
    import os

    return len(os.sched_getaffinity(0))


def show(result: dict[str, Any], console: Console) -> None:
    table = Table(title="Messages at a constant rate; milliseconds as p50 / p95 / p99")
    for column in ("rate/s", "s", "held", "msg/s", "accept", "readable", "pushed", "CPU ms/msg", "generator late"):
        table.add_column(column, justify="right")
    for one in [*result["steps"], *result["sustained"]]:
        table.add_row(
            f"{one['rate']:g}",
            f"{one['seconds']:g}",
            "yes" if one["held"] else f"no {one['answers']}",
            f"{one['per_second']:g}",
            *(
                " / ".join(f"{value:g}" for value in one[key].values())
                for key in ("accept_ms", "readable_ms", "pushed_ms")
            ),
            f"{one['cpu_ms_per_message']:g}",
            " / ".join(f"{value:g}" for value in one["generator_late_ms"].values()),
        )
    console.print(table)
    echo, commit = result["baseline"]["echo"], result["baseline"]["sqlite_group_commit"]
    facts = Table(show_header=False)
    for name, value in {
        "start to ready, first / again": "{first} / {again} s".format(**result["start_seconds"]),
        "idle CPU": f"{result['idle_cpu_percent']} %",
        "peak RSS": f"{result['peak_rss_mib']} MiB",
        "sustained": f"{result['sustained_per_second']} msg/s",
        "accepted / lost / doubled / order breaks / gaps": " / ".join(
            str(result["verified"][key]) for key in ("accepted", "lost", "doubled", "order_breaks", "gaps")
        ),
        "bare ASGI echo": f"{echo['per_second']} requests/s, p50/p95/p99 {list(echo['accept_ms'].values())} ms",
        "bare SQLite group commit": f"{commit['rows_per_second']:.0f} rows/s in groups of {commit['group']}",
        **{name: f"{ratio}" for name, ratio in result["ratios"].items()},
    }.items():
        facts.add_row(name, value)
    console.print(facts)
    for finding in result["verified"]["findings"]:
        console.print(finding, style="red", markup=False)


def main(
    seconds: Annotated[float, typer.Option(help="How long each rate is held.")] = 10,
    sustain: Annotated[float, typer.Option(help="How long the highest rate is held.")] = 60,
    rates: Annotated[str, typer.Option(help="Messages a second.")] = "100,500,1000,1700,3000",
    conversations: Annotated[int, typer.Option(help="Five of seven are of 2, two of 10 members.")] = 70,
    quick: Annotated[bool, typer.Option("--quick", help="A minute in all: shorter, fewer rates.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Open sockets instead: the job of the peers, a crowd.")] = False,
    sockets: Annotated[int, typer.Option(help="With --live: idle sockets; 0: no crowd.")] = 10_000,
    storm: Annotated[int, typer.Option(help="With --live: how many of them come back at once.")] = 5_000,
    hold: Annotated[float, typer.Option(help="With --live: seconds that the highest rate is held.")] = 20,
    files: Annotated[bool, typer.Option("--files", help="Files instead of messages.")] = False,
    size: Annotated[int, typer.Option(help="Of the file, in MiB.")] = 512,
    rounds: Annotated[int, typer.Option(help="How often it is uploaded each way.")] = 3,
    store: Annotated[str, typer.Option(help="folder, or s3: CHAT4ALL_S3_…, or scripts/stack's.")] = "folder",
    json_file: Annotated[Path | None, typer.Option("--json", help="Where the results go as JSON.")] = None,
) -> None:
    if quick:
        seconds, sustain, rates = 4, 10, "100,500,1700"
    console = Console(width=160)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # end the children too
    if files:
        result = _files(size, rounds, store, console)
        if json_file:
            json_file.write_text(json.dumps(result, indent=2) + "\n")
        return
    with (
        tempfile.TemporaryDirectory(prefix="chat4all-bench-") as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        if live:
            found = runner.run(
                bench_live.run(seconds=hold, directory=Path(directory), console=console, sockets=sockets, storm=storm)
            )
            bench_live.show(found, console)
            _keep(found, json_file)
            raise typer.Exit(1 if bench_live.broken(found) else 0)
        result = runner.run(
            run(
                rates=[float(rate) for rate in rates.split(",")],
                seconds=seconds,
                sustain=sustain,
                conversations=conversations,
                directory=Path(directory),
                console=console,
            )
        )
    show(result, console)
    _keep(result, json_file)
    raise typer.Exit(1 if result["verified"]["broken"] else 0)


def _keep(result: dict[str, Any], json_file: Path | None) -> None:
    if json_file:
        json_file.write_text(json.dumps(result, indent=2) + "\n")


def _files(size: int, rounds: int, store: str, console: Console) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="chat4all-bench-") as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        platform = Platform(free_port(), Path(directory) / "data", object_store(store))
        result = runner.run(
            bench_files.run(platform, size=size * MIB, rounds=rounds, directory=Path(directory), console=console)
        )
    bench_files.show(result, console)
    return result


if __name__ == "__main__":
    typer.run(main)

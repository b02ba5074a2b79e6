"""
``scripts/bench-servers``: the mode servers on this machine, on engines that ``scripts/stack up`` started (E4, E6).

Five jobs. Everything: one process with all functions, how soon it is ready and what a message costs it. Chat in the
app: what rates are held, and what a message costs each function and each engine. Messages to WhatsApp: the same for
those that take part. Scaling: route waits 50 ms in each event, four at a time in a process; processes join while
messages flow. Resharding: the topic gets twice its partitions under load (E7). Nothing here fails because something was
slow; it fails when a message was lost.
"""

import asyncio
import contextlib
import json
import platform as machine
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.table import Table

from shared.testing import measure, real_engines
from shared.testing.checker import check
from shared.testing.fleet import Fleet, Worker
from shared.testing.history import Send, now
from shared.testing.http1 import Answer, Client
from shared.testing.listener import somebody_listens
from shared.testing.load import MessageIds, Room, Step, open_loop, percentile, whole_history
from shared.testing.platform import CLIENT_ID, CLIENT_SECRET, UNLIMITED
from shared.testing.providers import Simulators
from shared.testing.tenant import Tenant

ACCEPTED = 202
KEPT_UP = 0.05
JOINING = 4.0
"""Seconds that a process takes to start, and partitions to move; rounded up."""

SLOW, AT_ONCE = 0.05, 4
"""Seconds of waiting in each event of route, and events at once in one process: 80 a second."""

STARTS = 3
"""Of one process with everything, on tables and groups that are there."""

PARTITIONS = 12
"""Of the topic, as the setting has it by default."""

JOB_OF = {"chat": ("push", "route"), "whatsapp": ("route", "deliver-whatsapp", "record-status")}


@dataclass(slots=True)
class Rate:
    """One rate of one job; milliseconds as p50, p95, p99; CPU in milliseconds a message, by process."""

    job: str
    rate: float
    held: bool
    accepted: int
    accept_ms: list[float]
    done_ms: list[float]
    cpu_ms: dict[str, float]


@dataclass(slots=True)
class Bench:
    fleet: Fleet
    client: Client
    tenant: Tenant
    ids: MessageIds
    history: list[Any]
    console: Console
    sent: dict[str, int] = field(default_factory=dict)

    async def rooms(self, count: int, channels: tuple[str, ...] = (), *, linked: bool = False) -> list[Room]:
        made = []
        for n in range(count):
            members = (f"a{n}", f"b{n}")
            await self.tenant.add_users(members)
            if linked:
                body = {"channel": "whatsapp", "identifier": f"+5511987{n:06d}"}
                await self.tenant.must("POST", f"/v1/users/{members[1]}/channels", body)
            made.append(Room(self.tenant, await self.tenant.create_conversation(members), members, channels))
        self.history.extend(room.created for room in made)
        return made

    async def climb(
        self, job: str, rooms: Sequence[Room], rates: Sequence[float], seconds: float
    ) -> list[dict[str, Any]]:
        """Each rate in turn, to the first that is not held; then everything is read and judged."""
        held: list[Rate] = []
        for rate in rates:
            self.console.print(f"{job}: {rate:g}/s for {seconds:g} s …")
            held.append(await self.hold(job, rooms, rate=rate, seconds=seconds))
            if not held[-1].held:
                break
        await self.verify(rooms)
        return [asdict(one) for one in held]

    async def hold(self, job: str, rooms: Sequence[Room], *, rate: float, seconds: float) -> Rate:
        last = next(worker for worker in self.fleet.takers() if worker.function in (LAST[job], "everything"))
        before, used = await last.metrics(), self.fleet.cpu()
        step = await open_loop(self.client, rooms, rate=rate, seconds=seconds, ids=self.ids)
        self.history.extend(step.sends)
        await self.until_at_rest()
        after, spent = await last.metrics(), self.fleet.cpu()
        earlier, ages = (one.buckets("chat4all_event_age_seconds", function=LAST[job]) for one in (before, after))
        accepted = len(step.accepted)
        return Rate(
            job=job,
            rate=rate,
            held=_held(step, accepted),
            accepted=accepted,
            accept_ms=[round(1000 * percentile(step.latencies(), part), 1) for part in (0.5, 0.95, 0.99)],
            done_ms=[round(1000 * measure.quantile(earlier, ages, part), 1) for part in (0.5, 0.95, 0.99)],
            cpu_ms={
                name: round(1000 * (cpu - used.get(name, 0.0)) / max(accepted, 1), 2) for name, cpu in spent.items()
            },
        )

    async def pile_up(self, rooms: Sequence[Room], count: int) -> None:
        """Send so many messages, as fast as they are answered."""
        await asyncio.gather(*(self._send(room, count // len(rooms)) for room in rooms))

    async def flow(self, rooms: Sequence[Room], rate: float, ended: asyncio.Event) -> None:
        """About ``rate`` messages a second until ``ended``; each is waited for."""

        async def trickle(room: Room) -> None:
            while not ended.is_set():
                await self._send(room, 1)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), len(rooms) / rate)

        await asyncio.gather(*(trickle(room) for room in rooms))

    async def _send(self, room: Room, count: int) -> None:
        for _ in range(count):
            n = self.sent[room.conversation] = self.sent.get(room.conversation, 0) + 1
            message_id, text = self.ids(), f"{room.tenant.name} {n}"
            post = room.tenant.sending(
                message_id=message_id,
                conversation=room.conversation,
                sender=room.members[0],
                text=text,
                channels=room.channels,
            )
            sent = now()
            answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self.client.send(post, answered.set_result)
            answer = await answered
            self.history.append(
                Send(
                    tenant=room.tenant.name,
                    conversation=room.conversation,
                    sender=room.members[0],
                    n=n,
                    message_id=message_id,
                    text=text,
                    intended=sent,
                    sent=sent,
                    answered=now(),
                    status=answer.status,
                    seq=answer.json()["seq"] if answer.status == ACCEPTED else None,
                )
            )

    async def until_at_rest(self, patience: float = 120.0) -> None:
        deadline = now() + patience
        quiet = 0
        while quiet < 3 and now() < deadline:
            pages = [await worker.metrics() for worker in self.fleet.takers()]
            busy = any(page.unfinished().total() for page in pages)
            quiet = 0 if busy else quiet + 1
            await asyncio.sleep(0.2)

    async def verify(self, rooms: Sequence[Room]) -> None:
        for room in rooms:
            self.history.extend(await whole_history(room))


LAST = {"everything": "push", "chat": "push", "whatsapp": "deliver-whatsapp"}
"""The function whose events' age says when a message was done: pushed; wanted at the provider."""


def _held(step: Step, accepted: int) -> bool:
    return accepted == int(step.rate * step.seconds) and step.drained <= max(0.5, KEPT_UP * step.seconds)


@contextlib.asynccontextmanager
async def _bench(directory: Path, functions: Sequence[str], console: Console, *, triggers: str = "none") -> Any:
    environment = {**UNLIMITED, **real_engines.servers_environment()}
    fleet = Fleet(directory, environment, triggers)
    try:
        took = await fleet.start(functions)
        console.print(f"HTTP answered after {took:.1f} s; {len(functions)} functions as processes of their own")
        client = Client(fleet.platform.port)
        tenant = Tenant(client, "bench", CLIENT_ID, CLIENT_SECRET)
        await tenant.login()
        async with somebody_listens(tenant):
            yield Bench(fleet, client, tenant, MessageIds(1), [], console)
        client.close()
    finally:
        await fleet.stop()
        await real_engines.forget(environment)


async def everything(directory: Path, rates: Sequence[float], seconds: float, console: Console) -> dict[str, Any]:
    async with _bench(directory / "everything", (), console, triggers="all") as bench:
        starts = []
        for _ in range(STARTS):
            await bench.fleet.platform.stop()
            took = await bench.fleet.platform.start(patience=90.0)
            starts.append({"seconds": round(took, 2), "cpu": round(bench.fleet.platform.process.usage().cpu, 2)})
            console.print(f"everything: started again, {starts[-1]}", markup=False)
        rooms = await bench.rooms(70)
        await bench.hold("everything", rooms, rate=rates[0], seconds=3)
        held = await bench.climb("everything", rooms, rates, seconds)
        return {"starts": starts, "rates": held, "verified": _judged(bench.history)}


async def chat(directory: Path, rates: Sequence[float], seconds: float, console: Console) -> dict[str, Any]:
    async with _bench(directory / "chat", JOB_OF["chat"], console) as bench:
        rooms = await bench.rooms(70)
        await bench.hold("chat", rooms, rate=rates[0], seconds=3)
        held = await bench.climb("chat", rooms, rates, seconds)
        return {"rates": held, "verified": _judged(bench.history)}


async def whatsapp(directory: Path, rates: Sequence[float], seconds: float, console: Console) -> dict[str, Any]:
    async with _bench(directory / "whatsapp", JOB_OF["whatsapp"], console) as bench:
        simulators = Simulators("bench", f"http://127.0.0.1:{bench.fleet.platform.port}", directory / "simulators.log")
        accounts = await simulators.start()
        try:
            account = accounts["whatsapp"]
            body = {"settings": account["settings"], "secrets": account["secrets"], "enabled": True}
            await bench.tenant.must("PUT", f"/v1/channels/whatsapp/accounts/{account['account_id']}", body)
            rooms = await bench.rooms(40, ("whatsapp",), linked=True)
            held = await bench.climb("whatsapp", rooms, rates, seconds)
        finally:
            await simulators.kill()
        return {"rates": held, "verified": _judged(bench.history)}


async def scaling(directory: Path, seconds: float, console: Console) -> dict[str, Any]:
    """Route with 1, 2 and 4 processes. It has a backlog, so it is the bottleneck; messages flow all the time."""
    async with _bench(directory / "scaling", (), console) as bench:
        rooms = await bench.rooms(120, ("whatsapp",))  # nobody is linked: route records why, and nothing leaves
        fleet: Fleet = bench.fleet
        alone = AT_ONCE / SLOW
        backlog = int(alone * (seconds + JOINING) * (1 + 2 + 4))
        console.print(f"scaling: {backlog} messages before route begins …")
        await fleet.add("route", slow=SLOW, concurrency=AT_ONCE)
        await fleet.workers.pop().process.stop()  # its group has begun; now there is nobody
        await bench.pile_up(rooms, backlog)
        rate, flowing = alone / 4, asyncio.Event()
        load = asyncio.create_task(bench.flow(rooms, rate, flowing))
        found: dict[str, float] = {}
        for processes in (1, 2, 4):
            for _ in range(processes - len(fleet.workers)):
                await fleet.add("route", slow=SLOW, concurrency=AT_ONCE)
            await asyncio.sleep(JOINING / 2)  # partitions move
            handled, began = await _handled(fleet.workers), now()
            await asyncio.sleep(seconds)
            per_second = (await _handled(fleet.workers) - handled) / (now() - began)
            found[str(processes)] = round(per_second, 1)
            console.print(f"scaling: {processes} × route: {per_second:.1f} events/s")
        flowing.set()
        await load
        await bench.until_at_rest()
        await bench.verify(rooms)
        return {
            "events_per_second": found,
            "flowing_per_second": rate,
            "factor": {"2": round(found["2"] / found["1"], 2), "4": round(found["4"] / found["1"], 2)},
            "verified": _judged(bench.history),
        }


async def resharding(directory: Path, rate: float, seconds: float, console: Console) -> dict[str, Any]:
    """The topic gets twice its partitions, and push a second process, while messages flow (E7)."""
    async with _bench(directory / "resharding", ("push", "route"), console) as bench:
        rooms = await bench.rooms(70)
        fleet: Fleet = bench.fleet
        found = {"before": await bench.hold("chat", rooms, rate=rate, seconds=seconds)}
        topic = fleet.environment["CHAT4ALL_KAFKA_TOPIC"]
        changing = asyncio.create_task(_reshard(fleet, topic, after=seconds / 3))
        found["while it changes"] = await bench.hold("chat", rooms, rate=rate, seconds=seconds)
        await changing
        found["after"] = await bench.hold("chat", rooms, rate=rate, seconds=seconds)
        await bench.verify(rooms)
        lags = [page.total("chat4all_events_handled_total", function="push") for page in await _pages(fleet.workers)]
        console.print(f"resharding: events handled by each process {lags}")
        return {
            "partitions": [PARTITIONS, 2 * PARTITIONS],
            "rates": [{**asdict(one), "job": f"chat, {when}"} for when, one in found.items()],
            "verified": _judged(bench.history),
        }


async def _reshard(fleet: Fleet, topic: str, *, after: float) -> None:
    from shared.adapters.kafka import topics

    await asyncio.sleep(after)
    replicas = int(fleet.environment.get("CHAT4ALL_KAFKA_REPLICATION_FACTOR", "1"))
    wanted = topics.Topic(topic, partitions=2 * PARTITIONS, replicas=replicas)
    usable = await topics.ensure(real_engines.kafka_cluster(), wanted)
    if usable != 2 * PARTITIONS:
        raise RuntimeError(f"the topic has {usable} partitions")
    await fleet.add("push")


async def _pages(workers: Sequence[Worker]) -> list[measure.Samples]:
    return await asyncio.gather(*(worker.metrics() for worker in workers))


async def _handled(workers: Sequence[Worker]) -> float:
    pages = await _pages(workers)
    return sum(page.total("chat4all_events_handled_total", function="route") for page in pages)


def _judged(history: list[Any]) -> dict[str, Any]:
    report = check(history)
    return {
        "accepted": report.accepted,
        "lost": report.lost,
        "doubled": report.doubled,
        "order_breaks": report.order_breaks,
        "gaps": report.gaps,
        "findings": [f"{one.invariant} {one.detail}" for one in report.findings[:3]],
    }


def show(result: Mapping[str, Any], console: Console) -> None:
    table = Table(title="Mode servers; milliseconds as p50 / p95 / p99, CPU as ms a message")
    for column in ("job", "rate/s", "held", "accept", "event done", "CPU of ours", "CPU of the engines"):
        table.add_column(column, justify="right", overflow="fold")
    for job in ("everything", "chat", "whatsapp", "resharding"):
        for one in result.get(job, {}).get("rates", ()):
            cpu: dict[str, float] = one["cpu_ms"]
            engines = {name: value for name, value in cpu.items() if name in ENGINES}
            ours = {name: value for name, value in cpu.items() if name not in ENGINES}
            table.add_row(
                one["job"],
                f"{one['rate']:g}",
                "yes" if one["held"] else f"no ({one['accepted']})",
                " / ".join(f"{value:g}" for value in one["accept_ms"]),
                " / ".join(f"{value:g}" for value in one["done_ms"]),
                ", ".join(f"{name} {value:g}" for name, value in ours.items()),
                ", ".join(f"{name} {value:g}" for name, value in engines.items()),
            )
    console.print(table)
    if whole := result.get("everything"):
        console.print(f"one process with everything, until it was ready: {whole['starts']}", markup=False)
    if scaled := result.get("scaling"):
        console.print(f"route, {SLOW * 1000:g} ms of waiting, {AT_ONCE} at once in a process: {scaled}", markup=False)
    for job, one in result.items():
        if isinstance(one, dict) and "verified" in one:
            console.print(f"{job}: {one['verified']}", markup=False)


ENGINES = frozenset({"kafka", "cassandra", "redis", "nats", "minio"})


def main(
    rates: Annotated[str, typer.Option(help="Messages a second, in the app.")] = "50,100,200,300,400,500,600",
    whatsapp_rates: Annotated[str, typer.Option(help="Messages a second, to WhatsApp.")] = "20,50,100",
    seconds: Annotated[float, typer.Option(help="How long each rate is held.")] = 10,
    only: Annotated[str, typer.Option(help="Jobs, comma-separated.")] = "everything,chat,whatsapp,scaling,resharding",
    json_file: Annotated[Path | None, typer.Option("--json", help="Where the results go as JSON.")] = None,
) -> None:
    console = Console(width=200)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # end the children too
    result: dict[str, Any] = {"machine": {"python": machine.python_version(), "system": machine.release()}}
    with (
        tempfile.TemporaryDirectory(prefix="chat4all-bench-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        directory = Path(folder)
        for job in only.split(","):
            (directory / job).mkdir()
            match job:
                case "everything":
                    result[job] = runner.run(everything(directory, _numbers(rates), seconds, console))
                case "chat":
                    result[job] = runner.run(chat(directory, _numbers(rates), seconds, console))
                case "whatsapp":
                    result[job] = runner.run(whatsapp(directory, _numbers(whatsapp_rates), seconds, console))
                case "scaling":
                    result[job] = runner.run(scaling(directory, seconds, console))
                case "resharding":
                    result[job] = runner.run(resharding(directory, 100, seconds, console))
                case _:
                    raise typer.BadParameter(f"there is no job {job!r}")
    show(result, console)
    if json_file:
        json_file.write_text(json.dumps(result, indent=2) + "\n")
    broken = any(one["verified"]["findings"] for one in result.values() if "verified" in one)
    raise typer.Exit(1 if broken else 0)


def _numbers(listed: str) -> list[float]:
    return [float(one) for one in listed.split(",")]


if __name__ == "__main__":
    typer.run(main)

"""
``scripts/bench --live``: messages to open sockets, beside a bare server in the same run (A12, D7; reliability.md 6.4).

The job: 50 conversations of 2 and 20 groups of 10; the first member sends 100 bytes by HTTP, the 230 others listen
on sockets and acknowledge. Nothing fails because it was slow; it fails when a message was lost, doubled or out of
order.
"""

import asyncio
import gc
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from shared.testing import bare, stages
from shared.testing.audience import Audience, Place
from shared.testing.http1 import Client
from shared.testing.load import MessageIds, Room, open_loop, percentile
from shared.testing.platform import CLIENT_ID, CLIENT_SECRET, Platform, Process, free_port
from shared.testing.sockets import Socket
from shared.testing.tenant import Tenant

PRIVATE, GROUPS, GROUP = 50, 20, 10
TEXT_BYTES = 100
LADDER = (600.0, 1000, 1400, 1700, 2000, 2400, 2800, 3300, 3900, 4600, 5400, 6300, 7400)
ACKNOWLEDGE_EVERY = 1.0
"""Seconds: clients acknowledge the newest number now and then, not each message."""
KEPT_UP = 0.05
"""A rate is held when its last frame comes within this part of its time, or half a second, after the schedule's end."""


@dataclass(slots=True)
class LiveStep:
    """One rate; milliseconds, messages a second, CPU milliseconds a message."""

    rate: float
    seconds: float
    held: bool
    accepted: int
    delivered: int
    accept_ms: dict[str, float]
    frame_ms: dict[str, float]
    """From the 202 until the frame is at the receiver; 0 when the frame was first."""
    whole_ms: dict[str, float]
    """From the moment the schedule wanted it sent."""
    generator_late_ms: dict[str, float]
    behind: float
    """Seconds from the schedule's end to the last frame."""
    cpu_ms_per_message: float
    main_ms: float
    """Of the main thread, which is what bounds one process."""
    resident_mib: float
    lacking: int
    faults: list[str] = field(default_factory=list)
    stages: Mapping[str, float] = field(default_factory=dict)
    """CPU milliseconds a message, where samples were taken."""


@dataclass(slots=True)
class LiveJob:
    """A server under the job: its rooms, who listens, and its process."""

    client: Client
    process: Process
    rooms: Sequence[Room]
    audience: Audience
    directory: Path
    ids: MessageIds = field(default_factory=lambda: MessageIds(time.monotonic_ns()))
    heads: dict[str, int] = field(default_factory=dict)

    @property
    def receivers(self) -> dict[str, Sequence[str]]:
        return {room.conversation: room.members[1:] for room in self.rooms}

    async def step(self, rate: float, seconds: float, *, profiled: bool = False) -> LiveStep:
        audience = self.audience
        audience.arrivals.clear()
        faulty = audience.faulty
        gc.collect()
        gc.disable()  # its pauses would be the platform's
        try:
            before = self.process.usage()
            async with asyncio.TaskGroup() as tasks:
                sampling = (
                    tasks.create_task(stages.sample(self.process.pid, seconds, self.directory / f"{rate:g}.raw"))
                    if profiled
                    else None
                )
                step = await open_loop(
                    self.client, self.rooms, rate=rate, seconds=seconds, ids=self.ids, length=TEXT_BYTES
                )
            for send in step.accepted:
                assert send.seq is not None
                self.heads[send.conversation] = max(send.seq, self.heads.get(send.conversation, 0))
            lacking = await self._until_heard()
            after = self.process.usage()
        finally:
            gc.enable()
        accepted = {send.message_id: send for send in step.accepted}
        per_message = 1000 / max(1, len(accepted))
        main = per_message * (after.main - before.main)
        costs = {stage: round(part * main, 4) for stage, part in (sampling.result() if sampling else {}).items()}
        if costs:
            costs[stages.THREADS] = round(per_message * (after.cpu - before.cpu) - main, 4)
        ended = max((send.intended for send in step.sends), default=0.0)
        frames, wholes = [], []
        for arrival in audience.arrivals:
            sent = accepted.get(arrival.message_id)
            if sent is None or sent.seq != arrival.seq or sent.conversation != arrival.conversation:
                audience.fault(f"{arrival.user} got {arrival.conversation} {arrival.seq}, which nobody sent as that")
                continue
            frames.append(max(0.0, arrival.at - sent.answered))
            wholes.append(arrival.at - sent.intended)
        behind = max((arrival.at for arrival in audience.arrivals), default=ended) - ended
        good = len(accepted) == int(rate * seconds) and not lacking and audience.faulty == faulty
        return LiveStep(
            rate=rate,
            seconds=seconds,
            held=good and behind <= max(0.5, KEPT_UP * seconds),
            accepted=len(accepted),
            delivered=len(frames),
            accept_ms=milliseconds(step.latencies()),
            frame_ms=milliseconds(sorted(frames)),
            whole_ms=milliseconds(sorted(wholes)),
            generator_late_ms=milliseconds(step.lateness()),
            behind=round(behind, 2),
            cpu_ms_per_message=round(per_message * (after.cpu - before.cpu), 3),
            main_ms=round(main, 3),
            resident_mib=round(after.resident),
            lacking=lacking,
            faults=audience.faults[-5:] if audience.faulty > faulty else [],
            stages=costs,
        )

    async def _until_heard(self, patience: float = 20.0) -> int:
        """How much is still lacking when all has come, or nothing has for so long."""
        deadline, count = time.monotonic() + patience, -1
        while True:
            lacking = self.audience.lacking(self.heads, self.receivers)
            if not lacking:
                return 0
            if len(self.audience.arrivals) != count:
                deadline, count = time.monotonic() + patience, len(self.audience.arrivals)
            if time.monotonic() > deadline:
                return lacking
            await asyncio.sleep(0.02)

    async def highest(self, seconds: float, console: Console) -> list[LiveStep]:
        """Up the ladder by short steps, then the highest held for the whole time, downwards until one is."""
        reached, rate = 0.0, 0.0
        for rate in LADDER:
            one = await self.step(rate, 4)
            if not one.held:  # once is other work on the machine
                one = await self.step(rate, 4)
            console.print(f"  {rate:g}/s for 4 s: {'held' if one.held else f'not held, {one.behind} s behind'}")
            if not one.held:
                break
            reached = rate
        tried: list[LiveStep] = []
        rate = reached * 1.1
        while rate > reached / 3:
            tried.append(await self.step(round(rate), seconds))
            console.print(f"  {rate:.0f}/s for {seconds:g} s: {'held' if tried[-1].held else 'not held'}")
            if tried[-1].held:
                break
            rate *= 0.9
        return tried


def milliseconds(ascending: Sequence[float]) -> dict[str, float]:
    return {f"p{part}": round(1000 * percentile(ascending, part / 100), 2) for part in (50, 95, 99)}


def _three(quantiles: Mapping[str, float]) -> str:
    return " / ".join(f"{value:g}" for value in quantiles.values())


def sizes() -> list[int]:
    """How many are in each conversation, mixed, so that turns are fair at any rate."""
    return [GROUP if n % 7 in (2, 5) else 2 for n in range(PRIVATE + GROUPS)]


async def bare_job(stack: AsyncExitStack, directory: Path) -> LiveJob:
    server, client = await _uvicorn(stack, directory / "bare", *bare.SERVER)
    tenant = Tenant(client, "bench", "", "", token="x" * 400)
    rooms, places = [], []
    for n, size in enumerate(sizes()):
        members = tuple(f"u{n}-{m}" for m in range(size))
        await client.call("POST", "/v1/conversations", {"conversation_id": f"{n:036d}", "members": members[1:]})
        rooms.append(Room(tenant, f"{n:036d}", members))
        places += [Place.by_name(user) for user in members[1:]]
    audience = await _listening(stack, client.port, places)
    return LiveJob(client, server, rooms, audience, directory)


async def our_job(stack: AsyncExitStack, directory: Path) -> LiveJob:
    client, process, tenant = await platform(stack, directory / "ours")
    rooms: list[Room] = []
    users: list[str] = []
    for n, size in enumerate(sizes()):
        members = tuple(f"u{n}-{m}" for m in range(size))
        await tenant.add_users(members)
        rooms.append(Room(tenant, await tenant.create_conversation(members), members))
        users += members[1:]
    audience = await _listening(stack, client.port, await places_of(tenant, users))
    audience.acknowledge_every(ACKNOWLEDGE_EVERY)
    return LiveJob(client, process, rooms, audience, directory)


async def platform(stack: AsyncExitStack, data: Path) -> tuple[Client, Process, Tenant]:
    """A fresh one, and a tenant that is logged in."""
    ours = Platform(free_port(), data)
    stack.push_async_callback(ours.stop)
    await ours.start()
    client = Client(ours.port)
    stack.callback(client.close)
    tenant = Tenant(client, "bench", CLIENT_ID, CLIENT_SECRET)
    await tenant.login()
    assert ours.process is not None
    return client, ours.process, tenant


async def places_of(tenant: Tenant, users: Sequence[str]) -> list[Place]:
    """A token of one's own for everybody."""
    places: list[Place] = []
    for at in range(0, len(users), 16):
        some = users[at : at + 16]
        made = await asyncio.gather(*(tenant.must("POST", f"/v1/users/{user}/tokens") for user in some))
        places += [Place.by_token(user, one["access_token"]) for user, one in zip(some, made, strict=True)]
    return places


async def _uvicorn(stack: AsyncExitStack, directory: Path, *arguments: str) -> tuple[Process, Client]:
    port = free_port()
    server = Platform(
        port,
        directory,
        environment={"BARE_FILE": str(directory / "messages.jsonl")},
        command=[sys.executable, "-m", "uvicorn", *arguments, "--port", str(port), "--log-level", "warning"],
        ready="/",
    )
    stack.push_async_callback(server.kill)
    await server.start()
    client = Client(port)
    stack.callback(client.close)
    assert server.process is not None
    return server.process, client


async def _listening(stack: AsyncExitStack, port: int, places: Sequence[Place]) -> Audience:
    audience = Audience(port)
    await audience.join(places)
    stack.push_async_callback(audience.leave)
    return audience


async def socket_echo(stack: AsyncExitStack, directory: Path, *, seconds: float, sockets: int = 64) -> dict[str, Any]:
    """Round trips of 100 bytes a second, each socket waiting for its answer."""
    _, client = await _uvicorn(stack, directory / "echo", *bare.SOCKET_ECHO)
    text, waits = b"x" * TEXT_BYTES, []
    until = time.monotonic() + seconds
    running, finished = sockets, asyncio.Event()
    open_sockets: list[Socket] = []
    sent = [0.0] * sockets

    def heard_by(place: int) -> Any:
        def heard(_: bytes) -> None:
            nonlocal running
            now = time.monotonic()
            waits.append(now - sent[place])
            if now < until:
                sent[place] = now
                open_sockets[place].send(text)
                return
            running -= 1
            if not running:
                finished.set()

        return heard

    open_sockets += [await Socket.open(client.port, "/ws", heard=heard_by(place)) for place in range(sockets)]
    began = time.monotonic()
    for place, socket in enumerate(open_sockets):
        sent[place] = time.monotonic()
        socket.send(text)
    await finished.wait()
    elapsed = time.monotonic() - began
    for socket in open_sockets:
        socket.abort()
    return {"per_second": round(len(waits) / elapsed), "round_trip_ms": milliseconds(sorted(waits))}


async def _until_kept(rooms: Sequence[Room], users: Sequence[str], patience: float = 60.0) -> None:
    """What these users have acknowledged is known to the platform: nobody lets go of a socket a moment before."""
    deadline = time.monotonic() + patience
    for user in users:
        while time.monotonic() < deadline:
            listed = await rooms[0].tenant.must("GET", "/v1/conversations", act_as=user)
            if not any(one["unread_count"] for one in listed["items"]):
                break
            await asyncio.sleep(0.05)


@dataclass(slots=True)
class Crowd:
    """Many sockets that are there and say nothing, and their coming back all at once."""

    sockets: int
    connected_per_second: float
    kib_per_socket: float
    idle_cpu_percent: float
    bare_kib_per_socket: float
    storm: dict[str, Any]


async def crowd(directory: Path, console: Console, *, sockets: int, storm: int, quiet: float = 26.0) -> Crowd:
    """``quiet`` seconds are more than one heartbeat of the gateway."""
    async with AsyncExitStack() as stack:
        process, client = await _uvicorn(stack, directory / "bare-crowd", *bare.SERVER)
        empty = process.usage().resident
        await _listening(stack, client.port, [Place.by_name(f"u{n}") for n in range(sockets)])
        bare_kib = 1024 * (process.usage().resident - empty) / sockets
    async with AsyncExitStack() as stack:
        client, process, tenant = await platform(stack, directory / "crowd")
        users = [f"u{n}" for n in range(sockets)]
        console.print(f"  {sockets} users, their tokens and groups …")
        await tenant.add_users(["sender", *users])
        places = await places_of(tenant, users)
        rooms = []
        for at in range(0, sockets, GROUP):
            members = ("sender", *users[at : at + GROUP])
            rooms.append(Room(tenant, await tenant.create_conversation(members), members))
        audience = Audience(client.port)
        await asyncio.sleep(2)
        empty = process.usage().resident
        began = time.monotonic()
        await audience.join(places, at_once=128)
        stack.push_async_callback(audience.leave)
        joined = time.monotonic() - began
        await asyncio.sleep(2)
        kib = 1024 * (process.usage().resident - empty) / sockets
        console.print(f"  {sockets} sockets after {joined:.1f} s, {kib:.1f} KiB each")
        cpu = process.usage().cpu
        await asyncio.sleep(quiet)
        idle = 100 * (process.usage().cpu - cpu) / quiet
        coming_back = await _storm(client, audience, rooms[: storm // GROUP], places[:storm])
    return Crowd(sockets, round(sockets / joined), round(kib, 1), round(idle, 1), round(bare_kib, 1), coming_back)


async def _storm(client: Client, audience: Audience, rooms: Sequence[Room], places: Sequence[Place]) -> dict[str, Any]:
    """
    Everybody hears two messages and acknowledges them; all connections break; three more are sent to each
    conversation; all come back at once.
    """
    ids, receivers = MessageIds(1), {room.conversation: room.members[1:] for room in rooms}

    async def send(count: int) -> None:
        step = await open_loop(client, rooms, rate=500, seconds=count * len(rooms) / 500, ids=ids)
        assert len(step.accepted) == count * len(rooms), "the platform did not take the messages of the storm"
        heads.update({one.conversation: one.seq for one in step.accepted if one.seq is not None})

    async def until_heard(patience: float = 30.0) -> int:
        deadline = time.monotonic() + patience
        while True:
            lacking = audience.lacking(heads, receivers)
            if not lacking or time.monotonic() > deadline:
                return lacking
            await asyncio.sleep(0.02)

    heads: dict[str, int] = {}
    await send(2)
    await until_heard()
    for receiver in audience.receivers.values():
        receiver.acknowledge()
    await _until_kept(rooms, [place.user for place in places[:: max(1, len(places) // 100)]])
    audience.cut()
    await asyncio.sleep(1)
    await send(3)
    audience.arrivals.clear()
    faulty = audience.faulty
    began = time.monotonic()
    waits = await audience.join(places, at_once=len(places), patience=120)
    whole = time.monotonic() - began
    missed = await until_heard()
    await send(1)
    after = await until_heard()
    return {
        "sockets": len(places),
        "ready_ms": milliseconds(waits),
        "slowest_ms": round(1000 * waits[-1]),
        "all_ready_seconds": round(whole, 2),
        "missed": missed,
        "missed_afterwards": after,
        "faults": audience.faulty - faulty,
        "findings": audience.faults[-10:] if audience.faulty > faulty else [],
    }


async def run(
    *, seconds: float, directory: Path, console: Console, sockets: int, storm: int, highest: bool = True
) -> dict[str, Any]:
    """All of it; what comes back is what --json writes."""
    async with AsyncExitStack() as stack:
        console.print("a bare WebSocket echo …")
        echo = await socket_echo(stack, directory, seconds=3)
    jobs: dict[str, dict[str, Any]] = {}
    for name, begin in (("bare", bare_job), ("chat4all", our_job)):
        console.print(f"{name} …")
        async with AsyncExitStack() as stack:
            job = await begin(stack, directory)
            await job.step(200, 2)
            steady = [await job.step(rate, min(seconds, 10)) for rate in (100, 500)]
            profiled = await job.step(1000, min(seconds, 10), profiled=True)
            tried = await job.highest(seconds, console) if highest else []
            jobs[name] = {
                "steps": [asdict(one) for one in (*steady, profiled, *tried)],
                "highest": next((one.rate for one in tried if one.held), None),
                "stages": dict(profiled.stages),
                "peak_rss_mib": round(job.process.usage().peak),
                "other_frames": dict(job.audience.frames),
                "faults": job.audience.faulty,
                "findings": job.audience.faults,
                "lacking": sum(one.lacking for one in (*steady, profiled, *tried)),
            }
    result: dict[str, Any] = {"echo": echo, **jobs}
    ours, theirs = jobs["chat4all"]["highest"], jobs["bare"]["highest"]
    result["ratio"] = round(ours / theirs, 3) if ours and theirs else None
    if sockets:
        console.print("a crowd …")
        result["crowd"] = asdict(await crowd(directory, console, sockets=sockets, storm=storm))
    return result


def broken(result: dict[str, Any]) -> bool:
    """A message was lost, doubled or out of order."""
    coming_back = result.get("crowd", {}).get("storm", {})
    wrong = [result["chat4all"]["faults"], result["chat4all"]["lacking"]]
    wrong += [coming_back.get(name, 0) for name in ("missed", "missed_afterwards", "faults")]
    return any(wrong)


def show(result: dict[str, Any], console: Console) -> None:
    table = Table(title="The live job; milliseconds as p50 / p95 / p99")
    for column in ("", "rate/s", "s", "held", "accept", "202 to frame", "whole way", "CPU ms/msg", "RSS", "late"):
        table.add_column(column, justify="right")
    for name in ("bare", "chat4all"):
        for one in result[name]["steps"]:
            table.add_row(
                name,
                f"{one['rate']:g}",
                f"{one['seconds']:g}",
                "yes" if one["held"] else f"no: {one['behind']} s",
                *(_three(one[key]) for key in ("accept_ms", "frame_ms", "whole_ms")),
                f"{one['cpu_ms_per_message']:g}",
                f"{one['resident_mib']}",
                _three(one["generator_late_ms"]),
            )
    console.print(table)
    costs = Table(title="CPU ms a message, by stage, at 1000/s")
    costs.add_column("stage")
    costs.add_column("ms", justify="right")
    for stage, cost in result["chat4all"]["stages"].items():
        costs.add_row(stage, f"{cost:.3f}")
    console.print(costs)
    facts = {
        "bare WebSocket echo": f"{result['echo']['per_second']}/s, {_three(result['echo']['round_trip_ms'])} ms",
        "highest held": f"{result['chat4all']['highest']}/s; bare {result['bare']['highest']}/s",
        "ratio": result["ratio"],
        "lost, doubled or out of order": f"{result['chat4all']['faults']}; lacking {result['chat4all']['lacking']}",
        "peak RSS": f"{result['chat4all']['peak_rss_mib']} MiB; bare {result['bare']['peak_rss_mib']} MiB",
    }
    if "crowd" in result:
        many = result["crowd"]
        facts |= {
            "idle sockets": f"{many['sockets']}, {many['kib_per_socket']} KiB each "
            f"(bare {many['bare_kib_per_socket']}), {many['idle_cpu_percent']} % CPU",
            "connected": f"{many['connected_per_second']:g} sockets a second",
            "reconnect storm": f"{many['storm']}",
        }
    for name, value in facts.items():
        console.print(f"{name}: {value}", markup=False)
    for finding in result["chat4all"]["findings"]:
        console.print(finding, style="red", markup=False)

"""``scripts/crash``: kill -9 under load, again and again, and whether the platform kept its word (E1, E2, E12)."""

import asyncio
import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from functions.record_status.func import UNMATCHED
from shared.domain.backoff import PARKED_SCHEDULE
from shared.testing import history
from shared.testing.campaign import Campaign, Kills, Room
from shared.testing.checker import Report, check
from shared.testing.history import Fault
from shared.testing.http1 import Client
from shared.testing.listener import each_listens
from shared.testing.platform import CLIENT_ID, CLIENT_SECRET, Platform, free_port
from shared.testing.present import Present
from shared.testing.providers import PEOPLE, Person, Providers
from shared.testing.real_engines import forget, servers_environment
from shared.testing.tenant import Tenant

POINTS: tuple[tuple[str, int], ...] = (
    ("outbox.commit.before", 400),
    ("outbox.commit.after", 400),
    ("sink.emit.before", 20),
    ("sink.emit.after", 20),
    ("tables.put.before", 400),
    ("tables.put.after", 400),
    ("tables.put_if_absent.before", 20),
    ("tables.put_if_absent.after", 20),
    ("tables.update_if.before", 40),
    ("tables.update_if.after", 40),
    ("channel.send.before", 8),
    ("channel.send.after", 8),
)
"""Where to die, and at most how many passes to wait for it."""

IN_APP_POINTS = frozenset({"outbox.commit.before", "outbox.commit.after", "tables.put.before", "tables.put.after"})
"""Those that are passed when nothing leaves the platform."""

TENANTS = ("acme", "globex")

_TRIES = timedelta(seconds=4 * 10 + 0.4 + 0.8 + 1.6)  # knative/triggers/record-status.yaml
_TICK = timedelta(minutes=1)  # knative/timers/redrive.yaml, at its slowest
_PARKED_TWICE = sum(PARKED_SCHEDULE[:2], timedelta()) * 1.2 + 2 * _TRIES + _TICK


@dataclass(slots=True)
class Plan:
    """How large a campaign is; ``points`` may be empty (a platform without failpoints)."""

    kills: int = 200
    messages: int = 100_000
    seed: int = 1
    seconds: float = 1200.0
    rooms: int = 12
    senders: int = 4
    patience: float = _PARKED_TWICE.total_seconds()
    """Seconds until all is at rest, what was parked twice included."""
    points: Sequence[tuple[str, int]] = POINTS
    on_kill: Callable[[int, int, Fault], None] | None = None
    people: Sequence[Person] = PEOPLE
    pause: float = 0.0
    """Seconds between two messages of one sender: without any the load is all that the platform can take."""
    people_pause: float = 0.4
    """Seconds between two rounds in which everybody at a provider writes something."""
    uncertain_wait: float = 2.0
    """Seconds until a call whose answer was lost is made again: longer than any receipt is on its way."""


@dataclass(slots=True)
class Outcome:
    report: Report
    operations: list[history.Operation] = field(repr=False)


async def run(platform: Platform, plan: Plan, *, connections: int = 192) -> Outcome:
    """Start the platform, run the campaign against it, judge, and stop it."""
    tenants = []
    client = Client(platform.port, connections=connections)
    providers = Providers(
        f"http://127.0.0.1:{platform.port}",
        platform.data.parent,
        plan.people,
        uncertain_wait=plan.uncertain_wait,
        pause=plan.people_pause,
    )
    try:
        for name in TENANTS:
            credentials = f"{CLIENT_ID}-{name}", CLIENT_SECRET
            platform.environment = {
                **platform.environment,
                "CHAT4ALL_SIMULATORS": "false",  # ours outlive the platform
                "CHAT4ALL_PROVIDER_HOSTS": "127.0.0.1",
                "CHAT4ALL_BOOTSTRAP_TENANT": name,
                "CHAT4ALL_BOOTSTRAP_CLIENT_ID": credentials[0],
            }
            await platform.start()
            tenant = Tenant(client, name, *credentials)
            await tenant.login()
            tenants.append(tenant)
            if name != TENANTS[-1]:
                await platform.stop()
        rooms = [room for tenant in tenants for room in await open_rooms(tenant, plan)]
        if plan.people:
            rooms += await providers.open(tenants)
        campaign = Campaign(client, rooms, plan.seed)
        nemesis = Kills(
            platform, plan.kills, plan.messages, points=plan.points, seconds=plan.seconds, on_kill=plan.on_kill
        )
        present = Present(providers, tenants, is_of_a_lost_answer)
        async with each_listens(tenants):
            operations = await campaign.run(nemesis, patience=plan.patience, beside=present)
        return Outcome(check(operations), operations)
    finally:
        client.close()
        await providers.close()
        await platform.kill()


def is_of_a_lost_answer(parked: Mapping[str, Any]) -> bool:
    """
    A provider's report about a call whose answer died with its process: the message was sent again, as another. One
    that names its delivery is none: that was written before the call.
    """
    return UNMATCHED in parked["reason"] and not parked["event"]["data"].get("delivery_id")


async def open_rooms(tenant: Tenant, plan: Plan) -> list[Room]:
    """Users and conversations with the same names in every tenant; every other conversation has a twin's id."""
    users = [f"user{n}" for n in range(plan.senders + 2)]
    await tenant.add_users(users)
    rooms = []
    for n in range(plan.rooms):
        members = users if n % 3 else users[:3]
        twin = n % 2 == 0
        name = f"twin-{n}" if twin else f"{tenant.name}-{n}"
        conversation = await tenant.create_conversation(members, conversation_id=name)
        rooms.append(
            Room(tenant, conversation, tuple(members), tuple(members[: plan.senders]), twin=twin, pause=plan.pause)
        )
    return rooms


def show(report: Report, operations: Sequence[history.Operation], console: Console) -> None:
    table = Table(title="Did the platform keep its word?", show_header=False)
    for name, value in msgspec.to_builtins(report).items():
        if name != "findings":
            table.add_row(name.replace("_", " "), f"{value:.2f}" if isinstance(value, float) else f"{value}")
    kinds = Counter(one.kind for one in operations if isinstance(one, Fault))
    for kind, times in sorted(kinds.items()):
        table.add_row(kind, f"{times}", style="dim")
    console.print(table)
    for invariant, times in Counter(finding.invariant for finding in report.findings).items():
        console.print(f"{invariant}: {times} findings", style="bold red")
    for finding in report.findings[:30]:
        console.print(f"{finding.invariant} {finding.detail}", style="red", markup=False)


def main(
    kills: Annotated[int, typer.Option(help="How often the platform is killed.")] = 200,
    messages: Annotated[int, typer.Option(help="How many messages must have been accepted.")] = 100_000,
    seed: Annotated[int, typer.Option(help="What is killed when; the scheduling is the machine's.")] = 1,
    seconds: Annotated[float, typer.Option(help="The longest that faults go on.")] = 1200,
    mode: Annotated[str, typer.Option(help="embedded, or servers: on the engines that `scripts/stack env` names.")] = (
        "embedded"
    ),
    providers: Annotated[bool, typer.Option(help="With people on WhatsApp and Instagram.")] = True,
    pause: Annotated[float, typer.Option(help="Seconds between two messages of one sender.")] = 0.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where the report goes.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep data, log and history in this directory.")] = None,
    recheck: Annotated[Path | None, typer.Option(help="Only judge a kept history.jsonl again.")] = None,
) -> None:
    console = Console(width=140)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # end the children too
    if recheck is not None:
        operations = list(history.read(recheck))
        outcome = Outcome(check(operations), operations)
    else:
        with tempfile.TemporaryDirectory(prefix="chat4all-crash-") as temporary:
            directory = keep or Path(temporary)
            directory.mkdir(parents=True, exist_ok=True)

            def tell(done: int, accepted: int, fault: Fault) -> None:
                recovery = (fault.ready or fault.at) - fault.at
                console.print(f"{done:4} {fault.kind:45} ready after {recovery:5.2f} s, {accepted} accepted")

            plan = Plan(kills=kills, messages=messages, seed=seed, seconds=seconds, on_kill=tell, pause=pause)
            if not providers:
                plan.people = ()
                plan.points = [(point, passes) for point, passes in POINTS if point in IN_APP_POINTS]
            environment = servers_environment() if mode == "servers" else {}
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                outcome = runner.run(run(Platform(free_port(), directory / "data", environment), plan))
                runner.run(forget(environment))
            history.write(directory / "history.jsonl", outcome.operations)
    show(outcome.report, outcome.operations, console)
    if json_file:
        result: dict[str, Any] = msgspec.to_builtins(outcome.report)
        result["arguments"] = sys.argv[1:]
        json_file.write_text(json.dumps(result, indent=2) + "\n")
    raise typer.Exit(0 if outcome.report.good else 1)


if __name__ == "__main__":
    typer.run(main)

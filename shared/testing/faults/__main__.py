"""The command line of the campaign."""

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from shared.observability.log import write_to
from shared.testing import history
from shared.testing.faults import report
from shared.testing.faults.catalogue import CATALOGUE, SHORT
from shared.testing.faults.drill import Fault, Row, broken, drill
from shared.testing.faults.rig import Rig, rig
from shared.testing.faults.stack import ROOT, Stack
from shared.testing.http1 import Client
from shared.testing.tenant import Tenant

PAGE = ROOT / "docs/reference/faults.md"


async def campaign(
    faults: Sequence[Fault],
    stack: Stack,
    directory: Path,
    console: Console,
    on_row: Callable[[Sequence[Row]], None] = lambda rows: None,
) -> tuple[list[Row], int]:
    """
    Every fault on a stack of as many nodes as it needs, those that need fewer first.

    The rows, and in how many lines of the platform's logs something stood that people wrote (I11).
    """
    rows: list[Row] = []
    leaks = 0
    for nodes in sorted({fault.nodes for fault in faults}):
        began = time.monotonic()
        told = await stack.up(nodes)
        place = directory / f"{nodes}-nodes"
        async with rig(stack, told, place) as platform:
            some = [fault for fault in faults if fault.nodes == nodes]
            names = {fault.number: [f"acme-{fault.number}", f"globex-{fault.number}"] for fault in some}
            credentials = await platform.tenants([name for pair in names.values() for name in pair])
            console.print(f"{nodes} nodes: all is up after {time.monotonic() - began:.0f} s", style="dim")
            for fault in some:
                rows.append(await _one(platform, fault, names[fault.number], credentials, console))
                _tell(rows[-1], console)
                on_row(rows[-1:])
            leaks += sum(b"canary-" in line for log in platform.logs() for line in log.read_bytes().splitlines())
    return rows, leaks


async def _one(
    platform: Rig, fault: Fault, names: Sequence[str], credentials: dict[str, tuple[str, str]], console: Console
) -> Row:
    client = Client(platform.door.port, connections=16)
    try:
        tenants = [Tenant(client, name, *credentials[name]) for name in names]
        for tenant in tenants:
            await tenant.login()
        outcome = await drill(platform, fault, tenants, lambda line: console.print(line, style="dim"))
    except Exception as error:  # noqa: BLE001  the next fault may show something yet
        await platform.whole()
        return broken(fault, error)
    finally:
        client.close()
    history.write(platform.directory / f"history-{fault.number}.jsonl", outcome.operations)
    return outcome.row


def _tell(row: Row, console: Console) -> None:
    console.print(
        f"{row.number:>3} {row.fault:<62} accepted {row.accepted:5}, try again {row.refused:3}, lost {row.lost}, "
        f"doubled {row.doubled}, order {row.order_breaks}, repeated {row.repeated_calls}, "
        f"recovery {row.recovery:5.1f} s, rest {row.rest:5.1f} s",
        style="red" if row.findings else "green",
        highlight=False,
    )
    for finding in row.findings[:10]:
        console.print(f"      {finding.invariant} {finding.detail}", style="red", markup=False)


def main(
    only: Annotated[str, typer.Option(help="Numbers of faults, comma-separated, in this order (default: all).")] = "",
    short: Annotated[bool, typer.Option("--short", help="Those that CI does.")] = False,
    offset: Annotated[int, typer.Option(help="Added to every port of the stack.")] = 4100,
    keep: Annotated[Path | None, typer.Option(help="Keep logs and histories in this directory.")] = None,
    write: Annotated[bool, typer.Option(help="Write docs/reference/faults.md.")] = False,
) -> None:
    """
    Does every fault to the platform on real engines, and checks that it kept its word.

    Exit code 1: a promise was broken. The stack is its own, on ports of its own, and is gone afterwards.
    """
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # end the children too
    console = Console(width=200)
    write_to(sys.stderr, level="ERROR")  # of this process, which opens the platform's ports to make tenants
    wanted = SHORT if short else tuple(filter(None, only.split(",")))
    known = {fault.number: fault for fault in CATALOGUE}
    if missing := [number for number in wanted if number not in known]:
        raise typer.BadParameter(f"no fault {', '.join(missing)}; there are {', '.join(known)}")
    faults = [known[number] for number in wanted or known]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chat4all-faults-") as temporary:
        directory = keep or Path(temporary)
        directory.mkdir(parents=True, exist_ok=True)
        stack = Stack(Path(temporary) / "stack", offset)

        def keep_page(rows: Sequence[Row], leaks: int = 0) -> None:
            if write:
                report.write(PAGE, rows, leaks=leaks)

        async def run() -> tuple[list[Row], int]:
            try:
                return await campaign(faults, stack, directory, console, keep_page)
            finally:
                await stack.wipe()

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            rows, leaks = runner.run(run())
        keep_page((), leaks)
    console.print(f"{leaks} lines of log with what people wrote; {time.monotonic() - began:.0f} s")
    raise typer.Exit(1 if leaks or any(row.findings for row in rows) else 0)


if __name__ == "__main__":
    typer.run(main)

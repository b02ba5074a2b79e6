"""
What scaling costs: starts from zero, hops of events, memory, and requests that are lost when pods go.

Run inside the cluster, after the flow tests: their events are given to functions again, as any broker may.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from statistics import quantiles
from typing import Any

from infra.cluster import drain, hops, inside, pods, scaling, wakes
from infra.cluster.inside import say
from infra.cluster.layout import ENTRY_ADDRESS
from infra.cluster.talk import Talk, talk_of
from shared.ports import Ports
from shared.repositories.listeners import Listeners
from shared.runtime.open_ports import open_ports
from shared.runtime.wiring import read
from shared.testing.http1 import Client
from shared.testing.listener import somebody_listens
from shared.testing.live import Caller, Deployed, Providers, fresh_id
from shared.testing.tenant import Tenant

_PARTS = ("wakes", "chain", "hops", "scale", "drain")
_LOAD, _SECONDS = 40, 40.0
_ROLLOUT = 8
_HOPS = 60
_ALONE = 200
_LONE = "record-status"
"""Takes what nobody else takes; of the news that it makes of it, again, nobody wants to hear."""
_FEW = 20


async def run(given: argparse.Namespace, deployed: Deployed) -> dict[str, Any]:
    told = dict[str, Any]()
    caller = await asyncio.to_thread(deployed.tenant, f"figures-{fresh_id()[:8]}")
    with Providers(caller.tenant, deployed.url) as providers:
        providers.start("--pace", "0.05").enter(caller)
        talk = talk_of(caller)
        async with open_ports(inside.settings()) as ports:
            if "wakes" in given.only:
                told["wakes"] = await _wakes(ports, given.rounds)
            if "chain" in given.only:
                told["chain"] = await _chains(talk, ports, given.rounds, "no")
                async with _listening(caller):
                    told["chain"] += await _chains(talk, ports, given.rounds, "yes")
            if "hops" in given.only:
                told["hops"] = {"alone": await _hops_alone(ports), "messages": await _hops_of_messages(talk, ports)}
        if "scale" in given.only:
            told["scale"] = await _scaling(caller, talk.conversation)
        if "drain" in given.only:
            told["drain"] = await drain.while_its_pod_goes(talk)
            say(f"drain: {told['drain']}")
    return told


@asynccontextmanager
async def _listening(caller: Caller) -> AsyncIterator[None]:
    """Somebody of the tenant holds a socket, so that push has something to do."""
    client = Client(80, host=ENTRY_ADDRESS, connections=1)
    try:
        tenant = Tenant(client, caller.tenant, *caller.credentials)
        await tenant.login()
        async with somebody_listens(tenant):
            yield
    finally:
        client.close()


async def _wakes(ports: Ports, rounds: int) -> list[dict[str, Any]]:
    wired = read()
    newest = await wakes.real_events(ports.log, ports.clock, wired)
    takers = {trigger.subscriber for trigger in wired.triggers} | {"dead-letter"}
    if missing := takers - newest.keys():
        raise LookupError(f"no event for {', '.join(sorted(missing))} yet: run the flow tests first")
    seen = []
    async with wakes.inside() as client:
        events = {service: await wakes.handled_before(client, service, some) for service, some in newest.items()}
        for _ in range(rounds):
            for service in sorted(wired.services):
                one = await wakes.wake(client, ports.clock, service, events.get(service))
                took = f"{one.seconds:5.2f} s  CPU {one.cpu:5.2f} s  read {one.read / 2**20:5.1f} MiB"
                say(f"{one.service:<20} {took}  {one.status}  {one.memory / 2**20:4.0f} MiB")
                seen.append(asdict(one))
    return seen


async def _chains(talk: Talk, ports: Ports, rounds: int, listened: str) -> list[dict[str, float | str]]:
    seen = []
    for _ in range(rounds):
        seen.append({"a socket is open": listened, **await wakes.chain_from_zero(talk, ports.log)})
        say(f"chain: {seen[-1]}")
    return seen


async def _hops_alone(ports: Ports) -> dict[str, Any]:
    wired = read()
    events = await wakes.only_for(_LONE, ports.log, wired)
    async with wakes.inside() as client:
        event = await wakes.handled_before(client, _LONE, events)
    listeners = Listeners(ports.tables)
    # Or some of the news would wake push beside it.
    while await listeners.any_of(event.attributes["tenant"]):  # noqa: ASYNC110  the tables are asked
        await asyncio.sleep(1)
    lone = await hops.alone(event, ports, wired, _ALONE)
    say(f"alone: {summary(lone)}")
    return summary(lone)


async def _hops_of_messages(talk: Talk, ports: Ports) -> dict[str, Any]:
    async with _listening(talk.caller):
        return summary(await hops.of_messages(talk, ports, read(), _HOPS))


async def _scaling(caller: Caller, conversation: str) -> dict[str, Any]:
    client = Client(80, host=ENTRY_ADDRESS, connections=_LOAD)
    try:
        tenant = Tenant(client, caller.tenant, *caller.credentials)
        await tenant.login()
        load = scaling.Load(tenant, conversation, f"scale {fresh_id()}")
        async with scaling.few_at_once():
            scaled = await scaling.up_and_down(load, _LOAD, _SECONDS)
        say(f"scale: {scaled}")
        rolled = await scaling.rollout(scaling.Load(tenant, conversation, f"rollout {fresh_id()}"), _ROLLOUT)
        say(f"rollout: {rolled}")
        memory = [asdict(one) for one in pods.processes()]
    finally:
        client.close()
    return {"up and down": scaled, "rollout": rolled, "memory": memory}


def summary(seen: hops.Hops) -> dict[str, dict[str, float]]:
    """
    Milliseconds, by function and of all together; a timer's few events say nothing.

    A function that was done with so few events has no times, and is there only if it lacks some that were meant for it.
    """
    every = [one for of_it in seen.taken.values() for one in of_it]
    names = sorted({*seen.taken, *seen.missing})
    found = {name: _figures(seen.taken.get(name, ()), seen.missing.get(name, 0)) for name in names}
    many = {name: one for name, one in found.items() if one["events"] >= _FEW or one["missing"]}
    return {**many, "all": _figures(every, sum(seen.missing.values()))}


def _figures(taken: Sequence[float], missing: int) -> dict[str, float]:
    figures: dict[str, float] = {"events": len(taken), "missing": missing}
    if len(taken) >= _FEW:
        cut = quantiles(taken, n=100)
        figures |= {"p50": round(cut[49], 1), "p95": round(cut[94], 1)}
    return figures


def parts(given: str) -> list[str]:
    """
    What is to be measured.

    Raises:
        ArgumentTypeError: there is no such part.
    """
    chosen = given.split(",")
    if not set(chosen) <= set(_PARTS):
        raise argparse.ArgumentTypeError(f"{given}: there are {', '.join(_PARTS)}")
    return chosen


def findings(told: Mapping[str, Any]) -> list[str]:
    """What did not come true, of what was measured."""
    return [
        *(
            f"{one['service']}, woken from zero, answered {one['status']}"
            for one in told.get("wakes", ())
            if not wakes.good(one)
        ),
        *(
            f"{name} was not done with {one['missing']} of {one['missing'] + one['events']} events, {how}"
            for how, of_it in told.get("hops", {}).items()
            for name, one in of_it.items()
            if one["missing"] and name != "all"
        ),
        *scaling.findings(told.get("scale")),
        *drain.findings(told.get("drain")),
    ]


def arguments(*, add_help: bool = True) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/cluster figures", description=__doc__, add_help=add_help)
    parser.add_argument(
        "--rounds", type=int, default=3, metavar="N", help="of starts from zero and of the chain (default: %(default)s)"
    )
    parser.add_argument(
        "--only", type=parts, default=_PARTS, metavar="PARTS", help=f"some of {', '.join(_PARTS)}, comma-separated"
    )
    return parser


def main() -> None:
    inside.main(arguments(), run)


if __name__ == "__main__":
    main()

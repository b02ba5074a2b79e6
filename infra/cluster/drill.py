"""
Load through the public entry while pods are killed, judged by what clients and providers saw (E1, E2, E7).

Run inside the cluster, with the platform at zero, where events go through Kafka: the first requests wake it, and no
accepted message may be lost, doubled or out of order, whatever ends.
"""

import argparse
import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from subprocess import CalledProcessError
from typing import Any

import msgspec

from infra.cluster import inside, pods
from infra.cluster.inside import say
from infra.cluster.layout import ENTRY_ADDRESS, NODE_ADDRESS
from infra.cluster.pods import Pod
from shared.testing import history
from shared.testing.campaign import Campaign, Room
from shared.testing.checker import Report, check
from shared.testing.crash import Plan, is_of_a_lost_answer, open_rooms
from shared.testing.history import Fault, now
from shared.testing.http1 import UNKNOWN, Answer, Client, Done
from shared.testing.listener import each_listens
from shared.testing.live import Deployed, fresh_id
from shared.testing.present import Present
from shared.testing.providers import Person, Providers
from shared.testing.tenant import Tenant

_PEOPLE = (
    Person("wa-usual", "whatsapp", "+551198765{}101", 0.5),
    Person("wa-thrice", "whatsapp", "+55119876{}0008", 1.0),
    Person("ig-usual", "instagram", "178414000{}0101", 0.5),
)
_PLAN = Plan(rooms=6, senders=2)
_PAUSE = 0.3
"""Seconds between two messages of one sender."""
_PENDING = 10
"""
Messages of customers that may wait for the platform to take them; beyond it nobody writes more. Without a bound 8,700
webhooks still waited on two slow cores ten minutes after the load.
"""
_COME_BACK = 90.0
_METRICS_PORT = 8080
BY_TURNS = (
    "send",
    "route",
    "push",
    "deliver-whatsapp",
    "record-status",
    "inbound",
    "webhook-dispatch",
    "realtime",
    "dispatcher",
)
"""Who bears the load: each of them is hit in either way before chance decides."""


class EntryClient(Client):
    """What the network layer says in the platform's stead, that it found nobody or heard nothing, is no answer."""

    def send(self, request: bytes, done: Done) -> None:
        def answered(answer: Answer) -> None:
            done(answer if answer.status not in (502, 504) else Answer(UNKNOWN, b"", b""))

        super().send(request, answered)


@dataclass(slots=True)
class PodKills:
    """
    Now a pod is deleted at once, now its process gets SIGKILL: of each of BY_TURNS, then of any pod of the platform.
    """

    kills: int
    hit: Counter[str] = field(default_factory=Counter)
    dispensable: Counter[str] = field(default_factory=Counter)
    """Those of the hits after which the Service went to fewer pods, or to zero: they have no time of recovery."""

    async def __call__(self, campaign: Campaign) -> None:
        for number, (service, deleted) in enumerate(turns(campaign.rng, self.kills)):
            await asyncio.sleep(campaign.rng.uniform(1.0, 5.0))
            at, pod, before = await _strike(campaign.rng, service, pods.delete_at_once if deleted else pods.kill_in)
            self.hit[pod.service] += 1
            kind = f"kill: {'pod' if deleted else 'process'} of {pod.service}"
            outcome = await _outcome(pod, before)
            if outcome is Outcome.DISPENSABLE:
                self.dispensable[pod.service] += 1
            else:
                campaign.history.append(Fault(kind, at, now() if outcome is Outcome.RECOVERED else None))
            say(f"{number + 1:3} {kind}, {outcome.value} after {now() - at:.1f} s, {campaign.accepted} accepted")
        campaign.watched = [
            Client(_METRICS_PORT, host=pod.address, connections=1)
            for pod in await asyncio.to_thread(pods.pods)
            if pod.service == "dispatcher"
        ]


def turns(rng: random.Random, kills: int) -> list[tuple[str, bool]]:
    """Which service is hit, "" for any, and whether its pod is deleted."""
    each = [(service, deleted) for service in BY_TURNS for deleted in (True, False)]
    rng.shuffle(each)
    return (each + [("", number % 2 == 0) for number in range(kills)])[:kills]


class Outcome(Enum):
    """Of a hit."""

    RECOVERED = "recovered"
    DISPENSABLE = "not missed"
    MISSING = "missing"


def judge(hit: Pod, before: Sequence[Pod], seen: Sequence[Pod], wanted: int) -> Outcome:
    """
    What a hit came to, as far as can be seen now.

    That a pod is said to be ready proves nothing: whoever got SIGKILL is, until the kubelet looks. It has recovered
    when a pod is ready that was not there ``before``, or the one that was hit after its container was started again.
    ``wanted``: pods that its revision should have now.
    """
    known = {pod.uid for pod in before}
    for pod in seen:
        new = pod.uid not in known or (pod.uid == hit.uid and pod.restarts > hit.restarts)
        if new and pod.service == hit.service and pod.ready and not pod.leaving:
            return Outcome.RECOVERED
    fewer = wanted < sum(pod.revision == hit.revision and not pod.leaving for pod in before)
    return Outcome.DISPENSABLE if hit.revision and fewer else Outcome.MISSING


async def _outcome(hit: Pod, before: Sequence[Pod]) -> Outcome:
    until, found = now() + _COME_BACK, Outcome.MISSING
    while found is Outcome.MISSING and now() < until:
        await asyncio.sleep(0.5)
        wanted = await asyncio.to_thread(pods.wanted, hit.revision) if hit.revision else 0
        found = judge(hit, before, await asyncio.to_thread(_answering, hit.service), wanted)
    return found


def _answering(service: str) -> list[Pod]:
    return [pod for pod in pods.pods() if pod.service == service and pod.ready and pods.answers(pod)]


async def _strike(rng: random.Random, service: str, strike: Callable[[Pod], None]) -> tuple[float, Pod, list[Pod]]:
    """
    Hits a pod of the service that is ready; of any, if it is "".

    Returns: when, which one, and the pods that there were.

    Raises:
        TimeoutError: for long no pod of it is ready.
        ProcessLookupError, CalledProcessError: it could not be hit though it is there.
    """
    until = now() + _COME_BACK
    while now() < until:
        there = await asyncio.to_thread(pods.pods)
        if targets := [pod for pod in there if pod.ready and not pod.leaving and service in ("", pod.service)]:
            at, pod = now(), rng.choice(targets)
            try:
                await asyncio.to_thread(strike, pod)
            except (ProcessLookupError, CalledProcessError):
                # One that Knative takes away is no hit of ours: another is.
                if any(one.uid == pod.uid and not one.leaving for one in await asyncio.to_thread(pods.pods)):
                    raise
            else:
                return at, pod, there
        await asyncio.sleep(0.5)
    raise TimeoutError(f"no pod {f'of {service} ' if service else ''}is ready")


async def run(given: argparse.Namespace, deployed: Deployed) -> dict[str, Any]:
    """The checker's report, how often each service was hit, and how many pods it had at most."""
    folder = deployed.data
    client = EntryClient(80, host=ENTRY_ADDRESS, connections=64)
    providers = Providers(deployed.url, folder, _PEOPLE, host=NODE_ADDRESS, most_pending=_PENDING)
    try:
        awake = pods.knative(await asyncio.to_thread(pods.pods))
        say(f"awake at the beginning: {', '.join(sorted(awake)) or 'nobody'}")
        tenants = await _tenants(deployed, client)
        rooms = await _rooms(tenants) + await providers.open(tenants)
        campaign, nemesis = Campaign(client, rooms, given.seed, retry=0.25, say=say), PodKills(given.kills)
        most: dict[str, int] = {}
        async with inside.beside(_watch(most)), each_listens(tenants):  # or nobody is woken to push
            present = Present(providers, tenants, is_of_a_lost_answer)
            operations = await campaign.run(nemesis, patience=_PLAN.patience, beside=present)
        history.write(folder / "history.jsonl", operations)
        told = _told(check(operations), nemesis, most, await providers.blank())
        return {**told, "awake": sorted(awake), "seed": given.seed}
    finally:
        client.close()
        await providers.close()


async def _tenants(deployed: Deployed, client: Client) -> list[Tenant]:
    tenants = []
    for name in ("acme", "globex"):
        made = await asyncio.to_thread(deployed.tenant, f"{name}-{fresh_id()[:8]}")
        tenant = Tenant(client, made.tenant, *made.credentials)
        await tenant.login()
        tenants.append(tenant)
    return tenants


async def _rooms(tenants: Sequence[Tenant]) -> list[Room]:
    rooms = [room for tenant in tenants for room in await open_rooms(tenant, _PLAN)]
    for room in rooms:
        room.pause = _PAUSE
    return rooms


async def _watch(most: dict[str, int]) -> None:
    while True:
        for service, count in pods.knative(await asyncio.to_thread(pods.pods)).items():
            most[service] = max(most.get(service, 0), count)
        await asyncio.sleep(2)


def _told(report: Report, nemesis: PodKills, most: dict[str, int], blank: int) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(report)
    killed = nemesis.hit.total()
    short = shortfalls(
        accepted=report.accepted,
        delivered=report.delivered,
        inbound=report.inbound,
        killed=killed,
        asked=nemesis.kills,
    )
    if blank:
        short.append(f"{blank} webhooks were answered with 200 by a proxy (ADR 45)")
    return {
        **told,
        "findings": [*told["findings"], *({"invariant": "drill", "detail": one} for one in short)],
        "kills": killed,
        "hit": dict(sorted(nemesis.hit.items())),
        "dispensable": nemesis.dispensable.total(),
        "most pods": dict(sorted(most.items())),
    }


def shortfalls(*, accepted: int, delivered: int, inbound: int, killed: int, asked: int) -> list[str]:
    """Why a drill proves nothing, whatever its checker says: where hardly anything happened nothing is lost."""
    least = 10 * asked
    found = [
        f"{times} messages were {what}, fewer than {least}"
        for what, times in (("accepted", accepted), ("delivered", delivered), ("written by customers", inbound))
        if times < least
    ]
    if killed < asked:
        found.append(f"{killed} kills, and {asked} were asked for")
    return found


def arguments(*, add_help: bool = True) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/cluster drill", description=__doc__, add_help=add_help)
    parser.add_argument("--kills", type=int, default=24, metavar="N", help="how many pods (default: %(default)s)")
    parser.add_argument(
        "--seed",
        type=int,
        default=random.randrange(1 << 30),
        metavar="N",
        help="of the load; told with what was found (default: another each time)",
    )
    return parser


def main() -> None:
    inside.main(arguments(), run)


if __name__ == "__main__":
    main()

"""
Load through the public entry while pods are killed, judged by what clients and providers saw (E1, E2, E7).

Run inside the cluster, with the platform at zero, where events go through Kafka: the first requests wake it, and no
accepted message may be lost, doubled or out of order, whatever ends.
"""

import argparse
import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import msgspec

from infra.cluster import inside, pods
from infra.cluster.inside import say
from infra.cluster.layout import ENTRY_ADDRESS, NODE_ADDRESS
from infra.cluster.pods import Pod
from shared.testing import history
from shared.testing.campaign import Campaign, Room
from shared.testing.checker import Report, check
from shared.testing.crash import Plan, open_rooms
from shared.testing.history import Fault, now
from shared.testing.http1 import UNKNOWN, Answer, Client, Done
from shared.testing.live import Deployed, fresh_id
from shared.testing.providers import Person, Providers
from shared.testing.tenant import Tenant

_PEOPLE = (
    Person("wa-usual", "whatsapp", "+551198765{}101", 0.5),
    Person("wa-thrice", "whatsapp", "+55119876{}0008", 1.0),
    Person("ig-usual", "instagram", "178414000{}0101", 0.5),
)
_PAUSE = 0.3
"""Seconds between two messages of one sender."""
_COME_BACK = 90.0
_PATIENCE = 240.0
_METRICS_PORT = 8080


class EntryClient(Client):
    """What the network layer says in the platform's stead, that it found nobody or heard nothing, is no answer."""

    def send(self, request: bytes, done: Done) -> None:
        def answered(answer: Answer) -> None:
            done(answer if answer.status not in (502, 504) else Answer(UNKNOWN, b"", b""))

        super().send(request, answered)


@dataclass(slots=True)
class PodKills:
    """Now a pod is deleted at once, now its process gets SIGKILL; any pod of the platform may be hit."""

    kills: int
    hit: Counter[str] = field(default_factory=Counter)

    async def __call__(self, campaign: Campaign) -> None:
        for number in range(self.kills):
            await asyncio.sleep(campaign.rng.uniform(1.0, 5.0))
            pod = campaign.rng.choice([one for one in await asyncio.to_thread(pods.pods) if one.ready])
            deleted = number % 2 == 0
            at = now()
            await asyncio.to_thread(pods.delete_at_once if deleted else pods.kill_in, pod)
            self.hit[pod.service] += 1
            kind = f"kill: {'pod' if deleted else 'process'} of {pod.service}"
            back = await self._back(pod)
            campaign.history.append(Fault(kind, at, now() if back else None))
            say(f"{number + 1:3} {kind}, back after {now() - at:.1f} s, {campaign.accepted} accepted")
        campaign.watched = [
            Client(_METRICS_PORT, host=pod.address, connections=1)
            for pod in await asyncio.to_thread(pods.pods)
            if pod.service == "dispatcher"
        ]

    async def _back(self, hit: Pod) -> bool:
        """Whether the Service soon has only pods that are ready; none is fine for one that sleeps."""
        until = now() + _COME_BACK
        while now() < until:
            await asyncio.sleep(0.5)
            seen = [one for one in await asyncio.to_thread(pods.pods) if one.service == hit.service]
            if all(one.ready or one.leaving for one in seen) and (hit.revision or seen):
                return True
        return False


async def run(given: argparse.Namespace, deployed: Deployed) -> dict[str, Any]:
    """The checker's report, how often each service was hit, and how many pods it had at most."""
    folder = deployed.data
    client = EntryClient(80, host=ENTRY_ADDRESS, connections=64)
    providers = Providers(deployed.url, folder, _PEOPLE, host=NODE_ADDRESS)
    try:
        awake = pods.knative(await asyncio.to_thread(pods.pods))
        say(f"awake at the beginning: {', '.join(sorted(awake)) or 'nobody'}")
        rooms = await _rooms(deployed, client, providers)
        campaign, nemesis = Campaign(client, rooms, given.seed, retry=0.25), PodKills(given.kills)
        most: dict[str, int] = {}
        watching = asyncio.create_task(_watch(most))
        operations = await campaign.run(nemesis, patience=_PATIENCE, beside=providers)
        watching.cancel()
        history.write(folder / "history.jsonl", operations)
        return {**_told(check(operations), nemesis, most), "awake": sorted(awake), "seed": given.seed}
    finally:
        client.close()
        await providers.close()


async def _rooms(deployed: Deployed, client: Client, providers: Providers) -> list[Room]:
    tenants = []
    for name in ("acme", "globex"):
        made = await asyncio.to_thread(deployed.tenant, f"{name}-{fresh_id()[:8]}")
        tenant = Tenant(client, made.tenant, *made.credentials)
        await tenant.login()
        tenants.append(tenant)
    rooms = [room for tenant in tenants for room in await open_rooms(tenant, Plan(rooms=6, senders=2))]
    for room in rooms:
        room.pause = _PAUSE
    return rooms + await providers.open(tenants)


async def _watch(most: dict[str, int]) -> None:
    while True:
        for service, count in pods.knative(await asyncio.to_thread(pods.pods)).items():
            most[service] = max(most.get(service, 0), count)
        await asyncio.sleep(2)


def _told(report: Report, nemesis: PodKills, most: dict[str, int]) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(report)
    return {**told, "hit": dict(sorted(nemesis.hit.items())), "most pods": dict(sorted(most.items()))}


def main() -> None:
    parser = argparse.ArgumentParser(prog="infra.cluster.drill", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    inside.main(parser, run)


if __name__ == "__main__":
    main()

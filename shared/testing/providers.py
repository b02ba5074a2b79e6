"""
The providers' side of a campaign: simulators that outlive the platform, people behind them, and what these got.

One simulator process a tenant. Each person is in a private conversation with an agent of ours: what the agent
writes must reach them through the provider, what they write must appear in that conversation.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from shared.testing.campaign import Campaign, Room
from shared.testing.history import Delivered, Inbound, Target, now
from shared.testing.http1 import Client
from shared.testing.platform import DidNotStart, Process, free_port
from shared.testing.tenant import Tenant

INSTALLED = ("instagram", "whatsapp")


@dataclass(frozen=True, slots=True)
class Person:
    """
    Somebody at a provider; the end of ``address`` says how the simulator treats them (shared.simulators.stage).
    ``{}`` in it is a digit of the tenant. ``pause`` is between two messages to them; ``spoken_to``: there are any.
    """

    user_id: str
    channel: str
    address: str
    pause: float = 0.1
    spoken_to: bool = True


PEOPLE = (
    Person("wa-usual", "whatsapp", "+551198765{}101", 0.1),
    Person("wa-silent", "whatsapp", "+55119876{}0002", 0.1),
    Person("wa-cut", "whatsapp", "+55119876{}0007", 4.0),
    Person("wa-thrice", "whatsapp", "+55119876{}0008", 0.2),
    Person("wa-early", "whatsapp", "+55119876{}0009", 0.2),
    Person("wa-broken", "whatsapp", "+55119876{}0006", 30.0),
    Person("ig-usual", "instagram", "178414000{}0101", 0.1),
    Person("ig-cut", "instagram", "178414000{}0007", 4.0),
)


@dataclass(slots=True)
class Simulators:
    """The simulators of one tenant, as a process of their own."""

    tenant: str
    platform: str
    """Its base URL, where callbacks go."""
    output: Path
    host: str = "127.0.0.1"
    port: int = field(default_factory=free_port)
    uncertain_wait: float = 2.0
    """Seconds that the accounts wait for the receipt of a call whose answer was lost, before it is made again."""
    reached_at: int | None = None
    """The port that the platform is told, where something stands between."""
    process: Process | None = None

    async def start(self) -> dict[str, Any]:
        """Start them; the accounts that the tenant must enter, by channel."""
        self.process = Process(
            [
                sys.executable, "-m", "shared.simulators", "--host", self.host, "--port", str(self.port),
                "--tenant", self.tenant, "--callback-base", self.platform, "--key", f"key of {self.tenant}",
                "--pace", "0.05", "--uncertain-wait", f"{self.uncertain_wait}",
            ],
            self.output,
        )  # fmt: skip
        await self.process.start()
        client = Client(self.port, host=self.host, connections=1)
        until = now() + 60
        try:
            while (await client.call("GET", "/")).status != 200:
                if now() > until or not self.process.running:
                    raise DidNotStart(self.process.tail())
                await asyncio.sleep(0.02)
        finally:
            client.close()
        accounts: dict[str, Any] = json.loads(
            self.output.read_text().splitlines()[0].replace(f":{self.port}/", f":{self.reached_at or self.port}/")
        )
        return accounts

    async def kill(self) -> None:
        if self.process is not None:
            await self.process.kill()


@dataclass(slots=True)
class Providers:
    """``open`` before the campaign, ``write`` beside it, ``collect`` after it has come to rest, ``close`` last."""

    platform: str
    """Its base URL."""
    directory: Path
    people: Sequence[Person] = PEOPLE
    host: str = "127.0.0.1"
    """Where they listen, and the platform reaches them."""
    uncertain_wait: float = 2.0
    pause: float = 0.4
    """Seconds between two rounds in which everybody writes something."""
    most_pending: int = 1000
    """
    Messages of people that the platform has not taken, beyond which nobody writes more: a load that it can never take
    proves nothing, for what is not there at the end may only be late.
    """
    simulators: dict[str, Simulators] = field(default_factory=dict)
    between: Callable[[str, int], Awaitable[int]] | None = None
    """Given a tenant and its simulators' port, the port that the platform is told."""
    clients: dict[str, Client] = field(default_factory=dict)
    rooms: list[Room] = field(default_factory=list)

    async def open(self, tenants: Sequence[Tenant]) -> list[Room]:
        for number, tenant in enumerate(tenants):
            output = self.directory / f"simulators-{tenant.name}.log"
            simulators = Simulators(tenant.name, self.platform, output, self.host, uncertain_wait=self.uncertain_wait)
            self.simulators[tenant.name] = simulators
            if self.between is not None:
                simulators.reached_at = await self.between(tenant.name, simulators.port)
            accounts = await simulators.start()
            self.clients[tenant.name] = Client(simulators.port, host=self.host, connections=8)
            for channel in sorted({person.channel for person in self.people}):
                await self._enter(tenant, channel, accounts[channel])
            for person in self.people:
                account = accounts[person.channel]["account_id"]
                self.rooms.append(await self._open_room(tenant, person, str(number + 3), account))
        return self.rooms

    async def _enter(self, tenant: Tenant, channel: str, account: dict[str, Any]) -> None:
        path = f"/v1/channels/{channel}/accounts/{quote(account['account_id'])}"
        await tenant.must(
            "PUT", path, {"settings": account["settings"], "secrets": account["secrets"], "enabled": True}
        )

    async def _open_room(self, tenant: Tenant, person: Person, digit: str, account: str) -> Room:
        address = person.address.format(digit)
        agent = f"agent-of-{person.user_id}"
        await tenant.add_users([agent, person.user_id])
        await tenant.must(
            "POST", f"/v1/users/{person.user_id}/channels", {"channel": person.channel, "identifier": address}
        )
        members = (agent, person.user_id)
        conversation = await tenant.create_conversation(members)
        await tenant.must(
            "POST",
            "/v1/routing-rules",
            {
                "match": {"channel": person.channel, "account_id": account, "from": address},
                "action": {"type": "conversation", "with": agent, "channels": ["chat4all"]},
            },
        )
        target = Target(person.user_id, person.channel, address)
        senders = (agent,) if person.spoken_to else ()
        return Room(tenant, conversation, members, senders, targets=(target,), pause=person.pause)

    async def write(self, campaign: Campaign) -> None:
        """The people answer, one after another, each some of it twice: providers repeat their webhooks."""
        n = 0
        while not campaign.stopping:
            if sum([told["pending_messages"] for _, told in await self._callbacks()]) > self.most_pending:
                await asyncio.sleep(self.pause)
                continue
            for room in self.rooms:
                n += 1
                target = room.targets[0]
                text = f"canary-{room.tenant.name} {target.address} writes {n}"
                sent = now()
                answer = await self.clients[room.tenant.name].call(
                    "POST",
                    f"/{target.channel}/_sim/inbound",
                    {"from": target.address, "text": text, "times": 1 + n % 3 // 2},
                )
                campaign.history.append(
                    Inbound(
                        tenant=room.tenant.name,
                        conversation=room.conversation,
                        channel=target.channel,
                        address=target.address,
                        provider_message_id=text,
                        text=text,
                        sent=sent,
                        answered=now(),
                        status=200 if answer.status == 202 else answer.status,
                    )
                )
            await asyncio.sleep(self.pause)

    async def pending(self) -> list[str]:
        """Webhooks that the platform has not taken yet."""
        return [f"a webhook of {channel}" for channel, told in await self._callbacks() for _ in range(told["pending"])]

    async def blank(self) -> int:
        """Webhooks that were answered with a 2xx without a word: by a proxy, for the platform says something."""
        return sum([told["blank"] for _, told in await self._callbacks()])

    async def _callbacks(self) -> list[tuple[str, dict[str, int]]]:
        """What the simulators say of their webhooks, by channel."""
        channels = {person.channel for person in self.people}
        return [
            (channel, (await _told(client, f"/{channel}/_sim/state"))["callbacks"])
            for client in self.clients.values()
            for channel in channels
        ]

    async def shown(self) -> set[str]:
        """The texts that have reached anybody."""
        texts = set()
        for client in self.clients.values():
            for channel in {person.channel for person in self.people}:
                sent = await _told(client, f"/{channel}/_sim/sent?since=0")
                texts |= {one["text"] for one in sent["items"]}
        return texts

    async def collect(self, campaign: Campaign) -> None:
        """What the people were shown, into the history."""
        for client in self.clients.values():
            for channel in sorted({person.channel for person in self.people}):
                shown = (await _told(client, f"/{channel}/_sim/sent?since=0"))["items"]
                campaign.history.extend(
                    Delivered(channel, one["to"], one["text"], one["message_id"], one["n"]) for one in shown
                )

    async def close(self) -> None:
        for client in self.clients.values():
            client.close()
        for simulators in self.simulators.values():
            await simulators.kill()


async def _told(client: Client, path: str) -> Any:
    """What a simulator says of itself; asked again when its server closed the connection just then."""
    until = now() + 30
    while (answer := await client.call("GET", path)).status != 200:
        if now() > until:
            raise DidNotStart(f"GET {path}: {answer.status}")
        await asyncio.sleep(0.05)
    return answer.json()

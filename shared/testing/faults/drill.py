"""
One fault as a run of its own: two new tenants, load, the fault, rest, and the checker's verdict.

Recovery is measured by witnesses: people at providers whom nobody writes to until the fault was done. Then each is
sent one message; the platform has recovered when the last of these has reached its provider.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct

from shared.testing import history
from shared.testing.campaign import TRY_AGAIN, Campaign, Mix, Room
from shared.testing.checker import Finding, check
from shared.testing.faults.rig import Rig
from shared.testing.history import Operation, Send, now
from shared.testing.http1 import Client
from shared.testing.listener import each_listens
from shared.testing.load import MessageIds
from shared.testing.platform import DidNotStart
from shared.testing.present import Present
from shared.testing.providers import Person, Providers
from shared.testing.tenant import Tenant

PEOPLE = (
    Person("wa-usual", "whatsapp", "+551198765{}101", 1.0),
    Person("wa-cut", "whatsapp", "+55119876{}0007", 5.0),
    Person("wa-thrice", "whatsapp", "+55119876{}0008", 2.0),
    Person("wa-early", "whatsapp", "+55119876{}0009", 2.0),
    Person("ig-usual", "instagram", "178414000{}0101", 1.0),
    *(Person(f"wa-witness-{n}", "whatsapp", f"+55119876{{}}020{n}", spoken_to=False) for n in range(4)),
    *(Person(f"ig-witness-{n}", "instagram", f"178414000{{}}020{n}", spoken_to=False) for n in range(2)),
)

POISON = "poison-"
"""The ids of events that are made to be parked begin so."""

_PATIENCE = 180.0
_UNCERTAIN = 25.0
"""Longer than the front is ever away, so that a call is repeated only when the receipt of the first never comes."""
PARKED = 125.0
"""Longer than what is parked is away, like the receipt of a call: its tries, PARKED_SCHEDULE's first pause, a tick."""


@dataclass(slots=True)
class Scene:
    """What a fault has to do with: the platform, and the providers of the run."""

    rig: Rig
    providers: Providers
    tenants: Sequence[str]
    _meanwhile: set[asyncio.Task[None]] = field(default_factory=set)

    def meanwhile(self, work: Coroutine[Any, Any, None]) -> None:
        """What goes on while recovery is measured."""
        self._meanwhile.add(asyncio.create_task(work))

    async def settled(self) -> None:
        await asyncio.gather(*self._meanwhile)
        self._meanwhile.clear()


Deed = Callable[[Scene], Awaitable[None]]


async def nothing(scene: Scene) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Fault:
    """
    ``number`` as in reliability.md 4.4.

    before, after: the platform as this fault needs it, and as the next one does.
    strike: does it; recovery is measured from its end on.
    heal: afterwards, what is broken for good is mended; without load on the clock.
    within: the most seconds that recovery may take. refusals: requests may be told to try again. repeats: a provider
    may be called twice for one delivery. times: how often; each time with its own witnesses' messages.
    """

    number: str
    name: str
    strike: Deed
    heal: Deed = nothing
    before: Deed = nothing
    after: Deed = nothing
    within: float | None = None
    refusals: bool = True
    repeats: bool = True
    times: int = 1
    nodes: int = 1
    """Of Kafka and of Cassandra."""
    hold: float = 0.0
    """Seconds of load between recovery and healing."""
    uncertain: float = _UNCERTAIN
    """Seconds until a call is repeated whose outcome is unknown."""


class Row(Struct, frozen=True):
    """A line of the table. ``refused``: messages that were told to try again at least once; ``recovery``: seconds."""

    number: str
    fault: str
    nodes: int
    times: int
    accepted: int
    refused: int
    unanswered: int
    lost: int
    doubled: int
    order_breaks: int
    repeated_calls: int
    recovery: float
    rest: float
    findings: tuple[Finding, ...]


Tell = Callable[[str], None]


@dataclass(slots=True)
class Drill:
    """The nemesis of one campaign."""

    fault: Fault
    scene: Scene
    tell: Tell
    warm: float = 3.0
    said: MessageIds = field(init=False)

    def __post_init__(self) -> None:
        self.said = MessageIds(f"witnesses of {self.fault.number}")

    async def __call__(self, campaign: Campaign) -> None:
        await self.fault.before(self.scene)
        for time in range(1, self.fault.times + 1):
            await asyncio.sleep(self.warm)
            await self.fault.strike(self.scene)
            since = now()
            recovered = await self._recovered(campaign, time)
            await self.scene.settled()
            campaign.history.append(history.Fault(self.fault.name, since, recovered))
            took = f"{recovered - since:.1f} s" if recovered else "never"
            self.tell(f"{self.fault.number} {time}/{self.fault.times}: recovery {took}, {campaign.accepted} accepted")
            await asyncio.sleep(self.fault.hold)
            await self.fault.heal(self.scene)
        await self.fault.after(self.scene)
        await asyncio.sleep(self.warm)

    async def _recovered(self, campaign: Campaign, time: int) -> float | None:
        """When the last witness had its message; None if that took too long."""
        witnesses = [room for room in campaign.rooms if room.targets and not room.senders]

        async def told(room: Room) -> str:
            message_id, agent = self.said(), room.members[0]
            text = f"canary-{room.tenant.name} {room.conversation[-12:]} witness {time}"
            campaign.accepted += await campaign.send(room, agent, time, message_id, text)
            return text

        try:
            async with asyncio.timeout(_PATIENCE):
                waiting = set(await asyncio.gather(*(told(room) for room in witnesses)))
                while waiting := waiting - await self.scene.providers.shown():  # noqa: ASYNC110  the providers are asked
                    await asyncio.sleep(0.1)
        except TimeoutError:
            return None
        return now()


async def drill(rig: Rig, fault: Fault, tenants: Sequence[Tenant], tell: Tell) -> "Outcome":
    """Two tenants who have logged in: the fault, and what became of it."""

    async def between(name: str, port: int) -> int:
        return await rig.toxiproxy.before(f"provider-{name}", port)

    client = Client(rig.door.port, connections=64)
    providers = Providers(
        f"http://127.0.0.1:{rig.door.port}",
        rig.directory,
        PEOPLE,
        between=between,
        pause=2.0,
        uncertain_wait=fault.uncertain,
    )
    try:
        rooms = [room for tenant in tenants for room in await _rooms(tenant)]
        rooms += await providers.open(tenants)
        campaign = Campaign(
            client, rooms, seed=1, watched=rig.watched.values(), retry=0.25, mix=Mix(page=0.1, receipt=0.1)
        )
        scene = Scene(rig, providers, [tenant.name for tenant in tenants])
        async with each_listens(tenants):
            operations = await campaign.run(
                Drill(fault, scene, tell), patience=_PATIENCE, beside=Present(providers, tenants, _is_poison)
            )
        return Outcome(judge(fault, operations), operations)
    finally:
        client.close()
        await providers.close()


def _is_poison(parked: Mapping[str, Any]) -> bool:
    return str(parked["event"]["id"]).startswith(POISON)


def broken(fault: Fault, error: BaseException) -> Row:
    """A drill that did not come to its end has shown nothing."""
    findings = tuple(Finding("I10", f"the drill broke off: {_short(one)}") for one in _leaves(error))
    return Row(fault.number, fault.name, fault.nodes, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0, findings)


def _short(error: BaseException) -> str:
    """Without what the log of a process may say of this machine."""
    said = "" if isinstance(error, DidNotStart) else str(error).partition("\n")[0]
    return f"{type(error).__name__}: {said[:100]}" if said else type(error).__name__


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [error]


@dataclass(frozen=True, slots=True)
class Outcome:
    row: Row
    operations: Sequence[Operation] = field(repr=False)


def judge(fault: Fault, operations: Sequence[Operation]) -> Row:
    """The checker's verdict, and what this fault promises beyond it."""
    report = check(operations)
    sends = [one for one in operations if isinstance(one, Send) and not one.conflicting]
    refused = {one.message_id for one in sends if one.status in TRY_AGAIN and one.status}
    unanswered = {one.message_id for one in sends if not one.status}
    findings = list(report.findings)
    if refused and not fault.refusals:
        findings.append(Finding("answer", f"{len(refused)} messages were told to try again"))
    if report.provider_duplicates and not fault.repeats:
        findings.append(Finding("I4", f"{report.provider_duplicates} calls to providers were repeated"))
    if fault.within is not None and report.recovery_max > fault.within:
        findings.append(Finding("I10", f"recovery took {report.recovery_max:.1f} s, not {fault.within:g}"))
    return Row(
        number=fault.number,
        fault=fault.name,
        nodes=fault.nodes,
        times=fault.times,
        accepted=report.accepted,
        refused=len(refused),
        unanswered=len(unanswered),
        lost=report.lost,
        doubled=report.doubled,
        order_breaks=report.order_breaks + report.gaps,
        repeated_calls=report.provider_duplicates,
        recovery=report.recovery_max,
        rest=report.quiesced,
        findings=tuple(findings),
    )


async def _rooms(tenant: Tenant) -> list[Room]:
    users = [f"user{n}" for n in range(4)]
    await tenant.add_users(users)
    rooms = []
    for n in range(3):
        twin = n % 2 == 0
        name = f"twin-{n}" if twin else f"{tenant.name}-{n}"
        conversation = await tenant.create_conversation(users, conversation_id=name)
        rooms.append(Room(tenant, conversation, tuple(users), tuple(users[:2]), pause=0.8, twin=twin))
    return rooms

"""
A run under faults: clients that never give up on a message, something that breaks the platform, and a history.

The clients are closed-loop: each sender has one message under way, and posts it with the same message_id until it
is answered. What breaks the platform is a Nemesis; the one here kills. Whatever the clients saw goes into the
history, and only that is judged.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

import orjson

from shared.testing import measure
from shared.testing.history import (
    Conversation,
    Fault,
    Observation,
    Operation,
    Page,
    Probe,
    Quiesced,
    Receipt,
    Send,
    Target,
    now,
)
from shared.testing.http1 import UNKNOWN, Answer, Client
from shared.testing.load import MessageIds
from shared.testing.platform import DidNotStart, Platform
from shared.testing.tenant import PAGE, Tenant, items

ACCEPTED = 202
TRY_AGAIN = frozenset({UNKNOWN, 429, 503})
_SAID_EVERY = 10.0
_ASKED_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Mix:
    """
    What the clients do beside sending, as shares of their messages.

    ``race``: the message is posted twice at the same time. ``repeat``: again after its answer. ``conflict``:
    again with another text. ``page``: read a part of the timeline. ``receipt``: somebody reads up to a seq.
    ``observe``: ask for the status of one message. ``probe``: ask for another tenant's conversation or message.
    """

    race: float = 0.02
    repeat: float = 0.02
    conflict: float = 0.01
    page: float = 0.05
    receipt: float = 0.03
    observe: float = 0.03
    probe: float = 0.01


@dataclass(slots=True)
class Room:
    """A conversation of the campaign. ``targets`` are recipients on provider channels (they get every message)."""

    tenant: Tenant
    conversation: str
    members: tuple[str, ...]
    senders: tuple[str, ...]
    targets: tuple[Target, ...] = ()
    pause: float = 0.0
    """Seconds between two messages of one sender."""
    twin: bool = False
    """The other tenant has a conversation with this id too, and uses the same message_ids in it."""
    head: int = 0
    recent: list[tuple[str, int]] = field(default_factory=list)
    """(message_id, seq) of some accepted messages."""

    def remember(self, message_id: str, seq: int) -> None:
        self.head = max(self.head, seq)
        if len(self.recent) < 64:
            self.recent.append((message_id, seq))
        else:
            self.recent[seq % 64] = (message_id, seq)


class Nemesis(Protocol):
    async def __call__(self, campaign: "Campaign") -> None:
        """Do all faults, one after another; when it returns the platform is whole again."""
        ...


class Beside(Protocol):
    """Others who take part: the people at the providers."""

    async def write(self, campaign: "Campaign") -> None:
        """Until ``campaign.stopping``."""
        ...

    async def pending(self) -> Sequence[str]:
        """What they still have to tell the platform, or wait for; a word for each."""
        ...

    async def collect(self, campaign: "Campaign") -> None:
        """What they saw, into the history."""
        ...


@dataclass(slots=True)
class Campaign:
    """
    ``run`` it once. ``watched``: processes whose Triggers must have nothing left at the end (none: that of ``client``).
    ``retry``: seconds before a message that was not taken is posted again. ``say``: told every ten seconds what the
    rest still waits for.
    """

    client: Client
    rooms: Sequence[Room]
    seed: int
    watched: Collection[Client] = ()
    retry: float = 0.02
    say: Callable[[str], None] = field(default=lambda line: None)
    mix: Mix = field(default_factory=Mix)
    history: list[Operation] = field(default_factory=list)
    accepted: int = 0
    stopping: bool = False
    rng: random.Random = field(init=False)
    observed: dict[tuple[str, str], Room] = field(default_factory=dict)
    """Messages that somebody asked the status of, to be asked again at the end."""

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    async def run(
        self,
        nemesis: Nemesis,
        *,
        patience: float = 120.0,
        beside: Beside | None = None,
    ) -> list[Operation]:
        """
        Load and faults together, then rest, then read everything as every member.

        ``patience`` bounds the rest, in seconds.
        """
        self.history.extend(Conversation(room.tenant.name, room.conversation, room.members) for room in self.rooms)
        async with asyncio.TaskGroup() as clients:
            for room in self.rooms:
                for sender in room.senders:
                    clients.create_task(self._send_all(room, sender))
            if beside is not None:
                clients.create_task(beside.write(self))
            try:
                await nemesis(self)
            finally:
                self.stopping = True
        await self._rest(patience, beside)
        await self._read_everything()
        if beside is not None:
            await beside.collect(self)
        return self.history

    async def _send_all(self, room: Room, sender: str) -> None:
        ids = MessageIds(f"{self.seed} {room.conversation} {sender}")
        n = 0
        while not self.stopping:
            n += 1
            message_id = ids()
            text = f"canary-{room.tenant.name} {room.conversation[-12:]} {sender} {n}"
            taken = await self.send(room, sender, n, message_id, text)
            self.accepted += taken  # what was counted meanwhile is not forgotten
            await self._something_else(room, sender, n, message_id, text)
            if room.pause:
                await asyncio.sleep(room.pause)

    async def send(self, room: Room, sender: str, n: int, message_id: str, text: str) -> bool:
        """Until it is answered with anything but "try again"; whether that was yes."""
        intended = now()
        post = self._post(room, sender, message_id, text)
        if self.rng.random() < self.mix.race:
            first, second = await asyncio.gather(
                *(self._attempt(room, sender, n, message_id, text, intended, post) for _ in range(2))
            )
            if ACCEPTED in {first, second}:
                return True
        while True:
            status = await self._attempt(room, sender, n, message_id, text, intended, post)
            if status not in TRY_AGAIN:
                return status == ACCEPTED
            await asyncio.sleep(self.retry)

    def _post(self, room: Room, sender: str, message_id: str, text: str) -> bytes:
        channels = sorted({target.channel for target in room.targets})
        return room.tenant.sending(
            message_id=message_id,
            conversation=room.conversation,
            sender=sender,
            text=text,
            channels=channels,
        )

    async def _attempt(
        self,
        room: Room,
        sender: str,
        n: int,
        message_id: str,
        text: str,
        intended: float,
        post: bytes,
        *,
        conflicting: bool = False,
    ) -> int:
        sent = now()
        answer = await self.request(post)
        seq = answer.json().get("seq") if answer.status == ACCEPTED else None
        self.history.append(
            Send(
                tenant=room.tenant.name,
                conversation=room.conversation,
                sender=sender,
                n=n,
                message_id=message_id,
                text=text,
                intended=intended,
                sent=sent,
                answered=now(),
                status=answer.status,
                seq=seq,
                conflicting=conflicting,
                targets=room.targets,
            )
        )
        if seq is not None and not conflicting:
            room.remember(message_id, seq)
        return answer.status

    async def _something_else(self, room: Room, sender: str, n: int, message_id: str, text: str) -> None:
        """At times do what else clients do; a failure of these is recorded and not repeated."""
        chance = self.rng.random
        if chance() < self.mix.repeat:
            await self._attempt(room, sender, n, message_id, text, now(), self._post(room, sender, message_id, text))
        if chance() < self.mix.conflict:
            other = text + " changed"
            post = self._post(room, sender, message_id, other)
            await self._attempt(room, sender, n, message_id, other, now(), post, conflicting=True)
        if chance() < self.mix.page:
            since = self.rng.choice([max(0, room.head - 5), self.rng.randint(0, room.head)])
            await self.read_page(room, self.rng.choice(room.members), since=since, limit=50)
        if chance() < self.mix.receipt and room.head:
            await self._read_up_to(room, self.rng.choice(room.members), self.rng.randint(1, room.head))
        if chance() < self.mix.observe and room.recent:
            await self.observe(room, self.rng.choice(room.recent)[0])
        if chance() < self.mix.probe:
            await self._probe(room)

    async def request(self, request: bytes) -> Answer:
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(answer: Answer) -> None:
            if not future.done():  # who asked may have been cancelled meanwhile
                future.set_result(answer)

        self.client.send(request, done)
        return await future

    async def read_page(self, room: Room, reader: str, *, since: int, limit: int, final: bool = False) -> Page | None:
        sent = now()
        path = f"/v1/conversations/{quote(room.conversation)}/messages?since={since}&limit={limit}"
        answer = await self.request(room.tenant.request("GET", path, act_as=reader))
        if answer.status != 200:
            return None
        page = Page(
            tenant=room.tenant.name,
            conversation=room.conversation,
            reader=reader,
            since=since,
            limit=limit,
            sent=sent,
            answered=now(),
            items=items(answer),
            final=final,
        )
        self.history.append(page)
        return page

    async def _read_up_to(self, room: Room, reader: str, seq: int) -> None:
        sent = now()
        path = f"/v1/conversations/{quote(room.conversation)}/read"
        answer = await self.request(room.tenant.request("PUT", path, orjson.dumps({"seq": seq}), act_as=reader))
        status = ACCEPTED if answer.status in {200, 204} else answer.status
        self.history.append(Receipt(room.tenant.name, room.conversation, reader, seq, sent, now(), status))

    async def observe(self, room: Room, message_id: str, *, final: bool = False) -> bool:
        """Record how far the deliveries of a message have come; whether all that leave the platform are done."""
        self.observed[room.tenant.name, message_id] = room
        sent = now()
        answer = await self.request(room.tenant.request("GET", f"/v1/messages/{message_id}", act_as=room.members[0]))
        if answer.status != 200:
            return False
        deliveries: list[dict[str, Any]] = answer.json()["deliveries"]
        for delivery in deliveries:
            self.history.append(
                Observation(
                    tenant=room.tenant.name,
                    message_id=message_id,
                    recipient=delivery["recipient"],
                    channel=delivery["channel"],
                    status=delivery["status"],
                    sent=sent,
                    answered=now(),
                    final=final,
                )
            )
        done = {d["channel"] for d in deliveries if d["status"] in {"SENT", "DELIVERED", "READ", "FAILED"}}
        return {target.channel for target in room.targets} <= done

    async def _probe(self, room: Room) -> None:
        others = [other for other in self.rooms if other.tenant.name != room.tenant.name and not other.twin]
        if not others:
            return
        theirs = self.rng.choice(others)
        paths = [f"/v1/conversations/{quote(theirs.conversation)}/messages?since=0&limit=1"]
        if theirs.recent:
            paths.append(f"/v1/messages/{theirs.recent[0][0]}")
        path = self.rng.choice(paths)
        answer = await self.request(room.tenant.request("GET", path, act_as=theirs.members[0]))
        body = answer.body.decode(errors="replace")
        self.history.append(Probe(room.tenant.name, theirs.tenant.name, path, answer.status, body))

    async def _rest(self, patience: float, beside: Beside | None) -> None:
        """Until no Trigger lags and every delivery to a provider is done."""
        began = now()
        next_said = began + _SAID_EVERY
        open_messages = self._leaving()
        while True:
            open_messages = await self._still_leaving(open_messages)
            lag = await self._lag()
            pending = await beside.pending() if beside is not None else ()
            unfinished = len(open_messages) + lag.total() + len(pending)
            named = [*list(open_messages)[:3], *pending[:3]]
            detail = (
                f"{len(open_messages)} deliveries, {lag.total()} events, {len(pending)} webhooks and parked; {named}"
            )
            detail += "".join(f", {trigger}: {events}" for trigger, events in lag.most_common(3) if events)
            if not unfinished or now() - began > patience:
                break
            if now() > next_said:
                next_said = now() + _SAID_EVERY
                self.say(f"not at rest after {now() - began:.0f} s: {detail}")
            await asyncio.sleep(0.5)
        self.history.append(Quiesced(now() - began, unfinished, detail if unfinished else ""))

    async def _still_leaving(self, messages: Mapping[tuple[str, str], Room]) -> dict[tuple[str, str], Room]:
        """Some are asked after at once: one by one, hundreds take longer than the patience where answers are slow."""
        to_ask, still = iter(messages.items()), dict(messages)

        async def ask() -> None:
            for key, room in to_ask:
                if await self.observe(room, key[1]):
                    del still[key]

        async with asyncio.TaskGroup() as group:
            for _ in range(_ASKED_AT_ONCE):
                group.create_task(ask())
        return still

    async def _lag(self) -> Counter[str]:
        """By Trigger, events that it has not seen, or is busy with."""
        lag: Counter[str] = Counter()
        for client in self.watched or (self.client,):
            lag += measure.parse((await client.call("GET", "/metrics")).body).unfinished()
        return lag

    def _leaving(self) -> dict[tuple[str, str], Room]:
        """Accepted messages that must reach a provider."""
        rooms = {(room.tenant.name, room.conversation): room for room in self.rooms if room.targets}
        return {
            (send.tenant, send.message_id): rooms[send.tenant, send.conversation]
            for send in self.history
            if isinstance(send, Send) and send.status == ACCEPTED and send.targets and not send.conflicting
        }

    async def _read_everything(self) -> None:
        async def whole(room: Room, reader: str) -> None:
            since = 0
            while True:
                page = await self.read_page(room, reader, since=since, limit=PAGE, final=True)
                if page is None:
                    await asyncio.sleep(0.05)
                    continue
                if len(page.items) < PAGE:
                    return
                since = page.items[-1].seq

        for room in self.rooms:
            await asyncio.gather(*(whole(room, reader) for reader in room.members))
        for (_, message_id), room in self.observed.items():
            await self.observe(room, message_id, final=True)


@dataclass(slots=True)
class Kills:
    """
    SIGKILL at random moments, at named points, and while it starts; then start it again, until ``messages`` were
    accepted and ``kills`` done.
    """

    platform: Platform
    kills: int
    messages: int
    points: Sequence[tuple[str, int]] = ()
    """(failpoint, the greatest number of passes to wait for)"""
    seconds: float = 1200.0
    longest_life: float = 10.0
    longest_wait: float = 2.0
    """For a point that nothing passes."""
    on_kill: Callable[[int, int, Fault], None] | None = None

    async def __call__(self, campaign: Campaign) -> None:
        rng, platform = campaign.rng, self.platform
        deadline = now() + self.seconds
        point = ""
        for done in range(1, self.kills + 1):
            share = max(0, self.messages - campaign.accepted) / (self.kills - done + 1)
            fault = await self._kill(campaign, point, campaign.accepted + rng.uniform(0.3, 1.3) * share)
            point, settings = "", {}
            if self.points and done < self.kills and rng.random() < 0.5:
                point, passes = rng.choice(list(self.points))
                settings = {"CHAT4ALL_FAILPOINT": f"{point}={rng.randint(1, passes)}"}
            if rng.random() < 0.1:
                fault = Fault(f"{fault.kind}, and again while starting", fault.at)
                await platform.start(settings, wait=False)
                await asyncio.sleep(rng.uniform(0.05, 1.0))
                await platform.kill()
            await self._start(platform, settings)
            fault = Fault(fault.kind, fault.at, now())
            campaign.history.append(fault)
            if self.on_kill is not None:
                self.on_kill(done, campaign.accepted, fault)
            if now() > deadline:
                break
        if point:
            await platform.kill()
            await platform.start()
        while campaign.accepted < self.messages and now() < deadline:  # noqa: ASYNC110  a counter of many
            await asyncio.sleep(0.05)

    async def _kill(self, campaign: Campaign, point: str, goal: float) -> Fault:
        """Let it live until the goal is reached, then end it: by itself at its point, or by us."""
        process = self.platform.process
        assert process is not None, "not started"
        await asyncio.sleep(campaign.rng.uniform(0.05, 1.5))
        until = now() + (self.longest_wait if point else self.longest_life)
        while process.running and now() < until:
            if campaign.accepted >= goal and not point:
                break
            await asyncio.sleep(0.01)
        kind = f"kill at {point}" if not process.running else "kill"
        at = now()
        await self.platform.kill()
        return Fault(kind, at)

    async def _start(self, platform: Platform, settings: Mapping[str, str]) -> None:
        """A point may be passed before it is ready: that is one more crash, and then it starts unarmed."""
        try:
            await platform.start(settings)
        except DidNotStart:
            if not settings:
                raise
            await platform.kill()
            await platform.start()

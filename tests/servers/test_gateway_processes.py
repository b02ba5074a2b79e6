"""
Gateways as processes of their own, on real engines: a user's devices spread over them, and one killed by SIGKILL
under load (A12, A13, E5, E6; reliability.md 5.5). What each device was sent is judged frame by frame.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage

from shared.testing import real_engines
from shared.testing.fleet import Fleet, Worker
from shared.testing.http1 import Client
from shared.testing.platform import CLIENT_ID, CLIENT_SECRET, UNLIMITED
from shared.testing.tenant import Tenant

pytestmark = [pytest.mark.real("cassandra", "kafka", "redis", "nats"), pytest.mark.timeout(300)]

SENDERS, RECEIVERS = ("ana", "bia"), ("caio", "davi", "elisa")
RATE = 40.0
KILLED_AFTER = 100
"""Messages, and as many come afterwards."""


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    """HTTP, those who push and count receipts; gateways are started by the test."""
    environment = {**UNLIMITED, **real_engines.servers_environment()}
    fleet = Fleet(tmp_path, environment)
    await fleet.start(["push", "record-status"])
    yield fleet
    await fleet.stop()
    await real_engines.forget(environment)


@dataclass
class Load:
    """Messages to all conversations in turn; ``accepted``: their message_ids by conversation and seq."""

    tenant: Tenant
    rooms: list[str]
    accepted: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    count: int = 0
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        while not self.enough.is_set():
            room, sender = self.rooms[self.count % len(self.rooms)], SENDERS[self.count % len(SENDERS)]
            body = {"conversation_id": room, "from": sender, "payload": {"type": "text", "text": str(self.count)}}
            answer = await self.tenant.must("POST", "/v1/messages", body)
            self.accepted[room][answer["seq"]] = answer["message_id"]
            self.count += 1
            await asyncio.sleep(1 / RATE)


class Device:
    """
    One of a user's, as a careful client is: it comes back by itself, to the gateway that ``gateways`` names first, and
    says there what it has. Until that is answered by ``ready`` it is sent what its user has not acknowledged; from then
    on nothing but the next number of each conversation may come.
    """

    def __init__(self, user: str, token: str, gateways: list[Worker]) -> None:
        self.user, self._token, self._gateways = user, token, gateways
        self.had: dict[str, dict[int, str]] = defaultdict(dict)
        self.faults: list[str] = []
        self.lost: list[int] = []
        self.at: Worker | None = None
        self._socket: ClientConnection | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._live()), asyncio.create_task(self._acknowledge())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def is_at(self, gateway: Worker) -> bool:
        """Whether it has resumed there."""
        for task in self._tasks:
            if task.done():
                task.result()
        return self.at is gateway and self._socket is not None

    async def _live(self) -> None:
        while True:
            self.at = self._gateways[0]
            try:
                async with connect(
                    f"ws://127.0.0.1:{self.at.port}/ws",
                    additional_headers={"authorization": f"Bearer {self._token}"},
                    close_timeout=0.2,
                ) as socket:
                    await self._listen(socket)
            except (OSError, InvalidMessage):  # nobody there, or killed before it had answered
                await asyncio.sleep(0.05)
            except ConnectionClosed as closed:
                self.lost.append(closed.rcvd.code if closed.rcvd else 1006)
            finally:
                self._socket = None

    async def _listen(self, socket: ClientConnection) -> None:
        synced = False
        while True:
            frame = json.loads(await socket.recv())
            match frame["type"]:
                case "ready" if synced:
                    self._socket = socket
                case "ready":
                    cursors = {room: len(had) for room, had in self.had.items()}
                    await socket.send(json.dumps({"type": "sync", "cursors": cursors}))
                    synced = True
                case "message":
                    self._heard(frame["conversation_id"], frame["seq"], frame["message_id"])
                case "error":
                    self.faults.append(f"{self.user} was told {frame}")

    def _heard(self, room: str, seq: int, message_id: str) -> None:
        next_one = len(self.had[room]) + 1
        if seq == next_one:
            self.had[room][seq] = message_id
        elif self._socket is not None:
            self.faults.append(f"{self.user} got {room} {seq} where {next_one} was next")

    async def _acknowledge(self) -> None:
        told: dict[str, int] = {}
        while True:
            await asyncio.sleep(0.5)
            for room, had in list(self.had.items()):
                if self._socket is not None and told.get(room) != len(had):
                    told[room] = len(had)
                    with suppress(ConnectionClosed):
                        await self._socket.send(json.dumps({"type": "ack", "conversation_id": room, "seq": len(had)}))


@pytest.fixture
async def load(fleet: Fleet) -> AsyncIterator[Load]:
    client = Client(fleet.platform.port)
    tenant = Tenant(client, "acme", CLIENT_ID, CLIENT_SECRET)
    await tenant.login()
    await tenant.add_users([*SENDERS, *RECEIVERS])
    rooms = [await tenant.create_conversation([*SENDERS, who]) for who in RECEIVERS]
    rooms.append(await tenant.create_conversation([*SENDERS, *RECEIVERS]))
    yield Load(tenant, rooms)
    client.close()


async def test_who_was_at_a_gateway_that_is_killed_goes_on_at_the_other(fleet: Fleet, load: Load, until) -> None:
    one, two = [await fleet.add("realtime") for _ in range(2)]
    first, second = [one, two], [two, one]
    devices: list[Device] = []
    async with AsyncExitStack() as stack:
        for user, gateways in [
            *((user, gateways) for user in RECEIVERS for gateways in (first, second, first)),
            *((user, second) for user in SENDERS),
        ]:
            token = (await load.tenant.must("POST", f"/v1/users/{user}/tokens"))["access_token"]
            devices.append(Device(user, token, gateways))
            devices[-1].start()
            stack.push_async_callback(devices[-1].stop)
        await until(lambda: all(each.is_at(one) or each.is_at(two) for each in devices))
        loading = asyncio.create_task(load.run())
        stack.callback(loading.cancel)
        await until(lambda: load.count >= KILLED_AFTER)

        there = [each for each in devices if each.is_at(one)]
        await one.process.kill()
        first.reverse()
        await until(lambda: all(each.is_at(two) for each in devices))
        so_far = load.count
        await until(lambda: load.count >= so_far + KILLED_AFTER)
        load.enough.set()
        await loading
        heard = {each: {room: load.accepted[room] for room in load.rooms if room in each.had} for each in devices}
        try:
            await until(lambda: all(each.had == heard[each] for each in devices))
        finally:
            assert [fault for each in devices for fault in each.faults] == []
        assert [each.lost for each in devices] == [[1006] if each in there else [] for each in devices]
        assert [len(each.had) for each in devices] == [2] * 9 + [4] * 2

        async def acknowledged() -> bool:
            last = [accepted[max(accepted)] for accepted in load.accepted.values()]
            shown = [await load.tenant.must("GET", f"/v1/messages/{one}/status") for one in last]
            return all(one["status"] == "DELIVERED" for one in shown)

        await until(acknowledged)

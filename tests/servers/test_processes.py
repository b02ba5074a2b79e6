"""
One function as a process of its own, beside others, on real engines: started more than once they share, and one may
die (E5, E6, ADR 27).
"""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.testing import real_engines
from shared.testing.fleet import Fleet
from shared.testing.http1 import Client
from shared.testing.platform import CLIENT_ID, CLIENT_SECRET, UNLIMITED
from shared.testing.tenant import Tenant

pytestmark = [pytest.mark.real("cassandra", "kafka", "redis", "nats"), pytest.mark.timeout(240)]


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    environment = {**UNLIMITED, **real_engines.servers_environment()}
    fleet = Fleet(tmp_path, environment)
    yield fleet
    await fleet.stop()
    await real_engines.forget(environment)


async def test_two_processes_of_a_function_share_its_events_and_one_goes_on_when_the_other_is_killed(
    fleet: Fleet, until
) -> None:
    await fleet.start(["record-status", "route", "route"])
    client = Client(fleet.platform.port)
    tenant = Tenant(client, "acme", CLIENT_ID, CLIENT_SECRET)
    await tenant.login()
    others = [f"u{n}" for n in range(8)]
    await tenant.add_users(["ana", *others])
    rooms = [await tenant.create_conversation(["ana", who]) for who in others]

    async def sent(count: int) -> list[str]:
        """Messages for a channel that nobody is linked to: route says so, record-status writes it down."""
        ids = []
        for n in range(count):
            body = {"conversation_id": rooms[n % 8], "from": "ana", "channels": ["whatsapp"]}
            answer = await tenant.must("POST", "/v1/messages", {**body, "payload": {"type": "text", "text": "olá"}})
            ids.append(answer["message_id"])
        return ids

    async def failed(message_id: str) -> bool:
        return (await tenant.must("GET", f"/v1/messages/{message_id}/status"))["status"] == "FAILED"

    routes = [worker for worker in fleet.workers if worker.function == "route"]

    async def both_have_worked() -> bool:
        for message_id in await sent(8):
            await until(lambda message_id=message_id: failed(message_id))
        pages = [await worker.metrics() for worker in routes]
        return all(page.total("chat4all_events_handled_total", function="route") for page in pages)

    await until(both_have_worked, within=60.0)  # partitions move to the second within seconds

    await routes[0].process.kill()
    for message_id in await sent(20):
        await until(lambda message_id=message_id: failed(message_id))
    client.close()


async def test_a_function_answers_on_func_pythons_contract_and_only_what_is_posted_when_told_so(fleet: Fleet) -> None:
    await fleet.start()
    worker = await fleet.add("route")
    client = Client(worker.port, connections=1)
    assert (await client.call("GET", "/health/liveness")).status == 200
    junk = await client.call("POST", "/", {"not": "an event"})
    assert junk.status == 422
    client.close()
    assert await worker.process.stop() in (0, -signal.SIGTERM)

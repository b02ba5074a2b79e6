"""
What every Outbox must do (shared.ports.outbox). Subclass it, say how to open ``house``, empty: an outbox, the
tables of ``SCHEMA`` that it writes to, and how to learn which events the broker was given.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from events import CATALOGUE, CloudEvent, Event, from_cloudevent
from shared.ports.outbox import Acceptance, Outbox
from shared.ports.tables import Put, Row, Tables
from shared.testing.build import a_message_accepted, a_text, an_event
from shared.testing.contracts.tables import CLAIMS, NOTES, SCHEMA, a_claim, a_note, key, whole

__all__ = ["SCHEMA", "House", "OutboxContract", "an_acceptance", "standing"]


@dataclass(frozen=True, slots=True)
class House:
    outbox: Outbox
    tables: Tables
    emitted: Callable[[], Awaitable[Sequence[CloudEvent]]]
    """Everything that the broker was given so far, oldest first."""


def an_acceptance(name: str = "m1", *, number: int = 1, tenant: str = "acme", place: str = "p") -> Acceptance:
    """``name`` claims ``number`` and its own name, in ``place``; a note and an event stand with the claims."""
    message = a_message_accepted(name, conversation=place, seq=number, payload=a_text("ção 🙂"))
    return Acceptance(
        table=CLAIMS,
        claims=[
            a_claim(number, "s", tenant=tenant, place=place, holder=name, body=b"\x00\xff", at=message.created_at),
            a_claim(0, f"m/{name}", tenant=tenant, place=place, count=number, flag=True),
        ],
        puts=[
            Put(NOTES, a_note(number, "é", tenant=tenant, owner=name, body=b"\xfe", at=message.created_at)),
            Put(NOTES, a_note(number, "expiring", tenant=tenant, owner=name), ttl=30 * 86_400),
        ],
        events=[an_event(message, tenant=tenant, traceparent=f"00-{'a' * 32}-{'b' * 16}-01")],
    )


async def standing(tables: Tables, acceptance: Acceptance) -> list[bool]:
    """Which of the acceptance's rows stand as it has them, claims first."""
    rows = [(acceptance.table, row) for row in acceptance.claims] + [(put.table, put.row) for put in acceptance.puts]
    return [await tables.get(table, key(table, row), serial=True) == whole(table, row) for table, row in rows]


def typed(cloudevents: Sequence[CloudEvent]) -> list[Event[Any]]:
    return [from_cloudevent(cloudevent, CATALOGUE) for cloudevent in cloudevents]


class OutboxContract:
    @pytest.fixture
    async def house(self) -> AsyncIterator[House]:
        raise NotImplementedError("say how to open an outbox, its tables and its broker, empty")
        yield

    async def test_what_was_accepted_stands_and_its_events_are_given_to_the_broker(self, house: House) -> None:
        acceptance = an_acceptance()
        assert await house.outbox.commit(acceptance) == []
        assert await standing(house.tables, acceptance) == [True] * 4
        assert typed(await house.emitted()) == acceptance.events

    async def test_claims_in_the_way_refuse_the_whole(self, house: House) -> None:
        first, second = an_acceptance("m1"), an_acceptance("m2")
        await house.outbox.commit(first)
        assert await house.outbox.commit(second) == [whole(CLAIMS, first.claims[0])]
        assert await standing(house.tables, first) == [True] * 4
        assert await standing(house.tables, second) == [False] * 4
        assert typed(await house.emitted()) == first.events

    async def test_the_same_acceptance_again_finds_its_own_claims_in_the_way(self, house: House) -> None:
        acceptance = an_acceptance()
        await house.outbox.commit(acceptance)
        in_the_way = await house.outbox.commit(acceptance)
        assert sorted(in_the_way, key=str) == sorted((whole(CLAIMS, row) for row in acceptance.claims), key=str)
        assert await standing(house.tables, acceptance) == [True] * 4

    async def test_claims_alone_are_enough(self, house: House) -> None:
        acceptance = an_acceptance()
        bare = Acceptance(acceptance.table, acceptance.claims, puts=[], events=[])
        assert await house.outbox.commit(bare) == []
        assert await standing(house.tables, bare) == [True] * 2
        assert list(await house.emitted()) == []

    async def test_several_events_keep_their_order(self, house: House) -> None:
        one = an_acceptance()
        events = [an_event(a_message_accepted(f"e{n}")) for n in range(20)]
        await house.outbox.commit(Acceptance(one.table, one.claims, one.puts, events))
        assert typed(await house.emitted()) == events

    async def test_events_come_in_the_order_of_their_commits(self, house: House) -> None:
        acceptances = [an_acceptance(f"m{n}", number=n) for n in range(1, 11)]
        for acceptance in acceptances:
            await house.outbox.commit(acceptance)
        assert typed(await house.emitted()) == [event for one in acceptances for event in one.events]

    async def test_tenants_are_in_nobodys_way(self, house: House) -> None:
        for tenant in ("acme", "umbrella"):
            acceptance = an_acceptance(tenant=tenant)
            assert await house.outbox.commit(acceptance) == []
            assert await standing(house.tables, acceptance) == [True] * 4
        assert [event.tenant for event in typed(await house.emitted())] == ["acme", "umbrella"]

    async def test_one_of_fifty_who_claim_the_same_number_is_accepted(self, house: House) -> None:
        acceptances = [an_acceptance(f"m{n}") for n in range(50)]
        answers: list[list[Row]] = await asyncio.gather(*(house.outbox.commit(one) for one in acceptances))
        (winner,) = (one for one, answer in zip(acceptances, answers, strict=True) if answer == [])
        assert all(answer in ([], [whole(CLAIMS, winner.claims[0])]) for answer in answers)
        assert typed(await house.emitted()) == winner.events
        for acceptance in acceptances:
            assert await standing(house.tables, acceptance) == [acceptance is winner] * 4

    async def test_two_hundred_commits_at_once_all_stand(self, house: House) -> None:
        acceptances = [an_acceptance(f"m{n}", number=n, place=f"p{n % 5}") for n in range(1, 201)]
        assert await asyncio.gather(*(house.outbox.commit(one) for one in acceptances)) == [[]] * 200
        for acceptance in acceptances:
            assert await standing(house.tables, acceptance) == [True] * 4
        assert {event.id for event in typed(await house.emitted())} == {one.events[0].id for one in acceptances}

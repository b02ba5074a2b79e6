"""
Cassandra that does not answer: what the adapter says is what is certain (E1, E2; reliability.md 3.3).

A proxy stands between the driver and the node. It loses answers, loses requests, or refuses connections.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest

from shared.adapters.cassandra.tables import CassandraTables
from shared.domain.errors import Unanswered, Unavailable
from shared.ports.tables import Put
from shared.testing import real_engines
from shared.testing.contracts.tables import CLAIMS, NOTES, SCHEMA, a_claim, a_note

pytestmark = pytest.mark.real("cassandra")

KEYSPACE = "chat4all_unanswered"
CLAIM = ("acme", "p", "a", 1)
NOTE = ("acme", "alice", "a", 1)


class Proxy:
    """In front of one node, on its own address, since that is where the driver goes."""

    def __init__(self, host, port):
        self.host, self.target = host, port
        self.lose_requests = self.lose_answers = self.refuse = False
        self._open = set()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def cut(self):
        for writer in self._open:
            writer.close()

    async def _serve(self, reader, writer):
        if self.refuse:
            writer.close()
            return
        answers, requests = await asyncio.open_connection(self.host, self.target)
        pair = {writer, requests}
        self._open |= pair
        there = asyncio.create_task(self._pump(reader, requests, lambda: self.lose_requests))
        await self._pump(answers, writer, lambda: self.lose_answers)
        await there
        self._open -= pair

    async def _pump(self, source, sink, lose):
        with suppress(ConnectionError):
            while data := await source.read(65536):
                if not lose():
                    sink.write(data)
        sink.close()


@pytest.fixture
async def direct():
    async with real_engines.cassandra_tables(KEYSPACE, SCHEMA) as tables:
        yield tables


@pytest.fixture
async def proxy(direct):
    settings = real_engines.cassandra_settings(KEYSPACE)
    if len(settings.contact_points) > 1:
        pytest.skip("for one node: the driver goes to the others without a proxy")
    async with Proxy(settings.contact_points[0], settings.port) as proxy:
        yield proxy


@pytest.fixture
async def tables(proxy):
    settings = replace(
        real_engines.cassandra_settings(KEYSPACE),
        contact_points=[proxy.host],
        port=proxy.port,
        request_timeout=1.0,
    )
    tables = await CassandraTables.connect(settings, SCHEMA)
    await tables.put_if_absent(CLAIMS, a_claim(99, holder="x"))  # statements are prepared
    await tables.update_if(CLAIMS, ("acme", "p", "a", 99), expected={"holder": "x"}, changes={"count": 1})
    await tables.put(Put(NOTES, a_note(99)))
    await tables.delete(CLAIMS, ("acme", "p", "a", 99))
    yield tables
    await tables.close()


@pytest.mark.parametrize(("lost", "happened"), [("lose_answers", True), ("lose_requests", False)])
async def test_what_became_of_a_conditional_write_without_an_answer_is_not_known(tables, proxy, direct, lost, happened):
    setattr(proxy, lost, True)
    with pytest.raises(Unanswered):
        await tables.put_if_absent(CLAIMS, a_claim(holder="x"))
    assert (await direct.get(CLAIMS, CLAIM, serial=True) is not None) == happened
    if not happened:
        await direct.put_if_absent(CLAIMS, a_claim(holder="x"))
    with pytest.raises(Unanswered):
        await tables.update_if(CLAIMS, CLAIM, expected={"holder": "x"}, changes={"count": 1})
    with pytest.raises(Unanswered):
        await tables.delete(CLAIMS, CLAIM)
    assert (await direct.get(CLAIMS, CLAIM, serial=True) is None) == happened


async def test_a_conditional_write_whose_connection_breaks_is_not_known_to_have_failed(tables, proxy, direct):
    proxy.lose_answers = True
    writing = asyncio.create_task(tables.put_if_absent(CLAIMS, a_claim(holder="x")))
    while await direct.get(CLAIMS, CLAIM, serial=True) is None:
        pass  # it is on its way
    proxy.cut()
    with pytest.raises(Unanswered):
        await writing


@pytest.mark.parametrize("lost", ["lose_answers", "lose_requests"])
async def test_plain_statements_without_an_answer_may_be_repeated(tables, proxy, lost):
    setattr(proxy, lost, True)
    statements = [
        tables.put(Put(NOTES, a_note())),
        tables.get(NOTES, NOTE),
        tables.get(CLAIMS, CLAIM, serial=True),
        tables.slice(NOTES, NOTE[:2], limit=5),
        tables.ping(),
    ]
    failures = await asyncio.gather(*statements, return_exceptions=True)
    assert [type(failure) for failure in failures] == [Unavailable] * len(statements)


async def test_where_nobody_can_be_reached_nothing_happened_and_it_goes_on_when_somebody_can(tables, proxy, direct):
    proxy.refuse = True
    proxy.cut()
    while True:
        try:
            await tables.put_if_absent(CLAIMS, a_claim(holder="x"))
        except Unanswered:
            continue  # sent into the connection that was just cut
        except Unavailable:
            break
    assert await direct.get(CLAIMS, CLAIM, serial=True) is None
    with pytest.raises(Unavailable):
        await tables.put(Put(NOTES, a_note()))
    proxy.refuse = False
    async with asyncio.timeout(15):
        while True:
            with suppress(Unavailable):
                await tables.put(Put(NOTES, a_note()))
                break
            await asyncio.sleep(0.1)
    assert await tables.put_if_absent(CLAIMS, a_claim(holder="x")) == []


async def test_nobody_there_at_the_start_says_where_it_looked(direct):
    settings = replace(real_engines.cassandra_settings(KEYSPACE), port=1)
    with pytest.raises(Unavailable, match=rf"{settings.contact_points[0]}, port 1, does not answer"):
        await CassandraTables.connect(settings, SCHEMA)


async def test_a_partition_that_hangs_holds_up_its_own_writers_only_for_as_long_as_one_may_take(tables, proxy, direct):
    proxy.lose_requests = True
    claims = [tables.put_if_absent(CLAIMS, a_claim(n)) for n in range(1, 6)]
    failures = await asyncio.wait_for(asyncio.gather(*claims, return_exceptions=True), 4)
    assert {type(failure) for failure in failures} == {Unanswered, Unavailable}
    assert [row["number"] for row in await direct.slice(CLAIMS, ("acme", "p"), limit=9, serial=True)] == []

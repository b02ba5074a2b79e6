"""News of a status says whether a webhook or a socket of the tenant asks for it: nobody else is woken (D2, A13)."""

from types import SimpleNamespace

import pytest

from events import MessageFailed, ReceiptReported, StatusReported
from events.vocabulary import ReceiptKind, Status
from functions.record_status import func as record_status
from shared.adapters.memory.cache import MemoryCache
from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.memory.tables import MemoryTables
from shared.domain.message import Draft
from shared.repositories.deliveries import Deliveries
from shared.repositories.listeners import Listeners
from shared.repositories.presence import Presence
from shared.repositories.timeline import Timeline
from shared.repositories.webhooks import Webhooks
from shared.runtime.wiring import read
from shared.testing.atomic_outbox import AtomicOutbox
from shared.testing.build import a_text, a_webhook, an_event, an_id
from shared.testing.plain_vault import PlainVault

TENANT = "acme"


class House:
    def __init__(self):
        self.clock, self.log = SettableClock(), MemoryRecordLog()
        self.tables = tables = MemoryTables(self.clock)
        outbox = AtomicOutbox(tables, self.log)
        self.ports = SimpleNamespace(
            clock=self.clock, sink=self.log, tables=tables, outbox=outbox, cache=MemoryCache(), channels=None
        )
        self.webhooks = Webhooks(tables, PlainVault(), self.clock)
        self.timeline = Timeline(tables, outbox, MemoryCache(), self.clock)

    async def subscribe(self, *events):
        await self.webhooks.add(TENANT, a_webhook(*events, at=self.clock.now()))

    async def listen(self, tenant):
        await Presence(self.tables, self.log, self.clock).beat("g1")
        await Listeners(self.tables).opened(tenant, "g1")

    async def statuses(self):
        return [str(report.status) for report in await Deliveries(self.tables).reports(TENANT, an_id("m1"))]

    async def hears(self, data):
        """Who is woken by what becomes of it, and with which events."""
        before = len(self.log.records)
        await record_status.new(self.ports).handle(an_event(data, tenant=TENANT))
        return [record.event for record in self.log.records[before:]]


def woken(event):
    return {trigger.subscriber for trigger in read().triggers if trigger.wants(event.attributes)}


@pytest.fixture
def house():
    return House()


def a_failure(at):
    return StatusReported(
        channel="whatsapp",
        status=Status.FAILED,
        at=at,
        source="route",
        conversation_id="c1",
        message_id=an_id("m1"),
        recipient="bia",
        reason="no address",
    )


@pytest.mark.parametrize(
    ("asked", "expected"),
    [((), set()), (("message.sent",), set()), (("message.failed",), {"webhook-dispatch"})],
)
async def test_only_what_a_webhook_asks_for_wakes_its_dispatch(house, asked, expected):
    if asked:
        await house.subscribe(*asked)
    (event,) = await house.hears(a_failure(house.clock.now()))
    assert event.attributes["type"] == MessageFailed.TYPE
    assert woken(event) == expected


async def test_push_is_woken_where_a_gateway_holds_a_socket_of_the_tenant(house):
    """Kept before anybody looks: who opens a socket after the look reads the status."""
    await house.listen("another")
    (event,) = await house.hears(a_failure(house.clock.now()))
    assert woken(event) == set()
    assert await house.statuses() == ["FAILED"]
    await house.listen(TENANT)
    (event,) = await house.hears(a_failure(house.clock.now()))
    assert woken(event) == {"push"}


async def test_the_status_is_kept_before_it_is_asked_who_listens(house, monkeypatch):
    """Or a socket that is opened in between would neither be told nor find it."""
    kept = []

    async def any_of(self, tenant):
        kept.append(await house.statuses())
        return False

    monkeypatch.setattr(Listeners, "any_of", any_of)
    await house.hears(a_failure(house.clock.now()))
    assert kept == [["FAILED"]]


async def test_a_webhook_hears_what_a_sender_asked_for_however_much_was_read_at_once(house, monkeypatch):
    monkeypatch.setattr(record_status, "_EXPANDED", 2)
    for number, asking in enumerate((True, False, True, False, False), 1):
        draft = Draft(
            message_id=an_id(f"m{number}"),
            conversation_id="c1",
            sender="ana",
            payload=a_text(),
            request_read_receipt=asking,
        )
        await house.timeline.accept(TENANT, draft, source="/functions/send", traceparent=None)
    await house.subscribe("message.read")
    receipt = ReceiptReported(
        conversation_id="c1", user_id="bia", kind=ReceiptKind.READ, from_seq=1, to_seq=5, at=house.clock.now()
    )
    told = await house.hears(receipt)
    assert [event.attributes["subject"] for event in told] == [an_id(f"m{number}") for number in (1, 3, 4, 5)]
    assert all("webhook-dispatch" in woken(event) for event in told)


async def test_a_receipt_that_its_sender_asked_for_wakes_no_dispatch(house):
    draft = Draft(
        message_id=an_id("m1"), conversation_id="c1", sender="ana", payload=a_text(), request_read_receipt=True
    )
    await house.timeline.accept(TENANT, draft, source="/functions/send", traceparent=None)
    receipt = ReceiptReported(
        conversation_id="c1", user_id="bia", kind=ReceiptKind.READ, from_seq=1, to_seq=1, at=house.clock.now()
    )
    (event,) = await house.hears(receipt)
    assert woken(event) == set(), "sockets are told of the range"
    await house.subscribe("message.read")
    (event,) = await house.hears(receipt)
    assert woken(event) == {"webhook-dispatch"}

"""How far a page of messages has come, without a look at every recipient of every message (A8, A9)."""

from datetime import timedelta

import pytest

from events.vocabulary import ReceiptKind, Status
from shared.repositories.conversations import Conversations
from shared.repositories.deliveries import Deliveries
from shared.repositories.receipts import Receipts
from shared.repositories.statuses import Statuses
from shared.testing.build import NOON, a_message_accepted
from shared.testing.memory_ports import open_memory

ROSTER = {"ana": NOON, "bruno": NOON, "carla": NOON}
LATER = NOON + timedelta(seconds=1)


@pytest.fixture
async def ports():
    async with open_memory({}) as opened:
        yield opened


def statuses_over(ports):
    return Statuses(Conversations(ports.tables, ports.clock), Deliveries(ports.tables), Receipts(ports.tables))


def page(count, **changes):
    fields = {"conversation": "talk", "sender": "ana", "channels": ("chat4all",), "to": None, "routing": "none"}
    return [a_message_accepted(f"m{seq}", seq=seq, **{**fields, **changes}) for seq in range(1, count + 1)]


async def test_a_message_is_as_far_as_the_last_of_its_recipients(ports):
    receipts = Receipts(ports.tables)
    await receipts.up_to("acme", "talk", "bruno", ReceiptKind.READ, 3, LATER)
    await receipts.up_to("acme", "talk", "carla", ReceiptKind.READ, 1, LATER)
    await receipts.up_to("acme", "talk", "carla", ReceiptKind.DELIVERED, 2, LATER)
    found = await statuses_over(ports).statuses("acme", page(3), ROSTER)
    assert found == [Status.READ, Status.DELIVERED, Status.SENT]


async def test_the_short_way_and_the_long_way_agree(ports):
    receipts = Receipts(ports.tables)
    await receipts.up_to("acme", "talk", "bruno", ReceiptKind.READ, 2, LATER)
    await receipts.one("acme", "talk", "carla", ReceiptKind.READ, 2, LATER)
    for changes in ({}, {"to": ("bruno",)}, {"to": ("bruno", "carla")}, {"sender": "bruno"}, {"sender": "nobody"}):
        short = await statuses_over(ports).statuses("acme", page(3, **changes), ROSTER)
        long = await statuses_over(ports).statuses("acme", page(3, **{**changes, "routing": "needed"}), ROSTER)
        assert short == long, changes


async def test_who_joined_later_does_not_hold_a_message_back(ports):
    await Receipts(ports.tables).up_to("acme", "talk", "bruno", ReceiptKind.READ, 1, LATER)
    found = await statuses_over(ports).statuses("acme", page(1), {"ana": NOON, "bruno": NOON, "dora": LATER})
    assert found == [Status.READ]


async def test_two_hundred_single_reads_do_not_hide_a_range_behind_them(ports):
    receipts = Receipts(ports.tables)
    for seq in range(101, 301):
        await receipts.one("acme", "talk", "bruno", ReceiptKind.READ, seq, LATER)
    await receipts.up_to("acme", "talk", "bruno", ReceiptKind.READ, 400, LATER)
    assert [report.status for report in await receipts.reported("acme", "talk", "bruno", 50)] == [Status.READ]


async def test_reading_up_to_the_same_number_again_gives_the_same_range(ports):
    receipts = Receipts(ports.tables)
    first = await receipts.up_to("acme", "talk", "bruno", ReceiptKind.READ, 7, LATER)
    assert await receipts.up_to("acme", "talk", "bruno", ReceiptKind.READ, 7, LATER) == first

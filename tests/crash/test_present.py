"""Who looks after what is parked: a campaign waits for all that comes back, and says what did not."""

import asyncio
from typing import Any

import pytest

from functions.record_status.func import UNMATCHED
from shared.domain.backoff import PARKED_SCHEDULE
from shared.runtime import wiring
from shared.testing import campaign as campaigns
from shared.testing.campaign import Campaign, Room
from shared.testing.crash import Plan, is_of_a_lost_answer
from shared.testing.history import Quiesced, Send, Target
from shared.testing.http1 import Answer, Client, Done
from shared.testing.present import Present
from shared.testing.providers import Providers
from shared.testing.tenant import Tenant


class Parking(Tenant):
    """Two pages of what is parked: one event that matters behind many that stay."""

    async def call(self, method: str, path: str, body: Any = None, *, act_as: str | None = None) -> Answer:
        if "cursor=a%2Fb" in path:
            return Answer(
                200, body=b'{"items": [{"event": {"id": "e9", "data": {}}, "reason": "timeout"}], "next_cursor": null}'
            )
        item = b'{"event": {"id": "e1", "data": {}}, "reason": "answered 503 %s"}' % UNMATCHED.encode()
        return Answer(200, body=b'{"items": [%s], "next_cursor": "a/b"}' % b",".join([item] * 200))


def sent(room: Room, n: int) -> Send:
    return Send("acme", "g", "m", n, f"m{n}", "text", 0, 0, 0, 202, n + 1, targets=room.targets)


class Idle(Client):
    async def call(self, method: str, path: str, body: Any = None, *, headers: Any = None) -> Answer:
        return Answer(200)


@pytest.fixture
def present(tmp_path):
    tenant = Parking(Client(1), "acme", "c", "s")
    return Present(Providers("http://nowhere.invalid", tmp_path), [tenant], is_of_a_lost_answer)


async def test_what_is_parked_is_read_to_the_last_page(present):
    assert await present.pending() == ["parked e9"]


async def test_what_kept_a_campaign_from_rest_is_named(present):
    campaign = Campaign(Idle(1), [], seed=1)

    async def nothing(_: Campaign) -> None:
        return

    (quiesced,) = await campaign.run(nothing, patience=0, beside=present)
    assert isinstance(quiesced, Quiesced)
    assert (quiesced.unfinished, "parked e9" in quiesced.detail) == (1, True)


class Slow(Idle):
    """Says that a message is SENT once eight were asked after, and before that nothing."""

    def __init__(self) -> None:
        super().__init__(1)
        self._asked = 0
        self._together = asyncio.Event()
        self._answers: list[asyncio.Future[None]] = []

    def send(self, request: bytes, done: Done) -> None:
        async def answer() -> None:
            self._asked += 1
            if self._asked == 8:
                self._together.set()
            try:
                async with asyncio.timeout(10):
                    await self._together.wait()
            except TimeoutError:
                done(Answer(503))
            else:
                done(Answer(200, body=b'{"deliveries": [{"recipient": "r", "channel": "c", "status": "SENT"}]}'))

        self._answers.append(asyncio.ensure_future(answer()))


async def test_many_messages_are_asked_after_at_once():
    """One after another, hundreds took longer than the patience on a cluster whose cores were busy."""
    client = Slow()
    room = Room(Tenant(client, "acme", "c", "s"), "g", ("m",), ("m",), (Target("r", "c", "a"),))
    campaign = Campaign(client, [room], seed=1)
    campaign.history = [sent(room, n) for n in range(8)]
    await campaign._rest(0, None)
    (quiesced,) = [one for one in campaign.history if isinstance(one, Quiesced)]
    assert quiesced.unfinished == 0, quiesced.detail


async def test_what_a_campaign_waits_for_is_told_while_it_waits(present, monkeypatch):
    monkeypatch.setattr(campaigns, "_SAID_EVERY", 0)
    told: asyncio.Queue[str] = asyncio.Queue()
    rest = asyncio.create_task(Campaign(Idle(1), [], seed=1, say=told.put_nowait)._rest(60, present))
    try:
        assert "parked e9" in await asyncio.wait_for(told.get(), 30)
    finally:
        rest.cancel()


@pytest.mark.parametrize(
    ("reason", "data", "stays"),
    [
        (f"answered 503 {UNMATCHED}", {"provider_message_id": "m1"}, True),
        (f"answered 503 {UNMATCHED}", {"delivery_id": "d1"}, False),
        ("answered 503 the table is away", {"provider_message_id": "m1"}, False),
    ],
)
def test_only_a_report_that_names_no_delivery_is_not_waited_for(reason, data, stays):
    """A delivery is written before its call: whoever names one that is unknown has found a mistake of ours."""
    assert is_of_a_lost_answer({"reason": reason, "event": {"id": "e1", "data": data}}) is stays


def test_a_campaign_waits_longer_than_what_was_parked_twice_is_away():
    delivery = next(one.delivery for one in wiring.read().triggers if one.name == "record-status")
    assert delivery.timeout is not None
    tried = (delivery.retry + 1) * delivery.timeout + sum(delivery.pause(n + 1) for n in range(delivery.retry))
    paused = sum(pause.total_seconds() for pause in PARKED_SCHEDULE[:2]) * 1.2
    (tick,) = (timer.every for timer in wiring.read().timers if timer.name == "redrive")
    assert Plan().patience > 2 * tried + paused + 2 * tick

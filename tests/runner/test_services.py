"""Several Triggers of one service: one group, one reader, each with its own way of calling (E1, E6; ADR 29)."""

import asyncio
import io
import json

import pytest

from events import CloudEvent
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.observability.log import write_to
from shared.runtime.partition_runner import PartitionRunner
from shared.runtime.subscriber import Answer, Headers
from shared.runtime.trigger_runner import Pace
from shared.runtime.wiring import Delivery, Trigger
from shared.testing.contracts.record_log import cloudevent
from shared.testing.grouped_log import GroupedLog, runner_over
from shared.testing.scripted import Scripted, local

TYPE = cloudevent("1").attributes["type"]
SINK = Delivery(retry=3, delay=0.2, timeout=2.0, dead_letter="sink")
EVERY = Trigger("every", "chat4all", {"type": TYPE}, "f", SINK)
WHATSAPP = Trigger("whatsapp", "chat4all", {"channel": "whatsapp"}, "f", SINK)


@pytest.fixture
def log() -> GroupedLog:
    return GroupedLog(partitions=2)


async def started(log: GroupedLog, function: Scripted, *triggers: Trigger, pace: Pace | None = None) -> PartitionRunner:
    subscribers = local({"f": function, "sink": Scripted()})
    runner = PartitionRunner(triggers, subscribers, log, log.append, pace=pace)
    await runner.start()
    return runner


async def test_an_event_is_called_for_each_trigger_that_it_matches(log: GroupedLog) -> None:
    function = Scripted()
    runner = await started(log, function, EVERY, WHATSAPP)
    await log.append(cloudevent("both", channel="whatsapp"), cloudevent("one"), cloudevent("none", type="other"))
    await asyncio.sleep(2)
    assert sorted(function.ids) == ["both", "both", "one"]
    assert log.offsets == {EVERY.service_group: 3}
    await runner.stop()


async def test_what_one_trigger_has_not_finished_holds_back_the_service_and_not_the_other_s_lag(
    log: GroupedLog,
) -> None:
    slow = Trigger("slow", "chat4all", {"channel": "whatsapp"}, "f", Delivery(3, True, 10.0, 2.0, "sink"))
    function = Scripted(Answer(503), Answer(204))
    runner = await started(log, function, slow, EVERY)
    await log.append(*(cloudevent(str(n), channel="whatsapp" if n == 0 else "none") for n in range(5)))
    await asyncio.sleep(5)
    assert log.offsets == {EVERY.service_group: 0}
    standings = {one.trigger.name: (one.lag, one.in_flight) for one in runner.standings()}
    assert standings == {"slow": (5, 1), "every": (0, 0)}
    await asyncio.sleep(20)
    assert log.offsets == {EVERY.service_group: 5}
    await runner.stop()


async def test_a_hundred_that_wait_for_a_late_trigger_do_not_hold_up_the_other_of_its_service(log: GroupedLog) -> None:
    """ADR 46: however few calls are made at once."""
    late = Trigger("late", "chat4all", {"channel": "whatsapp"}, "f", Delivery(0, True, 10.0, 2.0, "sink"))
    quick = Trigger("quick", "chat4all", {"channel": "instagram"}, "f", Delivery(0, True, 10.0, 2.0, "sink"))
    began: dict[str, float] = {}

    class Function:
        address = "http://f"

        async def call(self, event: CloudEvent, headers: Headers, within: float | None) -> Answer | None:
            began[event.attributes["id"]] = asyncio.get_running_loop().time()
            await asyncio.sleep(within or 0 if event.attributes["channel"] == "whatsapp" else 0)
            return None if event.attributes["channel"] == "whatsapp" else Answer(204)

    runner = runner_over(log, [late, quick], local({"sink": Scripted()}, ("f", Function())))
    await runner.start()
    for n in range(10):
        await log.append(cloudevent(f"first {n}", channel="whatsapp"))
        await asyncio.sleep(3)
    assert {one.trigger.name: one.call_limit for one in runner.standings()} == {"late": 5, "quick": 100}
    await log.append(*(cloudevent(f"late {n}", channel="whatsapp") for n in range(105)))
    await log.append(*(cloudevent(f"quick {n}", channel="instagram") for n in range(50)))
    appended = asyncio.get_running_loop().time()
    await asyncio.sleep(60)
    assert all(began[f"quick {n}"] - appended < 0.5 for n in range(50))
    assert len(began) == 165
    await runner.stop()


class Silent:
    """Never answers."""

    address = "http://f"

    def __init__(self) -> None:
        self.calls: list[tuple[str, float]] = []

    async def call(self, event: CloudEvent, headers: Headers, within: float | None) -> Answer | None:
        self.calls.append((event.attributes["id"], asyncio.get_running_loop().time()))
        await asyncio.sleep(within or 0)
        return None


async def test_a_retry_does_not_come_after_all_that_wait_for_their_first_call(log: GroupedLog) -> None:
    function = Silent()
    runner = runner_over(log, [EVERY], local({"sink": Scripted()}, ("f", function)))
    await runner.start()
    await log.append(*(cloudevent(str(n)) for n in range(1000)))
    await asyncio.sleep(300)
    tries = [at for event_id, at in function.calls if event_id == "0"]
    assert len(tries) == 1 + SINK.retry
    assert tries[-1] - tries[0] < 150
    await runner.stop()


async def test_nothing_is_begun_by_who_stops_though_the_log_does_not_answer(log: GroupedLog) -> None:
    function = Silent()
    runner = runner_over(log, [EVERY], local({"sink": Scripted()}, ("f", function)), pace=Pace(calls=10))
    await runner.start()
    await log.append(*(cloudevent(str(n)) for n in range(200)))
    await asyncio.sleep(5)
    async with log.away():
        calls = len(function.calls)
        await runner.stop(grace=10)
        await asyncio.sleep(20)
        assert len(function.calls) == calls


async def test_a_trigger_at_its_limit_goes_on_when_what_filled_it_went_with_its_partition(log: GroupedLog) -> None:
    function = Scripted(*[Answer(503)] * 4, Answer(204))
    runner = await started(log, function, EVERY, pace=Pace(unfinished=2))
    await log.append(*(cloudevent(str(n), partitionkey="k") for n in range(4)))
    await asyncio.sleep(0.1)
    assert len(set(function.ids)) == 2
    other = Scripted()
    second = await started(log, other, EVERY)
    await log.move(EVERY.service_group)
    await log.append(*(cloudevent(str(n), partitionkey=key) for n, key in enumerate("abcdefgh", 10)))
    await asyncio.sleep(30)
    assert log.offsets == {EVERY.service_group: 12}
    await runner.stop()
    await second.stop()


async def test_a_stop_does_not_wait_for_a_log_that_is_away(log: GroupedLog) -> None:
    runner = await started(log, Scripted(), EVERY)
    async with log.away():
        before = asyncio.get_running_loop().time()
        await runner.stop(grace=2)
        assert asyncio.get_running_loop().time() - before == pytest.approx(7)


class Defective:
    """What no subscriber may do: it raises, the first time."""

    def __init__(self) -> None:
        self.address = "http://f"
        self.ids: list[str] = []
        self._broken = True

    async def call(self, event: CloudEvent, headers: Headers, within: float | None) -> Answer:
        if self._broken:
            self._broken = False
            raise RuntimeError("a defect of ours")
        self.ids.append(event.attributes["id"])
        return Answer(204)


@pytest.mark.parametrize("log", [MemoryRecordLog(), GroupedLog()], ids=["one-log", "partitions"])
async def test_an_event_that_broke_its_dispatch_is_told_by_liveness(log: MemoryRecordLog) -> None:
    runner = runner_over(log, [EVERY], {"f": Defective(), "sink": Defective()})
    await runner.start()
    assert runner.alive()[0]
    await log.append(cloudevent("1"))
    await asyncio.sleep(5)
    assert not runner.alive()[0]
    await runner.stop()


async def test_who_gets_a_partition_back_goes_on_after_a_defect(log: GroupedLog) -> None:
    """The event that broke takes its room with it, and whoever holds the partition next repeats it."""
    defective, other = Defective(), Scripted()
    subscribers = {"f": defective, "sink": defective}
    first = PartitionRunner([EVERY], subscribers, log, log.append, pace=Pace(unfinished=1))
    await first.start()
    await log.append(cloudevent("1", partitionkey="k"))
    await asyncio.sleep(5)
    second = await started(log, other, EVERY)
    await log.move(EVERY.service_group)
    await asyncio.sleep(5)
    assert other.ids == ["1"]
    assert first.alive()[0], "what broke is somebody else's now"
    await second.stop()
    await log.append(cloudevent("2", partitionkey="k"))
    await asyncio.sleep(5)
    assert defective.ids == ["2"]
    await first.stop()


async def test_processes_that_differ_in_their_triggers_can_be_told_by_their_lines(log: GroupedLog) -> None:
    """While both run, one passes over what only the other wants (ADR 29)."""
    written = io.StringIO()
    write_to(written)
    for triggers in ([EVERY], [EVERY, WHATSAPP], [WHATSAPP, EVERY]):
        await (await started(log, Scripted(), *triggers)).stop()
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    joined = [line for line in lines if line["message"] == "joins the group of a service"]
    assert [(line["service"], line["triggers"]) for line in joined] == [("f", 1), ("f", 2), ("f", 2)]
    assert joined[0]["filters"] != joined[1]["filters"] == joined[2]["filters"]

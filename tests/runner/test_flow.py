"""Concurrency, offsets, crashes and the life of a Trigger: the observed broker, sections 4 to 6 (E1, E5)."""

import asyncio
from typing import Any

import pytest

from shared.adapters.memory.record_log import MemoryRecordLog
from shared.domain.errors import Unavailable
from shared.observability import metrics
from shared.ports.event_log import LoggedEvent
from shared.runtime.subscriber import Answer
from shared.runtime.trigger_runner import Pace, Runner
from shared.runtime.wiring import Delivery, Trigger
from shared.runtime.wiring_error import WiringError
from shared.testing.contracts.record_log import cloudevent
from shared.testing.grouped_log import group_of, runner_over
from shared.testing.scripted import NoAnswer, OneProcessor, Scripted, Slow, local

TYPE = cloudevent("1").attributes["type"]
RETRY = Delivery(retry=3, delay=0.2, timeout=2.0, dead_letter="sink")


def trigger(name: str = "t", service: str = "f", delivery: Delivery = RETRY, **attributes: str) -> Trigger:
    return Trigger(name, "chat4all", {"type": TYPE, **attributes}, service, delivery)


async def started(log: MemoryRecordLog, *triggers: Trigger, pace: Pace | None = None, **functions: Scripted) -> Runner:
    runner = runner_over(log, triggers or [trigger()], local({"sink": Scripted(), **functions}), pace=pace)
    await runner.start()
    return runner


async def kill() -> None:
    """What kill -9 leaves of a runner in this process: nothing runs on, nothing is committed any more."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


async def test_up_to_a_hundred_calls_run_at_once_and_none_is_timed_out_while_it_waits(log: MemoryRecordLog) -> None:
    function = Scripted(Slow(1.5))
    runner = await started(log, f=function)
    await log.append(*(cloudevent(str(n)) for n in range(900)))
    await asyncio.sleep(20)
    assert function.most_at_once == 100
    assert sorted(function.ids, key=int) == [str(n) for n in range(900)]
    assert function.cut == 0
    await runner.stop()
    assert log.offsets[group_of(log, trigger())] == 900


async def test_events_that_follow_one_in_retry_overtake_it_even_with_the_same_key(log: MemoryRecordLog) -> None:
    function = Scripted(Answer(503), Answer(204))
    runner = await started(log, f=function)
    await log.append(*(cloudevent(str(n), partitionkey="c1") for n in range(4)))
    await asyncio.sleep(5)
    assert function.ids == ["0", "1", "2", "3", "0"]
    assert function.times[3] == function.times[0]
    await runner.stop()


async def test_events_in_retry_take_no_room_from_calls(log: MemoryRecordLog) -> None:
    function = Scripted(*[Answer(503)] * 300, Answer(204))
    runner = await started(log, f=function, pace=Pace(calls=10))
    await log.append(*(cloudevent(str(n)) for n in range(301)))
    await asyncio.sleep(0.1)
    assert "300" in function.ids
    await runner.stop()


async def test_a_service_that_cannot_take_a_hundred_calls_gets_as_many_as_it_answers_in_time(
    log: MemoryRecordLog,
) -> None:
    """ADR 46: with a hundred at once each would take ten seconds, be given up after two, and all be dead letters."""
    function, sink = OneProcessor(0.1), Scripted()
    runner = runner_over(log, [trigger()], local({"sink": sink}, ("f", function)))
    await runner.start()
    await log.append(*(cloudevent(str(n)) for n in range(1000)))
    await asyncio.sleep(200)
    assert function.done == {str(n) for n in range(1000)}
    assert sink.ids == []
    assert function.calls < 1500
    assert runner.standings()[0].call_limit < 40
    function.seconds = 0.001
    await log.append(*(cloudevent(str(n)) for n in range(1000, 9000)))
    await asyncio.sleep(30)
    assert len(function.done) == 9000
    assert runner.standings()[0].call_limit == 100
    await runner.stop()


@pytest.mark.parametrize(
    ("answer", "limit", "late"),
    [
        (Answer(204), 51, 1),
        (Answer(422), 51, 1),
        (Answer(429), 50, 1),
        (Answer(503), 50, 1),
        (Answer(504), 5, 52),
        (Slow(5), 25, 51),
    ],
    ids=lambda value: str(getattr(value, "status", value)),
)
async def test_what_an_answer_means_to_the_number_of_calls(
    log: MemoryRecordLog, answer: Answer | Slow, limit: int, late: int
) -> None:
    """ADR 46: one that came in time raises it, one that is late halves it, who is away or ill says nothing."""
    counted = metrics.calls_late.labels("t")._value
    before = counted.get()
    once = trigger(delivery=Delivery(retry=0, timeout=2.0, dead_letter="sink"))
    runner = await started(log, once, f=Scripted(Slow(5), answer))
    await log.append(cloudevent("late"))
    await asyncio.sleep(3)
    assert runner.standings()[0].call_limit == 50
    for n in range(51):
        await log.append(cloudevent(str(n)))
        await asyncio.sleep(0 if isinstance(answer, Slow) else 0.1)
    await asyncio.sleep(3)
    assert runner.standings()[0].call_limit == limit
    assert counted.get() - before == late
    await runner.stop()


async def test_who_is_away_or_takes_no_dead_letters_is_not_late(log: MemoryRecordLog) -> None:
    away = runner_over(log, [trigger()], local({"sink": Scripted(Slow(5))}, ("f", NoAnswer())))
    await away.start()
    await log.append(*(cloudevent(str(n)) for n in range(20)))
    await asyncio.sleep(60)
    assert away.standings()[0].call_limit == 100
    await away.stop()


async def test_a_call_that_is_cut_at_the_end_is_not_late(log: MemoryRecordLog) -> None:
    function = Scripted(Slow(1.95))
    runner = await started(log, f=function)
    await log.append(cloudevent("1"))
    await asyncio.sleep(1.8)
    await runner.stop(grace=0.1)
    assert function.cut == 1
    assert runner.standings()[0].call_limit == 100


async def test_a_trigger_that_holds_too_many_unfinished_events_stops_reading(log: MemoryRecordLog) -> None:
    function = Scripted(*[Answer(503)] * 50, Answer(204))
    runner = await started(log, f=function, pace=Pace(unfinished=20))
    await log.append(*(cloudevent(str(n)) for n in range(100)))
    await asyncio.sleep(0.3)
    assert len(set(function.ids)) == 20
    await asyncio.sleep(60)
    assert set(function.ids) == {str(n) for n in range(100)}
    await runner.stop()
    assert log.offsets[group_of(log, trigger())] == 100


async def test_a_slow_trigger_does_not_hold_up_another(log: MemoryRecordLog) -> None:
    slow, quick = Scripted(Slow(1.9)), Scripted()
    runner = await started(log, trigger("slow", "slow"), trigger("quick", "quick"), slow=slow, quick=quick)
    await log.append(*(cloudevent(str(n)) for n in range(1000)))
    await asyncio.sleep(0.5)
    assert (len(quick.calls), len(slow.calls)) == (1000, 100)
    await asyncio.sleep(30)
    assert sorted(slow.ids, key=int) == [str(n) for n in range(1000)]
    await runner.stop()


async def test_a_trigger_that_fell_behind_keeps_up_again_and_sees_each_event_once(log: MemoryRecordLog) -> None:
    function = Scripted(*[Slow(1.0)] * 250, Answer(204))
    runner = await started(log, f=function)
    for start in range(0, 1000, 10):
        await log.append(*(cloudevent(str(n)) for n in range(start, start + 10)))
        await asyncio.sleep(0.05)
    await asyncio.sleep(30)
    assert sorted(function.ids, key=int) == [str(n) for n in range(1000)]
    assert [standing.lag for standing in runner.standings()] == [0]
    await runner.stop()


async def test_filters_match_exactly_and_an_event_that_matches_nothing_only_advances_the_offset(
    log: MemoryRecordLog,
) -> None:
    function, everything = Scripted(), Scripted()
    of_whatsapp = trigger("t", "f", channel="whatsapp")
    of_timer = Trigger("timer", "chat4all", {"timer": "redrive"}, "g", RETRY)
    runner = await started(log, of_whatsapp, of_timer, f=function, g=everything)
    await log.append(
        cloudevent("1", channel="whatsapp"),
        cloudevent("2", channel="whatsapp2"),
        cloudevent("3"),
        cloudevent("4", channel="whatsapp", type="chat4all.tests.other.v1"),
        cloudevent("5", timer="redrive", type="dev.knative.sources.ping"),
    )
    await asyncio.sleep(5)
    assert (function.ids, everything.ids) == (["1"], ["5"])
    assert log.offsets == {group_of(log, of_whatsapp): 5, group_of(log, of_timer): 5}
    await runner.stop()


async def test_only_the_gap_free_prefix_is_committed(log: MemoryRecordLog) -> None:
    function = Scripted(Answer(204), Slow(1.9), Answer(204))
    runner = await started(log, f=function)
    await log.append(*(cloudevent(str(n)) for n in range(5)))
    await asyncio.sleep(1.3)
    assert len(function.calls) == 5
    assert log.offsets[group_of(log, trigger())] == 1
    await asyncio.sleep(10)
    assert log.offsets[group_of(log, trigger())] == 5
    await runner.stop()


async def test_offsets_are_committed_only_when_they_moved(log: MemoryRecordLog) -> None:
    class Counting(MemoryRecordLog):
        commits = 0

        async def commit(self, group: str, offset: int) -> None:
            self.commits += 1
            await super().commit(group, offset)

    counting, function = Counting(), Scripted()
    runner = await started(counting, f=function)
    await counting.append(cloudevent("1"))
    await asyncio.sleep(3600)
    await runner.stop()
    assert counting.commits == 2  # the group's beginning, and one event


async def test_an_event_in_retry_starts_again_after_a_crash_and_no_counter_survives(log: MemoryRecordLog) -> None:
    function, sink = Scripted(Answer(503)), Scripted()
    await started(log, f=function, sink=sink)
    await log.append(cloudevent("1"))
    await asyncio.sleep(0.5)
    assert len(function.calls) == 2
    await kill()
    runner = await started(log, f=function, sink=sink)
    await asyncio.sleep(10)
    assert (len(function.calls), len(sink.calls)) == (2 + 4, 1)
    await runner.stop()


async def test_a_call_that_a_crash_cut_is_made_again(log: MemoryRecordLog) -> None:
    function = Scripted(Slow(1.0))
    await started(log, f=function)
    await log.append(cloudevent("1"))
    await asyncio.sleep(0.5)
    await kill()
    runner = await started(log, f=function)
    await asyncio.sleep(2)
    assert (function.ids, function.cut) == (["1", "1"], 1)
    await runner.stop()


async def test_what_was_done_but_not_committed_is_delivered_again_after_a_crash(log: MemoryRecordLog) -> None:
    function = Scripted()
    await started(log, f=function)
    await log.append(cloudevent("1"))
    await asyncio.sleep(0.5)
    await kill()
    runner = await started(log, f=function)
    await asyncio.sleep(5)
    assert function.ids == ["1", "1"]
    await runner.stop()


async def test_what_was_published_meanwhile_is_delivered_once(log: MemoryRecordLog) -> None:
    function = Scripted()
    await started(log, f=function)
    await asyncio.sleep(2)
    await kill()
    await log.append(cloudevent("1"), cloudevent("2"))
    runner = await started(log, f=function)
    await asyncio.sleep(5)
    assert function.ids == ["1", "2"]
    await runner.stop()


async def test_a_dead_letter_that_its_sink_had_not_taken_survives_a_crash(log: MemoryRecordLog) -> None:
    function, sink = Scripted(Answer(400)), Scripted(*[Answer(500)] * 5, Answer(204))
    await started(log, f=function, sink=sink)
    await log.append(cloudevent("1"))
    await asyncio.sleep(3)
    await kill()
    runner = await started(log, f=function, sink=sink)
    await asyncio.sleep(10)
    assert len(sink.calls) == 6
    assert log.offsets[group_of(log, trigger())] == 1
    await runner.stop()


async def test_a_stop_lets_calls_end_and_commits_them(log: MemoryRecordLog) -> None:
    """Better than the real one, which cuts them."""
    function = Scripted(Slow(1.5))
    runner = await started(log, f=function)
    await log.append(cloudevent("1"))
    await asyncio.sleep(0.5)
    await runner.stop(grace=5)
    assert (function.cut, log.offsets[group_of(log, trigger())]) == (0, 1)
    again = await started(log, f=function)
    await asyncio.sleep(5)
    assert function.ids == ["1"]
    await again.stop()


async def test_a_stop_cuts_what_outlasts_its_grace_and_what_waits_for_a_retry(log: MemoryRecordLog) -> None:
    function = Scripted(Answer(503), Slow(60))
    runner = await started(log, trigger(delivery=Delivery(3, False, 10.0, None, "sink")), f=function)
    await log.append(cloudevent("1"), cloudevent("2"))
    await asyncio.sleep(0.5)
    before = asyncio.get_running_loop().time()
    await runner.stop(grace=2)
    assert asyncio.get_running_loop().time() - before == pytest.approx(2)
    assert (function.cut, log.offsets[group_of(log, trigger())]) == (1, 0)
    assert len(asyncio.all_tasks()) == 1


async def test_a_new_trigger_starts_at_the_head_even_when_it_crashed_before_its_first_event(
    log: MemoryRecordLog,
) -> None:
    function = Scripted()
    await log.append(cloudevent("before"))
    await started(log, f=function)
    await kill()
    await log.append(cloudevent("after"))
    runner = await started(log, f=function)
    await asyncio.sleep(2)
    assert function.ids == ["after"]
    await runner.stop()


async def test_a_group_outlives_its_trigger(log: MemoryRecordLog) -> None:
    function, other = Scripted(), Scripted()
    await (await started(log, f=function)).stop()
    runner = await started(log, trigger("other", "g"), g=other)
    await log.append(cloudevent("between"))
    await asyncio.sleep(2)
    await runner.stop()
    again = await started(log, f=function)
    await asyncio.sleep(2)
    assert function.ids == ["between"]
    await again.stop()


async def test_an_idle_runner_sleeps(log: MemoryRecordLog) -> None:
    runner = await started(log, f=Scripted())
    await asyncio.sleep(0.1)
    loop = asyncio.get_running_loop()
    turns = 0

    original = loop.call_soon

    def counted(*args: Any, **kwargs: Any) -> asyncio.Handle:
        nonlocal turns
        turns += 1
        return original(*args, **kwargs)

    loop.call_soon = counted  # type: ignore
    await asyncio.sleep(600)
    assert turns < 100  # ten waits of a minute, a few steps each
    await runner.stop()


async def test_a_log_that_cannot_be_read_for_a_while_holds_nothing_up_for_good(log: MemoryRecordLog) -> None:
    class Flaky(MemoryRecordLog):
        failures = 3

        async def read(self, *, after: int, limit: int, wait: float = 0) -> "list[LoggedEvent]":
            if self.failures:
                self.failures -= 1
                raise Unavailable("the disk is full")
            return list(await super().read(after=after, limit=limit, wait=wait))

    flaky, function = Flaky(), Scripted()
    runner = await started(flaky, f=function)
    await flaky.append(cloudevent("1"))
    await asyncio.sleep(10)
    assert function.ids == ["1"]
    assert runner.alive() == (True, "alive")
    await runner.stop()


async def test_a_trigger_whose_service_nothing_serves_stops_the_start(log: MemoryRecordLog) -> None:
    with pytest.raises(WiringError, match="nothing serves 'g' here"):
        runner_over(log, [trigger("t", "g")], local({"f": Scripted()}))


async def test_lag_and_events_in_flight_are_gauges_by_trigger(log: MemoryRecordLog) -> None:
    runner = await started(log, f=Scripted(Slow(1.0)))
    await log.append(cloudevent("1"), cloudevent("2"))
    await asyncio.sleep(0.5)
    samples = {sample.name: (sample.labels, sample.value) for family in runner.collect() for sample in family.samples}
    assert samples == {
        "chat4all_trigger_lag_events": ({"trigger": "t"}, 2),
        "chat4all_trigger_in_flight": ({"trigger": "t"}, 2),
        "chat4all_trigger_call_limit": ({"trigger": "t"}, Pace().calls),
    }
    await runner.stop()

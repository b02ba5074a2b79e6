"""Which answers are done, retried or dead, and what a body means: the observed broker, sections 2 and 3 (E1)."""

import asyncio
import base64

import pytest

from events import CloudEvent
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.domain.errors import Unavailable
from shared.runtime.subscriber import Answer, Subscriber
from shared.runtime.wiring import Delivery, Trigger
from shared.testing.contracts.record_log import cloudevent
from shared.testing.grouped_log import group_of, runner_over
from shared.testing.scripted import NoAnswer, Scripted, Slow, local

TYPE = cloudevent("1").attributes["type"]
RETRY = Delivery(retry=3, delay=0.2, timeout=2.0, dead_letter="sink")
ADDRESS = "http://f.chat4all.svc.cluster.local"


def trigger(delivery: Delivery = RETRY, name: str = "t") -> Trigger:
    return Trigger(name, "chat4all", {"type": TYPE}, "f", delivery)


async def run(
    log: MemoryRecordLog,
    function: Scripted | Subscriber,
    *,
    delivery: Delivery = RETRY,
    sink: Scripted | None = None,
    event: CloudEvent | None = None,
    seconds: float = 1000,
) -> Scripted:
    """One event through one Trigger, and ``seconds`` for what comes of it; the dead letter sink."""
    sink = sink or Scripted()
    if isinstance(function, Scripted):
        subscribers = local({"f": function, "sink": sink})
    else:
        subscribers = local({"sink": sink}, ("f", function))
    runner = runner_over(log, [trigger(delivery)], subscribers)
    await runner.start()
    await log.append(event or cloudevent("1"))
    await asyncio.sleep(seconds)
    await runner.stop()
    return sink


REPLY = CloudEvent(
    {**cloudevent("reply").attributes, "type": "chat4all.tests.replied.v1", "partitionkey": "mine"}, b"{}"
)
BINARY = REPLY.to_binary()


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_a_2xx_with_an_empty_body_is_done(log: MemoryRecordLog, status: int) -> None:
    function = Scripted(Answer(status))
    sink = await run(log, function)
    assert (len(function.calls), len(sink.calls)) == (1, 0)
    assert log.offsets == {group_of(log, trigger()): 1}


@pytest.mark.parametrize("content_type", [b"text/plain", b"application/json", b"application/cloudevents+json"])
async def test_an_empty_body_is_done_whatever_its_content_type(log: MemoryRecordLog, content_type: bytes) -> None:
    function = Scripted(Answer(200, [(b"content-type", content_type)]))
    sink = await run(log, function)
    assert (len(function.calls), len(sink.calls), len(log.records)) == (1, 0, 1)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, BINARY[0], BINARY[1]),
        Answer(202, BINARY[0], BINARY[1]),
        Answer(200, [(b"content-type", b"application/cloudevents+json")], REPLY.to_structured()),
    ],
    ids=["200 binary", "202 binary", "structured"],
)
async def test_a_cloudevent_in_a_2xx_is_a_reply_with_its_own_key(log: MemoryRecordLog, answer: Answer) -> None:
    sink = await run(log, Scripted(answer))
    assert [dict(record.event.attributes) for record in log.records[1:]] == [dict(REPLY.attributes)]
    assert log.records[1].event.data == b"{}"
    assert sink.calls == []


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([], b"OK"),
        ([(b"content-type", b"text/plain")], b"OK"),
        ([(b"content-type", b"application/json")], b'{"ok": true}'),
        ([(b"content-type", b"text/html")], b"<html></html>"),
        ([(b"content-type", b"application/cloudevents+json")], b'{"id": '),
        ([(b"content-type", b"application/cloudevents-batch+json")], b"[]"),
        ([(b"ce-specversion", b"1.0"), (b"ce-id", b"1")], b"{}"),
    ],
    ids=["bare", "text", "json", "html", "broken", "batch", "no source or type"],
)
async def test_a_2xx_with_any_other_body_is_dead_at_once_with_only_its_address(
    log: MemoryRecordLog, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    function = Scripted(Answer(status, headers, body))
    sink = await run(log, function)
    (letter,) = sink.calls
    assert len(function.calls) == 1
    assert [name for name in letter.headers if "knativeerror" in name] == ["ce-knativeerrordest"]
    assert letter.headers["ce-knativeerrordest"] == ADDRESS


async def test_a_cloudevent_in_a_500_is_retried_and_is_no_reply(log: MemoryRecordLog) -> None:
    function = Scripted(Answer(500, BINARY[0], BINARY[1]))
    sink = await run(log, function)
    assert (len(function.calls), len(sink.calls), len(log.records)) == (4, 1, 1)


async def test_a_cloudevent_from_the_dead_letter_sink_is_appended_as_well(log: MemoryRecordLog) -> None:
    sink = await run(log, Scripted(Answer(400)), sink=Scripted(Answer(200, BINARY[0], BINARY[1])))
    assert len(sink.calls) == 1
    assert [record.event.attributes["id"] for record in log.records] == ["1", "reply"]


@pytest.mark.parametrize("status", [301, 302, 307])
async def test_a_redirect_is_not_followed_and_is_dead_at_once(log: MemoryRecordLog, status: int) -> None:
    function = Scripted(Answer(status, [(b"location", b"http://elsewhere/")]))
    sink = await run(log, function)
    assert (len(function.calls), len(sink.calls)) == (1, 1)


@pytest.mark.parametrize("status", [400, 401, 403, 405, 410, 413, 414, 415, 421, 422, 425, 431, 451, 499])
@pytest.mark.parametrize("linear", [False, True])
async def test_most_4xx_are_dead_at_once(log: MemoryRecordLog, status: int, linear: bool) -> None:
    function = Scripted(Answer(status))
    sink = await run(log, function, delivery=Delivery(3, linear, 0.2, 2.0, "sink"))
    (letter,) = sink.calls
    assert len(function.calls) == 1
    assert letter.headers["ce-knativeerrorcode"] == str(status)


@pytest.mark.parametrize("status", [404, 408, 409, 429, 500, 501, 502, 503, 504, 505, 507, 511, 599])
async def test_what_may_pass_is_retried_with_exact_exponential_pauses(log: MemoryRecordLog, status: int) -> None:
    function = Scripted(Answer(status))
    sink = await run(log, function)
    assert function.pauses() == [0.4, 0.8, 1.6]
    assert len(sink.calls) == 1


async def test_linear_pauses_begin_at_one_delay(log: MemoryRecordLog) -> None:
    function = Scripted(Answer(503))
    await run(log, function, delivery=Delivery(3, True, 0.2, 2.0, "sink"))
    assert function.pauses() == [0.2, 0.4, 0.6]


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_has_no_effect(log: MemoryRecordLog, status: int) -> None:
    function = Scripted(Answer(status, [(b"retry-after", b"3")]))
    await run(log, function)
    assert function.pauses() == [0.4, 0.8, 1.6]


async def test_no_answer_is_retried_and_its_dead_letter_has_no_code(log: MemoryRecordLog) -> None:
    nobody = NoAnswer(ADDRESS)
    sink = await run(log, nobody)
    assert [round(time, 6) for time in nobody.times] == [0.0, 0.4, 1.2, 2.8]
    (letter,) = sink.calls
    assert letter.at == pytest.approx(2.8)
    assert [name for name in letter.headers if "knativeerror" in name] == ["ce-knativeerrordest"]


@pytest.mark.parametrize(("linear", "pauses"), [(False, [2.4, 2.8, 3.6]), (True, [2.2, 2.4, 2.6])])
async def test_a_timeout_cuts_the_call_and_the_pause_begins_at_the_cut(
    log: MemoryRecordLog, linear: bool, pauses: list[float]
) -> None:
    function = Scripted(Slow(60))
    sink = await run(log, function, delivery=Delivery(3, linear, 0.2, 2.0, "sink"))
    assert function.pauses() == pauses
    assert function.cut == 4
    (letter,) = sink.calls
    assert letter.at - function.times[0] == pytest.approx(4 * 2 + sum(pauses) - 6)
    assert "ce-knativeerrorcode" not in letter.headers


async def test_without_a_timeout_a_slow_answer_is_waited_for(log: MemoryRecordLog) -> None:
    function = Scripted(Slow(60))
    sink = await run(log, function, delivery=Delivery(3, False, 0.2, None, "sink"))
    assert (len(function.calls), function.cut, len(sink.calls)) == (1, 0, 0)


async def test_a_success_after_two_failures_ends_the_retries(log: MemoryRecordLog) -> None:
    function = Scripted(Answer(503), Answer(503), Answer(200))
    sink = await run(log, function)
    assert (len(function.calls), len(sink.calls)) == (3, 0)


async def test_ten_retries_are_not_capped(log: MemoryRecordLog) -> None:
    function = Scripted(Answer(503))
    await run(log, function, delivery=Delivery())
    assert function.pauses() == [0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8]


async def test_only_a_sink_means_no_retry(log: MemoryRecordLog) -> None:
    function = Scripted(Answer(503))
    sink = await run(log, function, delivery=Delivery(retry=0, dead_letter="sink"))
    assert (len(function.calls), len(sink.calls)) == (1, 1)


async def test_a_function_that_raises_or_sends_nothing_counts_as_500(log: MemoryRecordLog) -> None:
    class Broken(Scripted):
        async def handle(self, scope: object, receive: object, send: object) -> None:
            self.raised = True
            raise ValueError("a defect")

    class Silent(Scripted):
        async def handle(self, scope: object, receive: object, send: object) -> None:
            return

    for function in (Broken(), Silent()):
        sink = await run(log, function, delivery=Delivery(retry=0, dead_letter="sink"))
        assert sink.calls[0].headers["ce-knativeerrorcode"] == "500"


async def test_a_dead_letter_is_the_same_event_with_code_and_data_of_the_last_answer(log: MemoryRecordLog) -> None:
    body = bytes(range(256)) * 8
    function = Scripted(Answer(422, [], body))
    sink = await run(log, function, event=cloudevent("1", tenant="acme", subject="ä b"))
    (letter,) = sink.calls
    extra = {
        "ce-knativeerrordest": ADDRESS,
        "ce-knativeerrorcode": "422",
        "ce-knativeerrordata": base64.b64encode(body[:1024]).decode(),
    }
    assert dict(letter.headers) == {**function.calls[0].headers, **extra}
    assert len(letter.headers["ce-knativeerrordata"]) == 1368
    assert letter.body == function.calls[0].body
    assert letter.event.attributes["subject"] == "ä b"


async def test_an_empty_last_answer_gives_no_error_data(log: MemoryRecordLog) -> None:
    sink = await run(log, Scripted(Answer(422)))
    assert "ce-knativeerrordata" not in sink.calls[0].headers


async def test_a_delivery_is_binary_with_the_headers_of_the_real_one(log: MemoryRecordLog) -> None:
    function = Scripted()
    await run(log, function, event=cloudevent("1", tenant="acme"))
    (call,) = function.calls
    assert (call.scope["method"], call.scope["path"], call.scope["http_version"]) == ("POST", "/", "1.1")
    assert dict(call.headers) == {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "/tests",
        "ce-type": TYPE,
        "ce-partitionkey": "c1",
        "ce-tenant": "acme",
        "content-type": "application/json",
        "content-length": "8",
        "prefer": "reply",
        "kn-namespace": "chat4all",
        "ce-knativekafkapartition": "0",
        "ce-knativekafkaoffset": "1",
    }


async def test_an_event_without_data_has_no_content_length(log: MemoryRecordLog) -> None:
    function = Scripted()
    await run(log, function, event=CloudEvent(cloudevent("1").attributes))
    assert "content-length" not in function.calls[0].headers


async def test_no_sink_means_that_the_event_is_lost_and_the_next_ones_flow(log: MemoryRecordLog) -> None:
    function = Scripted(Answer(400), Answer(204))
    runner = runner_over(log, [trigger(Delivery(retry=3))], local({"f": function}))
    await runner.start()
    await log.append(cloudevent("1"), cloudevent("2"))
    await asyncio.sleep(5)
    assert function.ids == ["1", "2"]
    assert log.offsets == {group_of(log, trigger()): 2}
    await runner.stop()


async def test_a_dead_letter_whose_sink_fails_is_kept_until_the_sink_takes_it(log: MemoryRecordLog) -> None:
    """The real one loses it; later events flow here too, but the offset waits, so that a crash loses nothing."""
    function = Scripted(Answer(400), Answer(204))
    sink = Scripted(*[Answer(500)] * 12, Answer(204))
    runner = runner_over(log, [trigger()], local({"f": function, "sink": sink}))
    await runner.start()
    await log.append(cloudevent("1"), cloudevent("2"))
    await asyncio.sleep(100)
    assert function.ids == ["1", "2"]
    assert log.offsets == {group_of(log, trigger()): 0}
    await asyncio.sleep(1000)
    assert sink.pauses() == [0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0, 60.0, 60.0]
    assert set(sink.ids) == {"1"}
    assert log.offsets == {group_of(log, trigger()): 2}
    await runner.stop()


async def test_a_reply_that_cannot_be_appended_is_asked_for_again(log: MemoryRecordLog) -> None:
    class Full(MemoryRecordLog):
        refusals = 1

        async def append(self, *cloudevents: CloudEvent) -> None:
            if cloudevents[0].attributes["id"] == "reply" and self.refusals:
                self.refusals -= 1
                raise Unavailable
            await super().append(*cloudevents)

    full, function = Full(), Scripted(Answer(200, BINARY[0], BINARY[1]))
    await run(full, function)
    assert len(function.calls) == 2
    assert [record.event.attributes["id"] for record in full.records] == ["1", "reply"]

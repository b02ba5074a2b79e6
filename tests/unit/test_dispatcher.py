"""The dispatcher: what stands for Knative's broker where functions are Services and Kafka is ours (E6, E8)."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import httpx

from events.cloudevent import CloudEvent, from_http
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.runtime.dispatcher import Dispatcher
from shared.runtime.opened import Opened
from shared.runtime.trigger_runner import Pace, TriggerRunner
from shared.runtime.wiring import Delivery, Service, Timer, Trigger, Wiring
from shared.testing.memory_ports import open_memory

WIRED = Wiring(
    triggers=(Trigger("route", "chat4all", {"timer": "sweep"}, "sweep", Delivery(retry=0, timeout=5)),),
    services={"sweep": Service("sweep", "chat4all", "sweep", {})},
    timers=(Timer("sweep", 5.0),),
)


@dataclass
class Called(httpx.AsyncBaseTransport):
    """Services that take everything."""

    events: list[tuple[str, CloudEvent]] = field(default_factory=list)
    one_came: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = [(name.lower(), value) for name, value in request.headers.raw]
        self.events.append((request.url.host, from_http(headers, await request.aread())))
        self.one_came.set()
        return httpx.Response(204)


@asynccontextmanager
async def opened(cfg: Mapping[str, str]) -> AsyncIterator[Opened]:
    async with open_memory(cfg) as ports:
        log = cast("MemoryRecordLog", ports.log)
        yield Opened(ports, lambda triggers, called, pace: TriggerRunner(triggers, called, log, pace=pace), {})


async def test_an_event_wakes_the_service_of_its_trigger_by_http() -> None:
    called = Called()
    dispatcher = Dispatcher(opened, WIRED, Pace(calls=1), called)
    assert dispatcher.ready() == (False, "dispatcher")
    await dispatcher.start({})
    try:
        assert dispatcher.ready() == (True, "dispatcher")
        await asyncio.wait_for(called.one_came.wait(), 10)
    finally:
        await dispatcher.close()
    host, event = called.events[0]
    assert host == "sweep.chat4all.svc.cluster.local"
    assert event.attributes["timer"] == "sweep"
    assert dispatcher.ready() == (False, "dispatcher")


async def test_a_start_that_fails_leaves_nothing_open() -> None:
    closed = asyncio.Event()

    @asynccontextmanager
    async def broken(cfg: Mapping[str, str]) -> AsyncIterator[Opened]:
        async with opened(cfg) as one:
            try:
                yield Opened(one.ports, lambda *_: 1 // 0, {})
            finally:
                closed.set()

    try:
        await Dispatcher(broken, WIRED, Pace(), Called()).start({})
    except ZeroDivisionError:
        assert closed.is_set()
    else:
        raise AssertionError("it started")

"""The dispatcher: what stands for Knative's broker where functions are Services and Kafka is ours (E6, E8)."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.test_utils import RawTestServer
from cryptography.fernet import Fernet

from events.cloudevent import CloudEvent, from_http
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.runtime.dispatcher import Dispatcher
from shared.runtime.opened import Opened
from shared.runtime.start_error import SETTINGS_WRONG, StartError
from shared.runtime.trigger_runner import Pace, TriggerRunner
from shared.runtime.wiring import Delivery, Service, Timer, Trigger, Wiring
from shared.testing.memory_ports import open_memory

ROOT = Path(__file__).parents[2]
WIRED = Wiring(
    triggers=(Trigger("route", "chat4all", {"timer": "sweep"}, "sweep", Delivery(retry=0, timeout=5)),),
    services={"sweep": Service("sweep", "chat4all", "sweep", {})},
    timers=(Timer("sweep", 5.0),),
)


class Here(AbstractResolver):
    """Every name is a port of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=self._port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        pass


@asynccontextmanager
async def opened(cfg: Mapping[str, str]) -> AsyncIterator[Opened]:
    async with open_memory(cfg) as ports:
        log = cast("MemoryRecordLog", ports.log)
        yield Opened(ports, lambda triggers, called, pace: TriggerRunner(triggers, called, log, pace=pace), {})


async def test_an_event_wakes_the_service_of_its_trigger_by_http() -> None:
    called: asyncio.Queue[tuple[str, CloudEvent]] = asyncio.Queue()

    async def take(request: web.BaseRequest) -> web.Response:
        headers = [(name.lower(), value) for name, value in request.raw_headers]
        called.put_nowait((request.host, from_http(headers, await request.read())))
        return web.Response(status=204)

    async with RawTestServer(take) as services:
        assert services.port is not None
        dispatcher = Dispatcher(opened, WIRED, Pace(calls=1), Here(services.port))
        assert dispatcher.ready() == (False, "dispatcher")
        await dispatcher.start({})
        try:
            assert dispatcher.ready() == (True, "dispatcher")
            host, event = await asyncio.wait_for(called.get(), 10)
        finally:
            await dispatcher.close()
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
        await Dispatcher(broken, WIRED, Pace()).start({})
    except ZeroDivisionError:
        assert closed.is_set()
    else:
        raise AssertionError("it started")


async def test_a_start_that_waits_for_its_servers_is_given_up() -> None:
    """It took neither SIGTERM nor Ctrl-C, for as long as Cassandra or Kafka was away."""
    waiting, ended = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def away(cfg: Mapping[str, str]) -> AsyncIterator[Opened]:
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        yield cast("Opened", None)

    dispatcher = Dispatcher(away, WIRED, Pace())
    dispatcher.give_up()  # nothing is waited for yet
    starting = asyncio.create_task(dispatcher.start({}))
    async with asyncio.timeout(5):
        await waiting.wait()
        dispatcher.give_up()
        with pytest.raises(StartError, match="told to end"):
            await starting
    assert ended.is_set()


async def test_what_has_started_is_not_given_up() -> None:
    dispatcher = Dispatcher(opened, WIRED, Pace())
    await dispatcher.start({})
    try:
        dispatcher.give_up()
        await asyncio.sleep(0.05)
        assert dispatcher.ready() == (True, "dispatcher")
    finally:
        await dispatcher.close()


MISSING = """
import sys
sys.modules["aiohttp"] = sys.modules["confluent_kafka"] = None
from shared.cli.main import main
sys.argv = ["chat4all", "dispatch", "--port", "0"]
main()
"""


def test_without_the_packages_of_servers_it_says_what_to_install() -> None:
    key = {"CHAT4ALL_SECRET_KEY": Fernet.generate_key().decode()}
    ended = subprocess.run(
        [sys.executable, "-c", MISSING], cwd=ROOT, env=key, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 3
    assert "pip install 'chat4all[servers]'" in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr


def test_without_the_key_it_says_so_in_one_line_as_a_platform_does() -> None:
    command = [sys.executable, "-m", "shared.cli.main", "dispatch", "--port", "0"]
    ended = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, timeout=60)
    assert ended.returncode == SETTINGS_WRONG
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("chat4all: CHAT4ALL_SECRET_KEY is not set, nor CHAT4ALL_DATA_DIR")

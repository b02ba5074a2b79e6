"""
Every function runs under stock func-python as `kn func` serves it, and under our own server.

Real processes on real sockets: ready, an event is 204, junk is 422, an HTTP face is closed without a token, TERM ends
them (design.md 8, G1).
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from events import CloudEvent, Event, MessageAccepted, TimerTicked
from events.vocabulary import Text
from shared.runtime.wiring import read

ROOT = Path(__file__).resolve().parents[2]
AT = datetime(2026, 11, 21, 3, 14, 8, tzinfo=UTC)
WIRING = read()
TAKERS = sorted(
    {
        WIRING.services[service].function
        for trigger in WIRING.triggers
        for service in (trigger.subscriber, trigger.delivery.dead_letter)
        if service is not None
    }
)
JUNK = {"content-type": "application/json"}
PATIENCE = 60.0
"""Seconds: other tests want the same cores."""


def tick(name: str) -> CloudEvent:
    return Event(id="t", source="/timers", tenant="-", time=AT, data=TimerTicked(name=name)).to_cloudevent()


ACCEPTED = Event(
    id="7c8d76f1-0000-4000-8000-000000000001",
    source="/functions/send",
    tenant="acme",
    time=AT,
    data=MessageAccepted(
        message_id="7c8d76f1-0000-4000-8000-000000000001",
        conversation_id="c1",
        seq=1,
        sender="alice",
        payload=Text(text="hi"),
        created_at=AT,
    ),
).to_cloudevent()
EVENTS = {
    "push": ACCEPTED,
    "dead-letter": ACCEPTED,
    "redrive": tick("redrive"),
    "sweep": tick("sweep"),
    "reap": tick("reap"),
}
"""One event each function can finish over empty tables; the others are only asked about junk."""


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@contextmanager
def hosted(module: str, function: str, **settings: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[str]]]:
    port = free_port()
    environment = os.environ | {  # noqa: TID251  the process's own is extended
        "CHAT4ALL_FUNCTION": function,
        "LISTEN_ADDRESS": f"127.0.0.1:{port}",
        "PORT": str(port),
        **settings,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        transport = httpx.HTTPTransport(retries=0)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=PATIENCE) as client:
            yield client, process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=PATIENCE)


def wait_until_ready(client: httpx.Client, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        try:
            if client.get("/health/readiness").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    process.kill()
    raise AssertionError(f"not ready in time: {process.communicate()[0]}")


@pytest.mark.parametrize("module", ["shared.testing.stock_host", "shared.testing.lean_host"], ids=["stock", "ours"])
@pytest.mark.parametrize("function", TAKERS)
def test_a_function_is_ready_takes_its_event_and_refuses_junk(module: str, function: str) -> None:
    with hosted(module, function) as (client, process):
        wait_until_ready(client, process)
        assert client.get("/health/liveness").status_code == 200
        junk = client.post("/", headers=JUNK, content=b'{"junk": true}')
        assert junk.status_code == 422
        if function in EVENTS:
            headers, body = EVENTS[function].to_binary()
            done = client.post("/", headers=headers, content=body)
            assert (done.status_code, done.content) == (204, b"")
            structured = client.post(
                "/",
                headers={"content-type": "application/cloudevents+json"},
                content=EVENTS[function].to_structured(),
            )
            assert (structured.status_code, structured.content) == (204, b"")
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=PATIENCE)


FACES = sorted(path.parent.name.replace("_", "-") for path in (ROOT / "functions").glob("*/http.py"))


@pytest.mark.parametrize("module", ["shared.testing.stock_host", "shared.testing.lean_host"], ids=["stock", "ours"])
@pytest.mark.parametrize("function", FACES)
def test_a_function_with_an_http_face_serves_it_behind_the_same_border(module: str, function: str) -> None:
    with hosted(module, function) as (client, process):
        wait_until_ready(client, process)
        closed = client.get("/v1/anything")
        assert (closed.status_code, closed.headers["content-type"]) == (401, "application/problem+json")
        paths = client.get("/openapi.json").json()["paths"]
        assert paths, f"functions/{function} documents no path"
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=PATIENCE)


def test_a_function_that_cannot_start_ends_our_server_with_code_3_and_one_clear_line() -> None:
    with hosted("shared.testing.lean_host", "nonsense") as (_, process):
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 3
        assert "there is no function 'nonsense'" in output
        assert "Traceback" not in output


LEAN = """
import sys
import shared.runtime.__main__
from shared.runtime.functions import new
import importlib
importlib.import_module("functions.route.func")
heavy = {"fastapi", "boto3", "redis", "cassandra", "confluent_kafka", "nats", "httpx", "aiohttp", "pydantic", "yaml",
         "sqlite3", "hypercorn", "func_python", "cryptography", "phonenumbers"}
print(sorted(heavy & set(sys.modules)))
"""


def test_an_event_function_imports_nothing_that_it_does_not_need() -> None:
    """Cold start is a budget (design.md 8): everything eager costs ten times as much."""
    lean = subprocess.run(
        [sys.executable, "-c", LEAN], cwd=ROOT, capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert lean.stdout.strip() == "[]"


WOKEN = """
import asyncio, sys
from shared.runtime.function_service import FunctionService
from shared.testing.memory_ports import opened_memory

async def main():
    service = FunctionService(opened_memory)
    service.start({"CHAT4ALL_FUNCTION": "presence"})
    await service.started()
    before = "fastapi" in sys.modules
    statuses = []

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        statuses.append(message.get("status"))

    scope = {"type": "http", "method": "GET", "path": "/v1/x", "raw_path": b"/v1/x", "query_string": b"", "headers": [],
             "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "scheme": "http", "http_version": "1.1"}
    await asyncio.gather(*(service.handle(dict(scope), receive, send) for _ in range(3)))
    await service.close()
    print(before, sorted(one for one in statuses if one), "fastapi" in sys.modules)

asyncio.run(main())
"""


def test_a_function_that_an_event_wakes_does_not_wait_for_fastapi_until_it_is_asked_by_http() -> None:
    woken = subprocess.run(
        [sys.executable, "-c", WOKEN], cwd=ROOT, capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert woken.stdout.splitlines()[-1] == "False [401, 401, 401] True"


def test_our_server_keeps_an_idle_connection_longer_than_those_who_call_it() -> None:
    """Who closes first breaks a request at times: uvicorn's own 5 s cost one POST in some hundreds on Knative (E8)."""
    with hosted("shared.testing.lean_host", "route") as (client, process):
        wait_until_ready(client, process)
        with closing(HTTPConnection(client.base_url.host, client.base_url.port, timeout=10)) as connection:
            used = []
            for pause in (6, 0):
                connection.request("GET", "/health/liveness")
                used.append(connection.sock)
                answer = connection.getresponse()
                assert (answer.status, answer.read()) == (200, b"alive")
                time.sleep(pause)
            assert used[0] is used[1]


@contextmanager
def half_sent(client: httpx.Client) -> Iterator[socket.socket]:
    """An event of which the last byte is missing; its function waits for that already."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=PATIENCE) as line:
        line.sendall(
            b"POST / HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
            b"content-length: 2\r\nexpect: 100-continue\r\n\r\n"
        )
        assert line.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"  # said when the body is asked for
        line.sendall(b"{")
        yield line


def wait_until_refused(client: httpx.Client) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=PATIENCE).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.02)
    raise AssertionError("it still listens")


def test_our_server_finishes_what_is_under_way_when_it_is_told_to_end() -> None:
    with hosted("shared.testing.lean_host", "route", CHAT4ALL_SHUTDOWN_GRACE="60") as (client, process):
        wait_until_ready(client, process)
        with half_sent(client) as line:
            process.send_signal(signal.SIGTERM)
            wait_until_refused(client)
            time.sleep(1.5)  # longer than the grace that the next test cuts by
            line.sendall(b"}")
            assert line.recv(1024).startswith(b"HTTP/1.1 422 ")
        assert process.wait(timeout=PATIENCE) == -signal.SIGTERM


def test_our_server_cuts_what_takes_longer_than_its_grace() -> None:
    with hosted("shared.testing.lean_host", "route", CHAT4ALL_SHUTDOWN_GRACE="1") as (client, process):
        wait_until_ready(client, process)
        with half_sent(client) as line:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=PATIENCE) == -signal.SIGTERM
            assert b" 422 " not in line.recv(1024)


def test_our_server_waits_for_nobody_when_nothing_is_under_way() -> None:
    """A connection that is kept for the next request is nothing."""
    with hosted("shared.testing.lean_host", "route", CHAT4ALL_SHUTDOWN_GRACE="600") as (client, process):
        wait_until_ready(client, process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE) == -signal.SIGTERM


def test_our_server_does_not_start_with_a_grace_that_is_none() -> None:
    with hosted("shared.testing.lean_host", "route", CHAT4ALL_SHUTDOWN_GRACE="soon") as (_, process):
        output, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 3
        assert "CHAT4ALL_SHUTDOWN_GRACE" in output
        assert "Traceback" not in output

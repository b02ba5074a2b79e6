"""
scripts/stack with the real engines: starts, tells, survives the death of one, stops, and leaves others alone (E5, E8).

On ports and folders of its own, so that it may run beside another stack.
"""

import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.stack.layout import INFRA
from infra.stack.processes import find
from infra.stack.stack import ENGINES

pytestmark = [pytest.mark.engines, pytest.mark.timeout(900)]

_OFFSET = 11_000

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setenv("CHAT4ALL_STACK_DIR", str(tmp_path))
    monkeypatch.setenv("CHAT4ALL_STACK_PORT_OFFSET", str(_OFFSET))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(INFRA.parent / "scripts/stack"), *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    yield run
    run("wipe")


def _states(status: str) -> dict[str, str]:
    rows = [line.split() for line in status.splitlines()[1:-1]]
    return {row[0]: row[1] for row in rows}


def test_every_engine_starts_and_answers_and_stops(stack: Run, tmp_path: Path) -> None:
    up = stack("up")
    assert up.returncode == 0, up.stderr

    status = stack("status")
    assert status.returncode == 0, status.stdout
    assert set(_states(status.stdout)) == {"kafka-1", "cassandra-1", "redis", "nats", "minio"}
    told = dict(line.split("=", 1) for line in stack("env").stdout.splitlines())
    assert told["CHAT4ALL_KAFKA_BOOTSTRAP_SERVERS"] == f"127.0.0.1:{9092 + _OFFSET}"
    assert told["CHAT4ALL_MINIO_SECRET_KEY"] not in stack("logs", "-n", "100000").stdout
    started = [find(file) for file in (tmp_path / "run").glob("*.pid")]

    assert stack("up").returncode == 0
    assert [find(file) for file in (tmp_path / "run").glob("*.pid")] == started  # nothing was started twice

    assert stack("down").returncode == 0
    assert len(started) == len(ENGINES)
    assert not any(process and process.alive for process in started)


def test_a_killed_server_is_seen_and_starts_again(stack: Run) -> None:
    assert stack("up", "--only", "redis,nats").returncode == 0

    assert stack("kill", "redis").returncode == 0
    status = stack("status")
    assert status.returncode == 1
    assert _states(status.stdout) == {"nats": "running", "redis": "dead"}

    assert stack("start", "redis").returncode == 0
    assert stack("status").returncode == 0


def test_a_paused_server_is_seen_and_goes_on(stack: Run) -> None:
    assert stack("up", "--only", "redis").returncode == 0

    stack("kill", "redis", "--signal", "STOP")
    assert _states(stack("status").stdout) == {"redis": "paused"}

    stack("kill", "redis", "--signal", "CONT")
    assert _states(stack("status").stdout) == {"redis": "running"}


def test_a_port_of_somebody_else_is_named_and_left_alone(stack: Run) -> None:
    with socket.create_server(("127.0.0.1", 6379 + _OFFSET)):
        up = stack("up", "--only", "redis")

    assert up.returncode == 1
    assert f"127.0.0.1:{6379 + _OFFSET} is taken by another process" in up.stderr


def test_another_number_of_nodes_needs_a_stop_first(stack: Run) -> None:
    assert stack("up", "--only", "redis").returncode == 0

    up = stack("up", "--nodes", "3", "--only", "redis")

    assert up.returncode == 1
    assert "scripts/stack down first" in up.stderr


def test_a_server_that_does_not_exist_is_answered_with_those_that_do(stack: Run) -> None:
    kill = stack("kill", "kafka-2")

    assert kill.returncode == 1
    assert "no server kafka-2; there are kafka-1, cassandra-1, redis, nats, minio, versitygw, toxiproxy" in kill.stderr

"""What ``up`` and ``status`` tell of a stack that cannot come up (E8); nothing is installed or started here."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from infra.stack.__main__ import main
from infra.stack.launch import StackError
from infra.stack.layout import Layout, saved_layout
from infra.stack.stack import Stack

_OFFSET = 12_000 + os.getpid() % 1000 * 10


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """With no tool at hand: what gets as far as an installation fails there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CHAT4ALL_STACK_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)  # the command changes it
    made = Layout(tmp_path / "state", port_offset=_OFFSET)
    made.make_folders()
    return made


@pytest.fixture
def taken() -> Iterator[list[int]]:
    """Ports of Redis and of NATS that somebody else has."""
    with ExitStack() as stack:
        ports = [port + _OFFSET for port in (6379, 4222)]
        for port in ports:
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        yield ports


def test_all_ports_are_looked_at_before_anything_is_done(layout: Layout, tmp_path: Path, taken: list[int]) -> None:
    said: list[str] = []
    stack = Stack(layout, tmp_path / "cache", lambda name, what: said.append(f"{name} {what}"))

    with pytest.raises(StackError) as refused:
        stack.up(("minio", "redis", "nats"))

    lines = str(refused.value).splitlines()
    assert [any(f":{port} is taken" in line for line in lines) for port in taken] == [True, True]
    assert len(lines) == 2
    assert "--port-offset" in lines[0]
    assert (said, layout.started(), saved_layout(layout.state)) == ([], [], None)


def test_a_server_that_never_came_up_is_listed_as_down(
    layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "--only", "nats", "--port-offset", str(_OFFSET)]) == 1
    capsys.readouterr()

    assert main(["status"]) == 1

    _, row, _ = capsys.readouterr().out.splitlines()
    assert row.split()[:2] == ["nats", "down"]
    assert main(["down"]) == 0
    assert layout.started() == []


def test_settings_of_nothing_are_no_settings(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    layout.save()
    assert main(["env"]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "nothing was started: scripts/stack up\n")


def test_after_down_status_says_that_nothing_is_there_and_how_it_starts(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    layout.save()
    assert main(["status"]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "nothing was started: scripts/stack up\n")


def _stack(layout: Layout, tmp_path: Path) -> Stack:
    return Stack(layout, tmp_path / "cache", lambda name, what: None)


def test_an_engine_stands_for_its_servers(layout: Layout, tmp_path: Path) -> None:
    three = replace(layout, nodes=3)
    for name in ("kafka-1", "kafka-2", "kafka-3", "redis"):
        three.log(name).touch()
    assert [path.stem for path in _stack(three, tmp_path).logs(["kafka-2", "kafka"])] == [
        "kafka-2",
        "kafka-1",
        "kafka-3",
    ]
    with pytest.raises(StackError, match="kafka-1, cassandra-1, redis"):
        _stack(layout, tmp_path).logs(["kafak"])


def test_one_server_of_several_must_be_named(layout: Layout, tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"which kafka.*kafka-1, kafka-2, kafka-3"):
        _stack(replace(layout, nodes=3), tmp_path).kill("kafka", signal.SIGTERM)
    with pytest.raises(StackError, match="kafka does not run"):
        _stack(layout, tmp_path).kill("kafka", signal.SIGTERM)

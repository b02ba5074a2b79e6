"""scripts/stack signals what it started and nothing else."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.stack.processes import Process, find, spawn, stop

Spawn = Callable[[str], Process]


@pytest.fixture
def pid_file(tmp_path: Path) -> Path:
    return tmp_path / "pid"


@pytest.fixture
def run(tmp_path: Path, pid_file: Path) -> Iterator[Spawn]:
    """Runs Python code as a process, and returns when the code has said something."""
    started: list[Process] = []

    def spawn_and_wait(code: str) -> Process:
        heard = tmp_path / f"heard-{len(started)}"
        os.mkfifo(heard)
        process = spawn([sys.executable, "-c", code, str(heard)], {}, tmp_path / "log", pid_file)
        started.append(process)
        heard.read_text()
        return process

    yield spawn_and_wait
    for process in started:
        process.send(signal.SIGKILL)
        process.send(signal.SIGCONT)
        os.waitpid(process.pid, 0)


SAY = "import sys, time; open(sys.argv[1], 'w').write('x');"


def test_a_process_is_found_by_its_pid_file(run: Spawn, pid_file: Path) -> None:
    process = run(f"{SAY} time.sleep(60)")

    assert find(pid_file) == process
    assert process.age < 60
    assert process.memory > 0


def test_a_pid_that_now_belongs_to_another_process_is_not_ours(run: Spawn, pid_file: Path) -> None:
    process = run(f"{SAY} time.sleep(60)")
    pid_file.write_text(f"{process.pid} {process.born - 1}\n")

    assert find(pid_file) is None
    assert not Process(process.pid, process.born - 1).send(signal.SIGKILL)
    assert process.alive


@pytest.mark.parametrize("text", ["", "12", "1 2 3", "x y"])
def test_a_damaged_pid_file_names_nobody(pid_file: Path, text: str) -> None:
    pid_file.write_text(text)

    assert find(pid_file) is None


def test_without_a_pid_file_there_is_no_process(tmp_path: Path) -> None:
    assert find(tmp_path / "none") is None


def test_a_process_that_ends_when_asked_is_not_killed(run: Spawn, pid_file: Path) -> None:
    process = run(f"{SAY} time.sleep(60)")

    assert stop(process, grace=10)
    assert not process.alive  # though nobody has waited for it: a zombie is gone
    assert find(pid_file) is None


def test_a_process_that_does_not_listen_is_killed(run: Spawn) -> None:
    process = run(f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SAY} time.sleep(60)")

    assert not stop(process, grace=0.1)
    assert not process.alive


def test_a_paused_process_is_known_as_such_and_still_ends_when_asked(run: Spawn) -> None:
    process = run(f"{SAY} time.sleep(60)")
    process.send(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)

    assert process.alive
    assert process.paused
    assert stop(process, grace=10)


def test_what_a_process_says_is_kept_after_what_was_said_before(run: Spawn, tmp_path: Path) -> None:
    for text in ("first", "second"):
        stop(run(f"print('{text}', flush=True); {SAY} time.sleep(60)"), grace=10)

    assert (tmp_path / "log").read_text() == "first\nsecond\n"


def test_a_program_that_is_not_there_is_an_error(tmp_path: Path, pid_file: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        spawn(["/nonexistent"], {}, tmp_path / "log", pid_file)
    assert not pid_file.exists()

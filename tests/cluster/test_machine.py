"""What a trial says that the machine was taken for."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import Popen
from typing import IO

import pytest

from infra.cluster import machine
from infra.cluster.machine import Pace, Taken, taken


def test_who_computes_takes_cpu_of_the_machine() -> None:
    before, until = taken(), time.process_time() + 0.3
    while time.process_time() < until:
        pass
    assert (taken() - before).cpu > 0


def test_waiting_is_no_cpu_and_what_disks_gave_is_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_PROC", tmp_path)
    # user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice: proc_stat(5)
    (tmp_path / "stat").write_text("cpu  100 20 30 9000 800 5 5 700 60 6\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    (tmp_path / "vmstat").write_text("nr_free_pages 12\npgpgin 2048\npgpgout 7\n")
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    assert taken() - Taken(0.6, 2**20) == Taken(1.0, 2**20)


async def test_who_is_never_at_rest_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_LOOK", 0.01)
    spent = [Taken(cpu, 0) for cpu in (0.0, 1.0, 2.0, 2.0)]
    monkeypatch.setattr(machine, "taken", lambda: spent.pop(0) if len(spent) > 1 else spent[0])
    assert await machine.at_rest(5.0), "it was, the second time"
    assert not spent[1:]
    busy = iter(range(10_000))
    monkeypatch.setattr(machine, "taken", lambda: Taken(next(busy), 0))
    assert not await machine.at_rest(0.1)


def test_how_fast_cpus_were_is_what_the_same_work_took() -> None:
    pace = Pace()
    assert pace.took == (), "nobody looked"
    pace.tell(["20.0\n", "10.0\n", "20.0\n", "50.0\n"])
    assert pace.took == (10.0, 20.0)


def test_somebody_looks_until_the_trial_ends_however_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    looking: list[subprocess.Popen[bytes]] = []

    def popen(command: Sequence[str], *, stdout: IO[str]) -> subprocess.Popen[bytes]:
        looking.append(Popen(command, stdout=stdout))
        until = time.monotonic() + 60
        while os.fstat(stdout.fileno()).st_size == 0 and time.monotonic() < until:
            time.sleep(0.05)
        return looking[-1]

    monkeypatch.setattr(machine.subprocess, "Popen", popen)
    with pytest.raises(ZeroDivisionError), machine.watched() as pace:
        raise ZeroDivisionError
    assert looking[0].returncode == -signal.SIGTERM
    best, usual = pace.took
    assert 0 < best <= usual

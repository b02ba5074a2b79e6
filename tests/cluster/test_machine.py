"""What a trial says that the machine was taken for."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from infra.cluster import machine
from infra.cluster.machine import Pace, Taken, taken


def test_who_computes_takes_cpu_of_the_machine() -> None:
    before, until = taken(), time.process_time() + 0.3
    while time.process_time() < until:
        pass
    assert (taken() - before).cpu >= 0.25


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


def test_what_cpus_did_of_what_they_can_is_what_the_same_work_took(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = Pace()
    assert pace.share is None, "nobody looked"
    with pace.watched():
        time.sleep(2.5)
    assert 0 < (pace.share or 0) <= 1
    monkeypatch.setattr(pace, "_took", [0.02, 0.01, 0.02, 0.05])
    assert pace.share == 0.5


def test_nobody_looks_any_more_when_a_trial_has_failed() -> None:
    pace = Pace()
    with pytest.raises(ZeroDivisionError), pace.watched():
        time.sleep(1)
        raise ZeroDivisionError
    looking = subprocess.run(("pgrep", "-f", f"^{sys.executable} -m infra.cluster.machine"), capture_output=True)
    assert looking.returncode == 1

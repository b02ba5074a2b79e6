"""What a trial says that the machine was taken for."""

import time
from pathlib import Path

import pytest

from infra.cluster import machine
from infra.cluster.machine import Taken, taken


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


def test_what_a_cpu_is_worth_is_what_the_others_leave_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(machine, "_computing", lambda processes: [0.02, 0.01, 0.03] if processes == 1 else [0.02] * 6)
    assert machine.worth() == 0.5


def test_what_is_computed_takes_time_in_each_process() -> None:
    spent = machine._computing(2)
    assert len(spent) == 2 * 20, "each process computes by itself"
    assert min(spent) > 0
    assert 0 < machine.worth() < 3

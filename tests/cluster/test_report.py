"""docs/reference/cluster-run.md from what was kept."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.cluster.drill import BY_TURNS
from infra.cluster.report import page
from infra.cluster.results import Result, commit_of, keep, kept

FLOWS = {
    "rows": [{"name": "messages", "passed": 7, "failed": 1, "left_out": 2, "seconds": 3.5}],
    "left out": {"messages::test_a": "why not", "files::test_b": "why not"},
}


def woken(service: str, *, events: bool, seconds: float, status: int, cpu: float, read: int, memory: int) -> Any:
    told = {"service": service, "events": events, "seconds": seconds, "status": status, "cpu": cpu}
    return {**told, "read": read * 2**20, "memory": memory * 2**20}


WAKES = [
    woken("route", events=True, seconds=1.0, status=204, cpu=2.5, read=3, memory=60),
    woken("route", events=True, seconds=3.0, status=204, cpu=4.5, read=40, memory=64),
    woken("route", events=True, seconds=2.0, status=503, cpu=9.9, read=99, memory=62),
    woken("users", events=False, seconds=1.2, status=200, cpu=1.1, read=0, memory=61),
]
LOAD = {"clients": 8, "requests": 100, "lost": 0, "longest": 1.5}
SCALE = {
    "up and down": {**LOAD, "lost": 3, "first ready": 1.9, "most": 5, "to zero": 14.0},
    "rollout": {**LOAD, "ready": 4.0, "old gone": 40.0},
    "memory": [{"function": "send", "memory": 60 * 2**20}, {"function": "send", "memory": 70 * 2**20}],
}


def seen(trial: str, told: Any) -> dict[str, Result]:
    return {trial: Result(trial, "2026-11-28T20:00:00+00:00", "abc1234", 7.4, told)}


def test_flows_are_a_table_and_say_what_was_left_out_and_why() -> None:
    text = page(seen("flows-one-node-kafka", FLOWS))
    assert "| messages | 7 | 1 | 2 | 3.5 |" in text
    assert "- why not: `messages::test_a`, `files::test_b`" in text
    assert "2026-11-28T20:00:00+00:00, commit abc1234, at load 7." in text


def test_how_fast_the_machine_was_meanwhile_is_said_where_somebody_looked() -> None:
    told = seen("figures-chain", [{"send": 1.5}])
    assert "at load 7.\n" in page(told)
    known = {name: replace(one, pace=(10.21, 17.5)) for name, one in told.items()}
    assert "at load 7. The same work took 10.2 ms at its best, 17.5 at the median.\n" in page(known)


def test_figures_show_the_median_the_longest_and_what_was_lost() -> None:
    wakes = page(seen("figures-wakes", WAKES))
    assert "| users | ready? | 1 | 0 | 1.2 | 1.2 | 1.1 | 0 MiB | 61 MiB | 200 |" in wakes
    assert "| 1 | 1.5 | 4.0 |" in page(seen("figures-chain", [{"send": 1.5, "record-status": 4.0}]))
    hops = {"route": {"events": 100, "missing": 2, "p50": 6.5, "p95": 12.0}, "push": {"events": 0, "missing": 60}}
    shown = page(seen("figures-hops", {"alone": {"all": {"events": 200, "missing": 0, "p50": 4.5}}, "messages": hops}))
    assert "| all | 200 | 0 | 4.5 | – |" in shown
    assert "| route | 100 | 2 | 6.5 | 12.0 |" in page(seen("figures-hops", hops)), "kept before events were sent alone"
    assert "| route | 100 | 2 | 6.5 | 12.0 |" in shown
    assert "| push | 0 | 60 | – | – |" in shown
    scaled = page(seen("figures-scale", SCALE))
    assert "| 0 → many → 1 → 0 | 8 | 100 | 3 | 1.5 s |" in scaled
    assert "| send | 2 | 70 MiB |" in scaled


def test_a_wake_that_failed_is_shown_and_has_no_time() -> None:
    text = page(seen("figures-wakes", WAKES))
    assert "| route | event | 3 | 1 | 2.0 | 3.0 | 3.5 | 40 MiB | 64 MiB | 204, 503 |" in text
    told = "1 of 4 failed. Of 2 events: median 2.00 s; 1 below 2 s. Of 1 that were asked: median 1.20 s; 1 below 2 s."
    assert told in " ".join(text.split())
    none = page(seen("figures-wakes", [WAKES[2]]))
    assert "| route | event | 1 | 1 | – | – | – | – | – | 503 |" in none
    assert "below" not in none


def test_what_was_kept_before_costs_were_is_shown_without_them() -> None:
    before = [{name: value for name, value in one.items() if name not in ("cpu", "read")} for one in WAKES]
    assert "| users | ready? | 1 | 0 | 1.2 | 1.2 | – | – | 61 MiB | 200 |" in page(seen("figures-wakes", before))


def test_a_wake_beside_a_pod_of_before_is_said_to_be_one() -> None:
    beside = [{**WAKES[0], "alone": True}, {**WAKES[1], "alone": False}]
    assert "When 1 of them began, a pod of before was still ending, or" in page(seen("figures-wakes", beside))
    assert "still ending" not in page(seen("figures-wakes", beside[:1]))


def test_who_started_beside_the_slow_ones_is_named() -> None:
    slow = [{**WAKES[1], "beside": ["sweep", "redrive"]}, {**WAKES[1], "beside": []}, {**WAKES[0], "beside": ["reap"]}]
    text = " ".join(page(seen("figures-wakes", slow)).split())
    assert "Of the 2 later 1 began while pods of other functions started (redrive, sweep)." in text
    assert "other functions" not in page(seen("figures-wakes", WAKES))


def test_an_upload_whose_pod_was_to_go_is_shown_with_its_end() -> None:
    told = {"bytes": 2**20, "seconds": 121.0, "status": 204, "upload": "ready", "gone": 118.0}
    text = " ".join(page(seen("figures-drain", told)).split())
    assert "1024 KiB in one PATCH that took 121.0 s." in text
    assert "The answer was 204, and its file, looked at by its checksum, is ready." in text


def test_what_was_not_tried_is_not_there() -> None:
    text = page(seen("figures-scale", SCALE))
    assert "Scaling" in text
    assert "chain" not in text


def test_what_is_kept_says_when_and_of_which_commit(tmp_path: Path) -> None:
    keep(tmp_path / "results", "drill", {"lost": 0}, commit_of(Path(__file__).parent))
    (found,) = kept(tmp_path / "results").values()
    assert (found.trial, found.told) == ("drill", {"lost": 0})
    assert found.at.endswith("+00:00")
    assert len(found.commit.rstrip("+")) >= 7


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    subprocess.run(("git", *who, *arguments), cwd=folder, check=True, capture_output=True)


def test_a_commit_has_a_plus_when_something_of_the_image_is_in_no_commit(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/a.py").write_text("a")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "a")
    (tmp_path / "notes.txt").write_text("of nobody's business")
    assert not commit_of(tmp_path).endswith("+")
    (tmp_path / "shared/new.py").write_text("deployed, and in no commit")
    assert commit_of(tmp_path).endswith("+")
    (tmp_path / "shared/new.py").unlink()
    (tmp_path / "shared/a.py").write_text("another")
    assert commit_of(tmp_path).endswith("+")


def test_what_is_in_no_repository_has_no_commit(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        commit_of(tmp_path)


DRILL = {
    **dict.fromkeys(("accepted", "inbound", "delivered", "kills", "lost", "doubled"), 7),
    **dict.fromkeys(("order_breaks", "gaps", "status_regressions"), 0),
    **{"hit": {"send": 7}, "most pods": {"send": 2}, "findings": [], "awake": [], "quiesced": 3.0},
    **{"recovery_p50": 2.5, "recovery_max": 8.25, "restarts": 6},
}


def test_a_drill_says_that_all_were_hit_only_if_they_were() -> None:
    assert "of pods that chance chose" in page(seen("drill", DRILL))
    all_hit = {**DRILL, "hit": dict.fromkeys(BY_TURNS, 2)}
    assert "was hit in either way" in " ".join(page(seen("drill", all_hit)).split())


def test_a_drill_shows_how_long_recovery_took_if_it_was_measured() -> None:
    assert "(p50)" not in page(seen("drill", DRILL))
    assert "was not measured" in page(seen("drill", DRILL))
    text = " ".join(page(seen("drill", {**DRILL, "dispensable": 1})).split())
    assert "after 2.5 s (p50), 8.2 s at most; nobody had to after 1 kills" in text


def test_a_drill_after_which_nothing_came_back_says_so() -> None:
    nothing = {**DRILL, "dispensable": 7, "restarts": 0, "recovery_p50": 0.0, "recovery_max": 0.0}
    text = " ".join(page(seen("drill", nothing)).split())
    assert "0.0 s" not in text
    assert "No time of recovery was measured; nobody had to answer after 7 kills" in text

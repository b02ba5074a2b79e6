"""What can be measured, and when figures are none to show."""

import argparse
from typing import Any

import pytest

from infra.cluster.__main__ import main
from infra.cluster.figures import findings, parts, summary
from infra.cluster.hops import Hops

WAKE = {"service": "route", "events": True, "seconds": 1.0, "status": 204, "memory": 1}
SCALE: dict[str, Any] = {"up and down": {"lost": 0, "most": 2}, "rollout": {"lost": 0}, "memory": []}


def test_what_cannot_be_measured_is_refused() -> None:
    assert parts("chain,hops") == ["chain", "hops"]
    for unknown in ("scals", "chain,", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="wakes, chain, hops, scale, drain"):
            parts(unknown)


def test_figures_of_what_came_true_have_no_findings() -> None:
    assert findings({}) == []
    assert findings({"wakes": [WAKE], "scale": SCALE, "hops": {}}) == []


def test_a_wake_that_failed_is_a_finding() -> None:
    assert findings({"wakes": [WAKE, {**WAKE, "status": 503}]}) == ["route, woken from zero, answered 503"]


def test_lost_requests_and_a_service_that_did_not_grow_are_findings() -> None:
    found = findings({"scale": {**SCALE, "up and down": {"lost": 1, "most": 1}, "rollout": {"lost": 2}}})
    assert found == ["3 requests were lost", "send never had more than one pod"]


def test_an_upload_that_was_cut_is_a_finding() -> None:
    assert findings({"drain": {"status": 204, "upload": "ready"}}) == []
    (cut,) = findings({"drain": {"status": 0, "upload": 409}})
    assert cut == "an upload whose pod was to go was answered 0, and its file is 409"


def test_events_that_nobody_was_done_with_are_a_finding() -> None:
    summed = summary(Hops({"route": [1.0], "sweep": [1.0] * 30}, {"route": 2, "sweep": 0}))
    assert findings({"hops": {"messages": summed}}) == ["route was not done with 2 of 3 events, messages"]


@pytest.mark.parametrize("command", ["drill", "figures"])
def test_what_is_mistyped_is_refused_before_anything_is_started(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.cluster.__main__._cluster", lambda: pytest.fail("it was started"))
    with pytest.raises(SystemExit, match="2"):
        main([command, "--kafka", "--no-such-option"])
    assert f"usage: scripts/cluster {command}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "options"),
    [("drill", ("--kills", "--seed", "--write")), ("figures", ("--rounds", "--only", "--write"))],
)
def test_the_help_shows_the_options_of_the_trial_too(
    command: str, options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    said = capsys.readouterr().out
    assert [option for option in options if option not in said] == []
    assert said.count("--help") == 1


@pytest.mark.parametrize("words", [[], ["--"]])
def test_exec_without_a_command_is_wrong_usage(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.cluster.__main__._cluster", lambda: pytest.fail("it was started"))
    with pytest.raises(SystemExit, match="2"):
        main(["exec", *words])
    assert "exec needs a command" in capsys.readouterr().err


def test_hops_show_who_was_meant_to_have_many_events_and_how_many_are_missing() -> None:
    taken = {"route": [float(ms) for ms in range(1, 101)], "sweep": [900.0], "push": [5.0]}
    found = summary(Hops(taken, {"route": 2, "sweep": 0, "push": 59, "record-status": 60}))
    assert found["route"] == {"events": 100, "missing": 2, "p50": 50.5, "p95": 96.0}
    assert found["push"] == {"events": 1, "missing": 59}
    assert found["record-status"] == {"events": 0, "missing": 60}
    assert "sweep" not in found
    assert (found["all"]["events"], found["all"]["missing"]) == (102, 121)

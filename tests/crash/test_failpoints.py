"""A process dies exactly at the named point, by SIGKILL, and only when told (E12)."""

import signal
import subprocess
import sys

import pytest

from shared.runtime import failpoints

DIE = "from shared.runtime.failpoints import _Passes, parse; passing = _Passes(parse({spec!r}))"


def test_the_process_kills_itself_at_the_nth_pass() -> None:
    lines = "\nfor n in range(5): print(n, flush=True); passing('tables.put.after')"

    done = subprocess.run(
        [sys.executable, "-c", DIE.format(spec="tables.put.after=3") + lines], capture_output=True, text=True
    )

    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["0", "1", "2"]


def test_other_points_are_passed() -> None:
    passing = failpoints._Passes({"tables.put.after": 1}, die=lambda: pytest.fail("died"))

    passing("tables.put.before")


def test_a_probability_dies_sooner_or_later() -> None:
    died: list[bool] = []
    passing = failpoints._Passes({"sink.emit.after": 0.5}, die=lambda: died.append(True))

    for _ in range(200):
        passing("sink.emit.after")

    assert 20 < len(died) < 180


@pytest.mark.parametrize("spec", ["", "nowhere=1", "sink.emit.after=0", "sink.emit.after=1.5", "sink.emit.after=often"])
def test_a_spec_that_means_nothing_is_refused(spec: str) -> None:
    with pytest.raises(ValueError):
        failpoints.parse(spec)

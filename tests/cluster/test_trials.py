"""What is kept of trials."""

import json
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import cast

import pytest

from infra.cluster.cluster import Cluster, ClusterError
from infra.cluster.deployment import Deployment
from infra.cluster.layout import Layout
from infra.cluster.results import kept
from infra.cluster.trials import Trials


class TwoPartsLong:
    """A cluster that is gone after two trials, and the deployment on it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def run(self, command: Sequence[str], **_: object) -> CompletedProcess[str]:
        *_, result, rounds, only = command
        self.asked.append(f"{rounds} {only}")
        if len(self.asked) > 2:
            return CompletedProcess(command, -9)
        Path(result.partition("=")[2]).write_text(json.dumps({only.partition("=")[2]: {"seen": len(self.asked)}}))
        return CompletedProcess(command, 0)

    def settings(self) -> dict[str, str]:
        return {}


def test_figures_that_are_cut_keep_what_was_measured_before(tmp_path: Path) -> None:
    there = TwoPartsLong()
    layout = Layout(tmp_path, tmp_path)
    trials = Trials(layout, cast(Cluster, there), cast(Deployment, there), "abc1234")
    with pytest.raises(ClusterError, match="figures: it ended with -9"):
        trials.figures(["--rounds", "2", "--only", "chain,hops,wakes"])
    assert there.asked == ["--rounds=2 --only=chain", "--rounds=2 --only=hops", "--rounds=2 --only=wakes"]
    assert {name: one.told for name, one in kept(layout.results).items()} == {
        "figures-chain": {"seen": 1},
        "figures-hops": {"seen": 2},
    }

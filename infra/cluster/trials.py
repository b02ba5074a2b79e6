"""What is tried on the deployed platform, from inside the cluster: flows, pods that are killed, figures."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.cluster import figures, flows, results
from infra.cluster.cluster import Cluster, ClusterError
from infra.cluster.deployment import KAFKA, Deployment
from infra.cluster.knative import RETENTION, SETTINGS
from infra.cluster.layout import ENTRY_ADDRESS, REPOSITORY, Layout
from infra.cluster.machine import Pace, watched

_LONGEST_TEST = 600
"""Seconds."""
_CAME_TO_ITS_END = (0, 1)
"""Exit codes of pytest: all passed, some failed. With any other not every test was run."""


class Trials:
    """
    Results are kept in ``results`` of the layout's state.

    commit: of what is deployed; the repository may be changed while a trial runs.
    """

    def __init__(self, layout: Layout, cluster: Cluster, deployment: Deployment, commit: str) -> None:
        self._folder, self._cluster, self._deployment, self._commit = layout.results, cluster, deployment, commit

    def flows(self, options: Sequence[str]) -> bool:
        """
        Runs the flow tests; ``options`` are pytest's. With paths among them only those run, and nothing is kept;
        nor is what a run found that did not come to its end.

        Returns:
            Whether all passed.
        """
        left_out = dict(flows.ONE_PROCESS)
        if self._deployment.overlay != KAFKA:
            left_out |= flows.LOOKING_BACK
        pytest = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--timeout={_LONGEST_TEST}")
        told = {**self._deployment.settings(), "CHAT4ALL_DEPLOYED_URL": f"http://{ENTRY_ADDRESS}"}
        with TemporaryDirectory(prefix="chat4all-flows-") as folder, self._ticking(), self._staying():
            result = Path(folder, "result.xml")
            some = any(Path(REPOSITORY, one.partition("::")[0]).exists() for one in options)
            chosen = options if some else (*flows.arguments(left_out, result), *options)
            with watched() as pace:
                ended = self._cluster.run((*pytest, *chosen), folder=REPOSITORY, more=told)
            if not some and ended.returncode in _CAME_TO_ITS_END:
                rows = [asdict(row) for row in flows.rows(result.read_text(), left_out)]
                self._keep(f"flows-{self._deployment.overlay}", {"rows": rows, "left out": left_out}, pace)
        return ended.returncode == 0

    def drill(self, options: Sequence[str]) -> bool:
        """Load while pods are killed. Returns: whether all happened, and nothing was lost, doubled or out of order."""
        with watched() as pace:
            told = self._inside("drill", options)
        self._keep("drill", told, pace)
        return not told["findings"]

    def figures(self, options: Sequence[str]) -> bool:
        """
        Each kind of them is measured and kept by itself: one can be taken again, and whoever is cut keeps the others.

        Returns:
            Whether no request was lost, every function woke, all that follows from messages was handled, and there were
            many pods under load; stderr says what not.
        """
        given = figures.arguments().parse_args(options)
        told = dict[str, object]()
        for kind in given.only:
            with watched() as pace:
                told |= self._inside("figures", (f"--rounds={given.rounds}", f"--only={kind}"))
            self._keep(f"figures-{kind}", told[kind], pace)
        found = figures.findings(told)
        sys.stderr.write("".join(f"figures: {one}\n" for one in found))
        return not found

    def demo(self, options: Sequence[str]) -> bool:
        """For people to watch; nothing is kept."""
        self._inside("demo", options)
        return True

    def _inside(self, trial: str, options: Sequence[str]) -> Mapping[str, object]:
        with TemporaryDirectory(prefix=f"chat4all-{trial}-") as folder:
            result = Path(folder, "result.json")
            command = (sys.executable, "-m", f"infra.cluster.{trial}", f"--result={result}", *options)
            ended = self._cluster.run(command, folder=REPOSITORY, more=self._deployment.settings())
            if ended.returncode != 0:
                raise ClusterError(f"{trial}: it ended with {ended.returncode}")
            told: Mapping[str, object] = json.loads(result.read_text())
        return told

    def _keep(self, trial: str, told: object, pace: Pace) -> None:
        results.keep(self._folder, trial, told, self._commit, pace.took)

    @contextmanager
    def _ticking(self) -> Iterator[None]:
        """Timers tick every few seconds: with PingSources alone it is minutes that tests wait for."""
        told = {**self._deployment.settings(), **self._deployment.broker()}
        ticker = self._cluster.start((sys.executable, "-m", "infra.cluster.ticks"), folder=REPOSITORY, more=told)
        try:
            yield
        finally:
            ticker.communicate()

    @contextmanager
    def _staying(self) -> Iterator[None]:
        """
        Pods stay for two minutes after their last request: at one node's ten seconds nearly every test would be about
        cold starts, which have trials of their own.
        """
        usual = SETTINGS["config-autoscaler"][RETENTION]
        self._retain("120s")
        try:
            yield
        finally:
            self._retain(usual)

    def _retain(self, period: str) -> None:
        patch = json.dumps({"data": {RETENTION: period}})
        autoscaler = ("-n", "knative-serving", "patch", "configmap", "config-autoscaler")
        self._cluster.kubectl(*autoscaler, "--type=merge", "-p", patch)

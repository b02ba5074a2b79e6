"""kubectl, and kn where there is one, told what to do; their own words are the errors."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.deploy.plan import Refused, Traffic
from infra.manifests.kustomize import Manifest


@dataclass(frozen=True, slots=True)
class Tools:
    """``context``: which cluster of the kubeconfig; without it the current one. Every method raises Refused."""

    context: str | None = None

    def known_kinds(self) -> set[tuple[str, str]]:
        """Version and kind of all that the cluster has: one version of a group may have kinds of several makers."""
        rows = [line.split() for line in self._kubectl("api-resources", "--no-headers").splitlines()]
        return {(row[-3], row[-1]) for row in rows}

    def has(self, kind: str, name: str, namespace: str) -> bool:
        return bool(self._kubectl("-n", namespace, "get", kind, name, "--ignore-not-found", "-o", "name").strip())

    def running(self, namespace: str) -> set[str]:
        """Names of the functions and Deployments that are there."""
        return {one["metadata"]["name"] for kind in ("ksvc", "deployments.apps") for one in self.get(kind, namespace)}

    def apply(self, manifests: str) -> list[str]:
        """Server side, so that what others set (replicas, traffic) stays. Returns: a line for each object."""
        command = ("apply", "--server-side", "--force-conflicts", "-f", "-")
        return self._kubectl(*command, given=manifests).splitlines()

    def get(self, kind: str, namespace: str) -> list[Manifest]:
        """All of one kind, with their status."""
        found: list[Manifest] = json.loads(self._kubectl("-n", namespace, "get", kind, "-o", "json"))["items"]
        return found

    def shift(self, traffic: Traffic, namespace: str) -> None:
        """By kn, whose --traffic says the same; kubectl patches what kn would."""
        _run(self.shifting(traffic, namespace))

    def shifting(self, traffic: Traffic, namespace: str) -> tuple[str, ...]:
        """The command of ``shift``."""
        if kn := shutil.which("kn"):
            shares = [part for one, share in traffic.percent.items() for part in ("--traffic", f"{one}={share}")]
            context = ("--context", self.context) if self.context else ()
            return (kn, "service", "update", traffic.service, "-n", namespace, *context, *shares)
        patch = json.dumps({"spec": {"traffic": traffic.manifest}})
        return self._command("-n", namespace, "patch", "ksvc", traffic.service, "--type", "merge", "-p", patch)

    def _command(self, *arguments: str) -> tuple[str, ...]:
        kubectl = shutil.which("kubectl")
        if kubectl is None:
            raise Refused("kubectl is not installed: https://kubernetes.io/docs/tasks/tools")
        return (kubectl, *(("--context", self.context) if self.context else ()), *arguments)

    def _kubectl(self, *arguments: str, given: str | None = None) -> str:
        return _run(self._command(*arguments), given)


def _run(command: Sequence[str], given: str | None = None) -> str:
    ended = subprocess.run(command, input=given, capture_output=True, text=True)
    if ended.returncode != 0:
        said = ended.stderr.strip() or ended.stdout.strip() or f"exit code {ended.returncode}"
        raise Refused(f"{Path(command[0]).name}: {said}")
    return ended.stdout

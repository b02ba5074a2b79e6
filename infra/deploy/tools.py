"""kubectl, and kn where there is one, told what to do; their own words are the errors."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from infra.deploy.left_over import Found
from infra.deploy.plan import Refused, Traffic
from infra.manifests.kustomize import Manifest

_FOUND = "VERSION:.apiVersion,KIND:.kind,NAME:.metadata.name,OWNER:.metadata.ownerReferences[*].uid"
_COLUMNS = 4
"""Of a kind without short names."""


@dataclass(frozen=True, slots=True)
class Kinds:
    """
    What the cluster has, by version and kind: one version of a group may have kinds of several makers.

    Attributes:
        resources: what kubectl calls those that live in a namespace.
        complaint: why there may be more, in kubectl's words.
    """

    known: Set[tuple[str, str]]
    resources: Mapping[tuple[str, str], str]
    complaint: str = ""


@dataclass(frozen=True, slots=True)
class Tools:
    """``context``: which cluster of the kubeconfig; without it the current one. Every method raises Refused."""

    context: str | None = None

    def kinds(self) -> Kinds:
        """What it lists counts although it fails, as it does while the API of one, such as metrics-server, is away."""
        ended = _ended(self._command("api-resources", "--no-headers"))
        rows = [row for line in ended.stdout.splitlines() if len(row := line.split()) >= _COLUMNS]
        if ended.returncode != 0 and not rows:
            raise Refused(_words(ended))
        return Kinds(
            {(row[-3], row[-1]) for row in rows},
            {(row[-3], row[-1]): _resource(row) for row in rows if row[-2] == "true"},
            _words(ended) if ended.returncode != 0 else "",
        )

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

    def found(self, resources: Sequence[str], label: str, namespace: str) -> list[Found]:
        """What has the label; of a Secret nothing but its name is kept."""
        asked = ("get", ",".join(resources), "-l", label, "--no-headers", "-o", f"custom-columns={_FOUND}")
        rows = [line.split() for line in self._kubectl("-n", namespace, *asked).splitlines()]
        return [Found(version, kind, name, owned=owner != "<none>") for version, kind, name, owner in rows]

    def deleting(self, resource: str, name: str, namespace: str) -> tuple[str, ...]:
        """The command that does it, for people."""
        return ("kubectl", *self._context(), "-n", namespace, "delete", resource, name)

    def shift(self, traffic: Traffic, namespace: str) -> None:
        """By kn, whose --traffic says the same; kubectl patches what kn would."""
        _run(self.shifting(traffic, namespace))

    def shifting(self, traffic: Traffic, namespace: str) -> tuple[str, ...]:
        """The command of ``shift``."""
        if kn := shutil.which("kn"):
            shares = [part for one, share in traffic.percent.items() for part in ("--traffic", f"{one}={share}")]
            return (kn, "service", "update", traffic.service, "-n", namespace, *self._context(), *shares)
        patch = json.dumps({"spec": {"traffic": traffic.manifest}})
        return self._command("-n", namespace, "patch", "ksvc", traffic.service, "--type", "merge", "-p", patch)

    def _command(self, *arguments: str) -> tuple[str, ...]:
        kubectl = shutil.which("kubectl")
        if kubectl is None:
            raise Refused("kubectl is not installed: https://kubernetes.io/docs/tasks/tools")
        return (kubectl, *self._context(), *arguments)

    def _context(self) -> tuple[str, ...]:
        return ("--context", self.context) if self.context else ()

    def _kubectl(self, *arguments: str, given: str | None = None) -> str:
        return _run(self._command(*arguments), given)


def _resource(row: Sequence[str]) -> str:
    """What kubectl calls it where two groups have one of that name: ``services.serving.knative.dev``."""
    group, slash, _ = row[-3].partition("/")
    return f"{row[0]}.{group}" if slash else row[0]


def _run(command: Sequence[str], given: str | None = None) -> str:
    ended = _ended(command, given)
    if ended.returncode != 0:
        raise Refused(_words(ended))
    return ended.stdout


def _ended(command: Sequence[str], given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=given, capture_output=True, text=True)


def _words(ended: subprocess.CompletedProcess[str]) -> str:
    said = ended.stderr.strip() or ended.stdout.strip() or f"exit code {ended.returncode}"
    return f"{Path(ended.args[0]).name}: {said}"

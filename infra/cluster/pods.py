"""The platform's pods, as a process inside the cluster sees and treats them."""

import json
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx

from infra.cluster.layout import NAMESPACE

_PORT = 8080
_FUNCTION = b"CHAT4ALL_FUNCTION="
_PLATFORM = b"\0-m\0shared."
"""In the command of each of its processes; the dispatcher is no function."""


@dataclass(frozen=True, slots=True)
class Pod:
    """
    ``service``: of Knative, or the component of a Deployment; ``revision`` is "" in the latter.

    restarts: how often its containers were started again, all together; made: when, to the second.
    """

    name: str
    uid: str
    service: str
    revision: str
    address: str
    ready: bool
    leaving: bool
    restarts: int
    made: datetime


@dataclass(frozen=True, slots=True)
class Running:
    """A function's process in a pod; pod: the uid of that; memory: resident, in bytes."""

    pid: int
    pod: str
    function: str
    memory: int


def kubectl(*arguments: str, given: str | None = None) -> str:
    """
    Raises:
        CalledProcessError: it failed.
    """
    command = ("kubectl", "-n", NAMESPACE, *arguments)
    return subprocess.run(command, check=True, capture_output=True, text=True, input=given).stdout


def pods() -> list[Pod]:
    return parse(kubectl("get", "pods", "-o", "json"))


def parse(document: str) -> list[Pod]:
    """What ``kubectl get pods -o json`` says; those that have ended are not among them."""
    return [
        _pod(item) for item in json.loads(document)["items"] if item["status"]["phase"] not in ("Succeeded", "Failed")
    ]


def _pod(item: Mapping[str, dict[str, object]]) -> Pod:
    described, status = item["metadata"], item["status"]
    labels: dict[str, str] = described.get("labels", {})  # type: ignore[assignment]
    conditions: Iterable[Mapping[str, str]] = status.get("conditions", ())  # type: ignore[assignment]
    containers: Iterable[Mapping[str, int]] = status.get("containerStatuses", ())  # type: ignore[assignment]
    return Pod(
        name=str(described["name"]),
        uid=str(described["uid"]),
        service=labels.get("serving.knative.dev/service") or labels.get("app.kubernetes.io/component", ""),
        revision=labels.get("serving.knative.dev/revision", ""),
        address=str(status.get("podIP", "")),
        ready=any(one["type"] == "Ready" and one["status"] == "True" for one in conditions),
        leaving="deletionTimestamp" in described,
        restarts=sum(one["restartCount"] for one in containers),
        made=datetime.fromisoformat(str(described["creationTimestamp"])),
    )


def knative(seen: Iterable[Pod]) -> dict[str, int]:
    """How many pods each Knative Service has that do not go yet; those that are at zero are not among them."""
    found: dict[str, int] = {}
    for pod in seen:
        if pod.revision and not pod.leaving:
            found[pod.service] = found.get(pod.service, 0) + 1
    return found


def wanted(revision: str) -> int:
    """How many pods of this revision of a Knative Service there should be now."""
    return int(kubectl("get", "deployment", f"{revision}-deployment", "-o", "jsonpath={.spec.replicas}"))


def answers(pod: Pod) -> bool:
    """Whether its function says itself that it is ready: the API server learns late that it is not."""
    try:
        page = httpx.get(f"http://{pod.address}:{_PORT}/health/readiness", timeout=1, trust_env=False)
    except httpx.HTTPError:
        return False
    return page.is_success


def delete_at_once(pod: Pod) -> None:
    """
    As when its node is lost: nobody is asked to end, nothing is drained.

    Raises:
        CalledProcessError: it is gone.
    """
    kubectl("delete", "pod", pod.name, "--grace-period=0", "--force", "--wait=false")


def kill_in(pod: Pod) -> None:
    """
    SIGKILL to its process of the platform, a function or the dispatcher; the kubelet starts the container again.

    Raises:
        ProcessLookupError: it has none.
    """
    mine = [pid for pid, command in _in_proc("cmdline") if _PLATFORM in command and _pod_uid(pid) == pod.uid]
    if not mine:
        raise ProcessLookupError(f"{pod.name} has no process of the platform")
    for pid in mine:
        with suppress(ProcessLookupError):  # its parent took it along
            os.kill(pid, signal.SIGKILL)


def processes() -> Iterator[Running]:
    """Those that a pod's container has, of any function."""
    for pid, environment in _in_proc("environ"):
        names = [one.removeprefix(_FUNCTION) for one in environment.split(b"\0") if one.startswith(_FUNCTION)]
        if names and (pod := _pod_uid(pid)) and (memory := _memory(pid)):
            yield Running(pid, pod, names[0].decode(), memory)


def _memory(pid: int) -> int:
    """In bytes; 0 of one that has ended."""
    try:
        _, _, rest = Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")
    except OSError:
        return 0
    return int(rest.split()[0]) * 1024 if rest else 0


def _in_proc(name: str) -> Iterator[tuple[int, bytes]]:
    """What each process has in a file of this name."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            yield int(folder.name), (folder / name).read_bytes()


def _pod_uid(pid: int) -> str:
    """
    From its cgroup, where the kubelet writes it.

    Returns: "" of a process of the node.
    """
    try:
        path = Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return ""
    _, found, rest = path.partition("/pod")
    return rest.split("/")[0].strip() if found else ""

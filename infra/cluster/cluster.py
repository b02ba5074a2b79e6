"""Starts, watches and stops the cluster of one layout, from outside its namespaces."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.cluster.components import components
from infra.cluster.layout import ADMIN, HERE, REPOSITORY, Layout
from infra.cluster.node import NODE_CGROUP, READY
from infra.cluster.programs import Programs, Say
from infra.image import rootfs
from infra.image.archive import of_functions, write_archive
from infra.stack import processes
from infra.stack.install import locked
from infra.stack.processes import Process

IMAGE = "dev.local/chat4all"
_GRACE = 30.0
_PATIENCE = 300
# Beside sessions that are in no group, all of the cluster would count as one of them, and a control plane that is
# starved restarts what it looks after. Inside, the node's servers have twice what the pods of two cores have.
_WEIGHT = 16
_NODE_WEIGHT = 4
# The kubelet and containerd watch more files than the kernel's default allows one user.
_WATCHES = Path("/proc/sys/fs/inotify/max_user_instances")
_ENOUGH_WATCHES = 1024
_CGROUPS = Path("/sys/fs/cgroup")


class ClusterError(Exception):
    """The cluster cannot do it; the text is for people."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A server of the node; memory: bytes, None if it does not run."""

    name: str
    memory: int | None


class Cluster:
    def __init__(self, layout: Layout, programs: Programs, say: Say) -> None:
        self._layout, self._programs, self._say = layout, programs, say

    @property
    def node(self) -> Process | None:
        """The first process of the cluster, if it is up."""
        return processes.find(self._layout.pid_file)

    def up(self) -> None:
        """
        Starts the node and installs Knative; returns when all of it is ready.

        Raises:
            ClusterError: it did not come up; the logs are left.
        """
        if os.geteuid() != 0:
            raise ClusterError("it needs root: for namespaces, mounts and cgroups")
        with self._alone():
            if self.node is None:
                self._clear()
                self._start_node()
            self._install()

    def down(self) -> None:
        """Ends everything and removes everything but the logs."""
        with self._alone():
            if node := self.node:
                os.kill(self._first_pid(), signal.SIGTERM)
                willing = processes.gone_within(node, _GRACE)
                if not willing:
                    processes.stop(node, grace=0)  # the first process is killed with it
                self._say("node", "ended" if willing else "was killed")
            self._clear()

    def run(
        self,
        command: Sequence[str],
        *,
        folder: Path | None = None,
        more: Mapping[str, str] | None = None,
        **options: object,
    ) -> subprocess.CompletedProcess[str]:
        """
        Runs a command inside the namespaces of the cluster.

        Arguments:
            folder: where it runs (default: here).
            more: environment variables beside those of this process.
            options: of subprocess.run.
        """
        environment = {**self.environment, **(more or {})}
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            self._inside(command, folder), env=environment, text=True, **options
        )

    def start(self, command: Sequence[str], *, folder: Path, more: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        """Starts a command inside that ends when its stdin does: a signal would end only who entered for it."""
        return subprocess.Popen(self._inside(command, folder), env={**self.environment, **more}, stdin=subprocess.PIPE)

    def become(self, command: Sequence[str]) -> None:
        """This process goes on as that command, inside."""
        sys.stdout.flush()
        inside = self._inside(command)
        os.execvpe(inside[0], inside, self.environment)

    def engines(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """The command line of the stack, over the engines inside."""
        return self.run((sys.executable, "-m", "infra.stack", *arguments), capture_output=True)

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        """
        Arguments:
            given: what it reads.

        Returns:
            What it wrote.

        Raises:
            ClusterError: it failed.
        """
        ended = self.run(("kubectl", *arguments), capture_output=True, input=given)
        if ended.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {ended.stderr.strip()}")
        return str(ended.stdout)

    def import_image(self) -> str:
        """
        Makes the image of the functions from the repository as it is now.

        Returns:
            Its name; other content has another tag, so a Service that names it gets a new revision.
        """
        name = f"{IMAGE}:{rootfs.pinned(REPOSITORY)}"
        images = ("ctr", "-n", "k8s.io", "images", "ls", "-q", f"name=={name}")
        if self.run(images, capture_output=True).stdout.strip():
            return name
        with TemporaryDirectory(prefix="chat4all-image-") as folder:
            root, archive = Path(folder, "root"), Path(folder, "image.tar")
            rootfs.make(root, REPOSITORY)
            write_archive([of_functions(root, name)], archive)
            command = ("ctr", "-n", "k8s.io", "images", "import", str(archive))
            ended = self.run(command, capture_output=True)
        if ended.returncode != 0:
            raise ClusterError(f"the image cannot be imported: {ended.stderr.strip()}")
        self._say("image", name)
        return name

    def seen(self) -> list[Seen]:
        found = []
        for component in components():
            read = "cat /run/$0.pid | xargs -I{} grep VmRSS /proc/{}/status"
            ended = self.run(("sh", "-c", read, component.name), capture_output=True)
            found.append(Seen(component.name, int(ended.stdout.split()[1]) * 1024 if ended.stdout else None))
        return found

    @property
    def environment(self) -> Mapping[str, str]:
        own = self._programs.environment
        return {
            **os.environ,  # noqa: TID251 what is run inside is the caller's own command
            "PATH": own["PATH"] + ":" + os.environ.get("PATH", ""),  # noqa: TID251
            "KUBECONFIG": str(ADMIN),
            "CHAT4ALL_STACK_DIR": "/var/lib/stack",  # engines that are started inside are not those outside
        }

    def _inside(self, command: Sequence[str], folder: Path | None = None) -> list[str]:
        if self.node is None:
            raise ClusterError("the cluster is not up: scripts/cluster up")
        namespaces = ("--net", "--mount", "--pid")
        here = f"--wdns={folder or Path.cwd()}"
        # What is run inside has its part of the cluster's share of the machine.
        join = ("sh", "-c", 'echo $$ >"$0" && exec "$@"', str(self._cpu_cgroup() / NODE_CGROUP / "cgroup.procs"))
        return [*join, "nsenter", f"--target={self._first_pid()}", *namespaces, here, "--", *command]

    def _first_pid(self) -> int:
        node = self.node
        if node is None:
            raise ClusterError("the cluster is not up: scripts/cluster up")
        children = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()
        return int(children[0])

    def _start_node(self) -> None:
        for folder in (self._layout.lib, self._layout.log):
            folder.mkdir(parents=True)
        self._raise_limits()
        for root in self._cgroup_roots():
            root.mkdir(exist_ok=True)
        cpu = self._cpu_cgroup()
        (cpu / NODE_CGROUP).mkdir(exist_ok=True)
        _weigh(cpu, _WEIGHT)
        _weigh(cpu / NODE_CGROUP, _NODE_WEIGHT)
        log = self._layout.log / "node.log"
        unshare = ("--mount", "--propagation=private", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
        own_group = str(self._cpu_cgroup() / NODE_CGROUP / "cgroup.procs")
        first = (
            sys.executable,
            "-m",
            "infra.cluster.node",
            str(self._layout.state),
            str(self._programs.folder),
            own_group,
        )
        environment = {**self._programs.environment, "PYTHONPATH": str(REPOSITORY), "LANG": "C.UTF-8"}
        command = (str(shutil.which("unshare")), *unshare, *first)
        node = processes.spawn(command, environment, log, self._layout.pid_file)
        self._follow(node, log)

    def _follow(self, node: Process, log: Path) -> None:
        """Says what the node says, until it is ready."""
        with log.open() as lines:
            while True:
                line = lines.readline()
                if line.endswith("\n") and "\t" in line:
                    name, _, what = line.rstrip("\n").partition("\t")
                    if name == READY:
                        return
                    self._say(name, what)
                elif not line:
                    if not node.alive:
                        raise ClusterError(f"the node ended. What it said:\n{log.read_text()[-3000:]}")
                    time.sleep(0.1)

    def _install(self) -> None:
        ours, knatives = HERE / "manifests", self._programs.manifests
        self._apply(knatives / "definitions.yaml")
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        self._say("definitions", "established")
        for name in ("dns.yaml", "ingress.yaml"):
            self._apply(ours / name)
        for name in ("serving", "eventing"):
            self._apply(knatives / f"{name}.yaml")
        for namespace in ("kube-system", "ingress", "knative-serving", "knative-eventing"):
            self._wait_until_available(namespace)
            self._say(namespace, "available")

    def _apply(self, file: Path) -> None:
        # On the server's side: the definitions are larger than the annotation in which the client keeps them.
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(file))

    def _wait_until_available(self, namespace: str) -> None:
        self.kubectl(
            "-n", namespace, "wait", "--for=condition=Available", "deployment", "--all", f"--timeout={_PATIENCE}s"
        )

    def _raise_limits(self) -> None:
        before = _WATCHES.read_text().strip()
        if int(before) < _ENOUGH_WATCHES:
            self._layout.sysctl_before.write_text(json.dumps(before))
            _WATCHES.write_text(str(_ENOUGH_WATCHES))

    def _cpu_cgroup(self) -> Path:
        return next(root for root in self._cgroup_roots() if root.parent in (_CGROUPS, _CGROUPS / "cpu"))

    def _cgroup_roots(self) -> list[Path]:
        """One of version 2, or one for each controller of version 1."""
        name = self._layout.cgroup
        if (_CGROUPS / "cgroup.controllers").exists():
            return [_CGROUPS / name]
        return [folder / name for folder in _CGROUPS.iterdir() if (folder / "cgroup.procs").exists()]

    def _clear(self) -> None:
        """What outlives the namespaces: cgroups, one setting of the kernel, files."""
        if self._layout.sysctl_before.exists():
            _WATCHES.write_text(json.loads(self._layout.sysctl_before.read_text()))
        for root in self._cgroup_roots():
            for folder, _, _ in os.walk(root, topdown=False):
                _end_all_in(Path(folder))
                os.rmdir(folder)
        if self._layout.state.exists():
            for path in (self._layout.lib, self._layout.pid_file, self._layout.sysctl_before):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            if self._layout.log.is_dir():
                shutil.rmtree(self._layout.state / "log.last", ignore_errors=True)
                self._layout.log.rename(self._layout.state / "log.last")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One command at a time changes a cluster."""
        self._layout.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self._layout.state / "lock", lambda: self._say("another", "command is at work; waiting for it")):
            yield


def _end_all_in(cgroup: Path) -> None:
    """Who entered the cluster's namespaces from outside is in its cgroup, and does not end with them."""
    give_up = time.monotonic() + _GRACE
    while (pids := (cgroup / "cgroup.procs").read_text().split()) and time.monotonic() < give_up:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.05)


def _weigh(cgroup: Path, weight: int) -> None:
    for name, usual in (("cpu.shares", 1024), ("cpu.weight", 100)):
        if (cgroup / name).exists():
            (cgroup / name).write_text(str(weight * usual))

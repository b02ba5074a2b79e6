"""
The first process of the cluster's own process, mount and network namespaces.

It brings the node up, then reaps what ends. When it ends everything in its namespaces ends with it, and with them the
network, the mounts and the firewall rules of the cluster. Started by infra.cluster.cluster.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

from infra.cluster import certificates
from infra.cluster.components import Component, components, write_settings
from infra.cluster.layout import CONFIGURATION, CONTAINERD, NODE_ADDRESS, SERVICE_NETWORK, Layout
from infra.cluster.programs import Programs

READY = "ready"
NODE_CGROUP = "node"
_PATIENCE = 120.0


def main(state: str, programs: str, cgroup: str) -> NoReturn:
    signal.signal(signal.SIGTERM, _end)
    layout, built = Layout(Path(state), Path(programs).parent), Programs(Path(programs))
    environment = {
        **built.environment,
        "HOME": "/var/lib/kubernetes",
        "LANG": "C.UTF-8",
        "KUBECONFIG": str(CONFIGURATION / "admin.conf"),
        "GOGC": "400",  # there is memory; the two cores are for functions
    }
    Path(cgroup).write_text("0")  # what is started inherits it, until it is put into a pod's
    _mount(layout)
    _make_network(environment)
    certificates.make(CONFIGURATION)
    write_settings(built.network_plugins, f"/{layout.cgroup}")
    for component in components():
        _start(component, environment)
        if component.name == "containerd":
            _import_images(built, environment)
    _say(READY, "")
    while True:
        _reap()


def _say(name: str, what: str) -> None:
    sys.stdout.write(f"{name}\t{what}\n")
    sys.stdout.flush()


def _mount(layout: Layout) -> None:
    """What the servers write where servers usually do goes to the folder of the state, or is gone at the end."""
    for folder, target in ((layout.lib, "/var/lib"), (layout.log, "/var/log")):
        subprocess.run(("mount", "--bind", folder, target), check=True)
    subprocess.run(("mount", "-t", "tmpfs", "-o", "mode=755", "run", "/run"), check=True)
    if Path("/sys/fs/cgroup/unified").is_mount():  # crun takes either version of cgroups, not both at once
        subprocess.run(("umount", "/sys/fs/cgroup/unified"), check=True)
    Path(CONTAINERD).parent.mkdir()
    for name in ("/run/netns", "/var/lib/kubernetes", "/var/log/components"):
        Path(name).mkdir(exist_ok=True)


def _make_network(environment: Mapping[str, str]) -> None:
    """There is no way out: no interface of this namespace leads to the machine's, and there is no default route."""
    for command in (
        "link set lo up",
        "link add node0 type bridge",
        f"address add {NODE_ADDRESS}/32 dev node0",
        "link set node0 up",
        f"route add {SERVICE_NETWORK} dev node0 src {NODE_ADDRESS}",
    ):
        subprocess.run(("ip", *command.split()), check=True, env=dict(environment))
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    bridged = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if bridged.exists():  # packets between pods of one bridge pass kube-proxy's rules too
        bridged.write_text("1")


def _start(component: Component, environment: Mapping[str, str]) -> None:
    log = Path("/var/log/components") / f"{component.name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            component.command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/"
        )
    (Path("/run") / f"{component.name}.pid").write_text(str(process.pid))

    def run(*command: object) -> None:
        subprocess.run(
            [str(part) for part in command], env=dict(environment), check=True, capture_output=True, timeout=10
        )

    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            component.answers(run)
            break
        except (OSError, subprocess.SubprocessError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                sys.exit(f"{component.name} does not answer: {error}\n{end}")
        time.sleep(0.2)
    _say(component.name, "answers")


def _import_images(built: Programs, environment: Mapping[str, str]) -> None:
    command = ("ctr", "--address", CONTAINERD, "-n", "k8s.io", "images", "import", str(built.images))
    subprocess.run(command, env=dict(environment), check=True, stdout=subprocess.DEVNULL)
    _say("images", "imported")


def _reap() -> None:
    try:
        os.wait()
    except ChildProcessError:
        signal.pause()


def _end(_: int, __: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Where the cluster lives: folders outside, paths and addresses inside its own namespaces."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent

NAMESPACE = "chat4all"
"""Of the platform."""
NODE = "node1"
NODE_ADDRESS = "10.250.0.1"
API_SERVER = f"https://{NODE_ADDRESS}:6443"
KUBERNETES_SERVICE_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"
ENTRY_ADDRESS = "10.96.0.80"
SERVICE_NETWORK = "10.96.0.0/16"
POD_NETWORK = "10.244.0.0/16"

# What follows exists inside the mount namespace of the cluster only.
CONFIGURATION = Path("/var/lib/kubernetes")
ADMIN = CONFIGURATION / "admin.conf"
CONTAINERD = "/run/containerd/containerd.sock"


@dataclass(frozen=True, slots=True)
class Layout:
    """
    state: what changes, removed by ``down`` except for the logs; cache: what is built.

    Inside, ``state/lib`` is mounted on /var/lib and ``state/log`` on /var/log.
    """

    state: Path
    cache: Path

    @property
    def lib(self) -> Path:
        return self.state / "lib"

    @property
    def log(self) -> Path:
        return self.state / "log"

    @property
    def pid_file(self) -> Path:
        """Of the first process, which holds the namespaces, as seen from outside."""
        return self.state / "node.pid"

    @property
    def cgroup(self) -> str:
        """Of its own: a kubelet ends what it does not know below its root, another cluster's pods among it."""
        return f"chat4all-{hashlib.sha256(str(self.state).encode()).hexdigest()[:8]}"

    @property
    def results(self) -> Path:
        """What was seen; it outlives the cluster."""
        return self.state / "results"

    @property
    def sysctl_before(self) -> Path:
        return self.state / "sysctl.json"


def usual_layout() -> Layout:
    """CHAT4ALL_CLUSTER_DIR and the folders of XDG say where."""
    given = os.environ.get("CHAT4ALL_CLUSTER_DIR")  # noqa: TID251 the cluster is no part of the product
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"  # noqa: TID251
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"  # noqa: TID251
    return Layout(
        Path(given or Path(state, "chat4all/cluster")).expanduser().absolute(),
        Path(cache, "chat4all/cluster").expanduser().absolute(),
    )

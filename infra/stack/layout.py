"""Where one stack lives on the machine: its folders, its ports and how many nodes it has."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

INFRA = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
_NAMES = ("data", "log", "run", "settings")


@dataclass(frozen=True, slots=True)
class Layout:
    """
    state: folder of everything that changes; nodes: how many of Kafka and of Cassandra, 1 or 3; port_offset: added
    to every port, so that two stacks fit beside each other; host: the IPv4 address that all listen on, in a network
    of which everybody may be let in; of several Cassandras the next ones listen on those after it.
    """

    state: Path
    nodes: int = 1
    port_offset: int = 0
    host: str = LOOPBACK

    def port(self, usual: int) -> int:
        return usual + self.port_offset

    def data(self, server: str) -> Path:
        """Kept apart by the number of nodes: one node's data is of no use to a cluster."""
        return self.state / "data" / str(self.nodes) / server

    def log(self, server: str) -> Path:
        return self.state / "log" / f"{server}.log"

    def pid_file(self, server: str) -> Path:
        return self.state / "run" / f"{server}.pid"

    def intend(self, servers: Iterable[str]) -> None:
        """These are to be started: one that never comes up is not forgotten."""
        for server in servers:
            self.pid_file(server).touch()

    def ran(self, server: str) -> bool:
        """Whether it ever came as far as a process."""
        try:
            return bool(self.pid_file(server).read_text())
        except FileNotFoundError:
            return False

    def started(self) -> list[str]:
        """The names of the servers that were started, or were to be, and not stopped; some may have ended since."""
        return sorted(path.stem for path in (self.state / "run").glob("*.pid"))

    def settings(self, server: str) -> Path:
        """The folder of the settings files that are written for one server."""
        return self.state / "settings" / server

    def make_folders(self) -> None:
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in _NAMES:
            (self.state / name).mkdir(exist_ok=True)

    @property
    def disposable(self) -> list[Path]:
        """What wipe removes: nothing but what this module made."""
        return [self.state / name for name in _NAMES] + [self.state / "stack.json"]

    def save(self) -> None:
        kept = {"nodes": self.nodes, "port_offset": self.port_offset, "host": self.host}
        (self.state / "stack.json").write_text(json.dumps(kept) + "\n")


def saved_layout(state: Path) -> Layout | None:
    """What the last ``up`` started; None if there was none."""
    try:
        kept = json.loads((state / "stack.json").read_text())
    except FileNotFoundError:
        return None
    return Layout(state, kept["nodes"], kept["port_offset"], kept.get("host", LOOPBACK))


def state_folder() -> Path:
    """CHAT4ALL_STACK_DIR, or chat4all/stack in the state directory of XDG."""
    given = os.environ.get("CHAT4ALL_STACK_DIR")  # noqa: TID251 the stack is no part of the product
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"  # noqa: TID251
    return Path(given or Path(base, "chat4all/stack")).expanduser().absolute()


def cache_folder() -> Path:
    """chat4all/stack in the cache directory of XDG."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"  # noqa: TID251
    return Path(base, "chat4all/stack").expanduser().absolute()


def usual_port_offset() -> int:
    return int(os.environ.get("CHAT4ALL_STACK_PORT_OFFSET", "0"))  # noqa: TID251

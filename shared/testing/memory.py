"""Resident memory of processes while something goes on, sampled (Linux: /proc)."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_EVERY = 0.02  # seconds
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Watched:
    """MiB: what it had when the watch began, and the most it had since."""

    pid: int
    before: float
    peak: float

    @property
    def growth(self) -> float:
        return self.peak - self.before


class Memory:
    """``with Memory() as memory``: what is given to ``watch`` is looked at fifty times a second."""

    def __init__(self) -> None:
        self.watched: dict[str, Watched] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory", daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()

    def watch(self, name: str, pid: int) -> None:
        """
        From now on; under a name that was watched before the process is its successor: what the first one had
        before stays the measure.
        """
        known = self.watched.get(name)
        now = resident(pid)
        if known is None:
            self.watched[name] = Watched(pid, now, now)
        else:
            known.pid = pid

    def _sample(self) -> None:
        while not self._ended.wait(_EVERY):
            for one in list(self.watched.values()):
                one.peak = max(one.peak, resident(one.pid))


def resident(pid: int) -> float:
    """MiB; 0 of one that has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 2**20
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def pid_listening_on(port: int) -> int | None:
    """Who has this TCP port, if it is one of our own processes or we may look at all."""
    inodes = {
        fields[9]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if (fields := line.split())[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port
    }
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(descriptor) in sockets for descriptor in (process / "fd").iterdir()):
                return int(process.name)
        except OSError:
            continue
    return None

"""
What all that runs on this machine has taken of it, and how fast it was: a trial's seconds are to be explained by it.

Disks are looked at because some hypervisors take the page cache of whatever was idle for a minute, and a start then
reads again what every start before had read.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryFile

_PROC = Path("/proc")
_NOT_BUSY = (3, 4, 7)
"""Of the fields of /proc/stat (proc_stat(5)): idle, iowait, steal. Guests are counted as user already."""
_FIELDS = 8
_LOOK = 3.0
_BUSY = 0.4
"""Of what all cores could do: the cluster takes a quarter of two when nothing happens."""
_STEPS = 300_000
"""That are computed at each look: some ten milliseconds."""


@dataclass(frozen=True, slots=True)
class Taken:
    """Since the machine began. cpu: seconds of all its cores together; read: bytes from its disks."""

    cpu: float
    read: int

    def __sub__(self, before: "Taken") -> "Taken":
        return Taken(round(self.cpu - before.cpu, 2), self.read - before.read)


def taken() -> Taken:
    cpu, *_ = (_PROC / "stat").read_text().splitlines()
    ticks = [int(one) for one in cpu.split()[1 : 1 + _FIELDS]]
    busy = sum(one for field, one in enumerate(ticks) if field not in _NOT_BUSY)
    counters = dict(line.split() for line in (_PROC / "vmstat").read_text().splitlines())
    return Taken(busy / os.sysconf("SC_CLK_TCK"), int(counters["pgpgin"]) * 1024)


async def at_rest(patience: float = 60.0) -> bool:
    """
    Until most of its cores have had nothing to do for some seconds: what comes before a trial is not to be its cost.

    Returns:
        Whether it came to that within so many seconds.
    """
    until, most = time.monotonic() + patience, _LOOK * _BUSY * (os.cpu_count() or 1)
    while time.monotonic() < until:
        before = taken()
        await asyncio.sleep(_LOOK)
        if (taken() - before).cpu < most:
            return True
    return False


class Pace:
    """
    How fast the machine's CPUs were meanwhile. Threads share cores, with each other or with those of other machines:
    the same work then takes 1.7 times the seconds of CPU, and nothing says so but the work itself.
    """

    def __init__(self) -> None:
        self._took: list[float] = []

    @property
    def took(self) -> tuple[float, ...]:
        """Milliseconds of CPU that the work took at its best and at the median of all looks; none without any."""
        return (round(min(self._took), 2), round(median(self._took), 2)) if self._took else ()

    def tell(self, looks: Iterable[str]) -> None:
        """Lines of milliseconds."""
        self._took += map(float, looks)


@contextmanager
def watched() -> Iterator[Pace]:
    """It is told at the end. One process more computes a hundredth of the time."""
    pace = Pace()
    with TemporaryFile("w+") as looks:
        looking = subprocess.Popen((sys.executable, "-m", __name__), stdout=looks)
        try:
            yield pace
        finally:
            looking.terminate()
            looking.wait()
            looks.seek(0)
            pace.tell(looks)


def _look() -> float:
    """Milliseconds of CPU for what is always the same."""
    began = time.process_time()
    for _ in range(_STEPS):
        pass
    return 1000 * (time.process_time() - began)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is for whoever watches
    while True:
        sys.stdout.write(f"{_look()}\n")
        sys.stdout.flush()
        time.sleep(1)

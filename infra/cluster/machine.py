"""
What all that runs on this machine has taken of it: a trial's seconds are to be explained by it.

Some hypervisors take the page cache of whatever was idle for a minute. A start then reads from the disk what every
start before had read, and takes as much longer; that is seen here, and nowhere in what a start computes.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_PROC = Path("/proc")
_NOT_BUSY = (3, 4, 7)
"""Of the fields of /proc/stat (proc_stat(5)): idle, iowait, steal. Guests are counted as user already."""
_FIELDS = 8
_LOOK = 3.0
_BUSY = 0.4
"""Of what all cores could do: the cluster takes a quarter of two when nothing happens."""
_UNITS, _UNIT = 20, 400_000
"""How often the same is computed to learn what a core is worth, and its steps: some ten milliseconds."""


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


def worth() -> float:
    """
    What one of its CPUs computes while all others compute, of what it does alone, in as much time of its own; to be
    asked when nothing else runs. Near 1 where each is a core. Some 0.6 where two are threads of one core: together they
    do little more than one, and what keeps both busy takes as much longer. A system may call either of them cores.
    """
    alone = min(_computing(1))
    return round(alone / median(_computing(os.cpu_count() or 1)), 2)


def _computing(processes: int) -> list[float]:
    """Seconds of CPU for the same work again and again, in so many processes at once."""
    command = (sys.executable, "-m", __name__)
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    return [float(line) for one in running for line in one.communicate()[0].split()]


def _compute() -> Iterator[float]:
    for _ in range(_UNITS):
        began = time.process_time()
        for _ in range(_UNIT):
            pass
        yield time.process_time() - began


if __name__ == "__main__":
    for seconds in _compute():
        sys.stdout.write(f"{seconds}\n")

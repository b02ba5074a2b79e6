"""
Processes that outlive the command that started them.

A process is known by its pid and the moment it was born, both in its pid file, so a pid that the system has given
to somebody else is never signalled. Linux only: births are read from /proc.
"""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Process:
    """pid; born: clock ticks between the system's boot and the process's start (field 22 of /proc/PID/stat)."""

    pid: int
    born: int

    @property
    def alive(self) -> bool:
        """A zombie is gone: it only waits for its parent to look."""
        state = _stat(self.pid)
        return state is not None and state[0] not in "ZX" and int(state[19]) == self.born

    @property
    def paused(self) -> bool:
        state = _stat(self.pid)
        return self.alive and state is not None and state[0] == "T"

    @property
    def age(self) -> float:
        """Seconds."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.born / _TICKS

    @property
    def memory(self) -> int:
        """Proportional set size in bytes: shared pages count once over all who share them."""
        try:
            lines = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            return 0
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))

    def send(self, number: signal.Signals) -> bool:
        """False if the process is gone."""
        if not self.alive:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True


def spawn(command: Sequence[str], environment: Mapping[str, str], log: Path, pid_file: Path) -> Process:
    """
    Starts a process in a session of its own; what it says is appended to ``log``.

    Raises:
        OSError: the program does not exist or may not be run.
    """
    with log.open("ab") as output:
        pid = os.posix_spawn(
            command[0],
            list(command),
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, output.fileno(), 2),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE],  # Python ignores it, and what it starts would inherit that
        )
    state = _stat(pid)
    process = Process(pid, int(state[19]) if state else 0)
    pid_file.write_text(f"{process.pid} {process.born}\n")
    return process


def find(pid_file: Path) -> Process | None:
    """The living process that a pid file names."""
    try:
        pid, born = map(int, pid_file.read_text().split())
    except (FileNotFoundError, ValueError):
        return None
    process = Process(pid, born)
    return process if process.alive else None


def stop(process: Process, grace: float) -> bool:
    """
    Asks the process to end (TERM), and after ``grace`` seconds makes it (KILL).

    Returns:
        Whether it ended when asked.
    """
    process.send(signal.SIGTERM)
    process.send(signal.SIGCONT)  # a paused process cannot hear
    if gone_within(process, grace):
        return True
    process.send(signal.SIGKILL)
    gone_within(process, 10)
    return False


def gone_within(process: Process, seconds: float) -> bool:
    """Waits for its end; whether it came."""
    deadline = time.monotonic() + seconds
    while process.alive:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _stat(pid: int) -> list[str] | None:
    """/proc/PID/stat from the third field, the state, on; the second, the name, may have blanks and brackets in it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None

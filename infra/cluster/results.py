"""What was seen on the cluster, kept until it is written down: one JSON file for each kind of trial."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.image.rootfs import SOURCES
from shared.adapters.local.clock import SystemClock


@dataclass(frozen=True, slots=True)
class Result:
    """
    at: ISO 8601; commit: what was deployed, with a + where something was not committed, or goes into the image and
    is in no commit; load: average of the machine over the last minutes, of runnable processes; pace: milliseconds
    that the same work took meanwhile, at its best and at the median (machine.Pace); none where nobody looked.
    """

    trial: str
    at: str
    commit: str
    load: float
    told: Any
    pace: Sequence[float] = ()


def keep(folder: Path, trial: str, told: Any, commit: str, pace: Sequence[float] = ()) -> None:
    result = Result(
        trial,
        SystemClock().now().isoformat(timespec="seconds"),
        commit,
        round(os.getloadavg()[1], 1),
        told,
        pace,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{trial}.json").write_text(json.dumps(asdict(result), indent=1) + "\n")


def kept(folder: Path) -> dict[str, Result]:
    return {path.stem: Result(**json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))}


def commit_of(repository: Path) -> str:
    """
    As a Result has it, of the repository as it is now.

    Raises:
        CalledProcessError: git does not know.
    """

    def git(*arguments: str) -> str:
        command = ("git", *arguments)
        return subprocess.run(command, cwd=repository, check=True, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    added = git("ls-files", "--others", "--exclude-standard", "--", *(f":/{source}" for source in SOURCES))
    return git("rev-parse", "--short", "HEAD") + ("+" if changed or added else "")

"""How a trial runs that looks at the cluster from inside: infra.cluster.trials starts it, and reads its result."""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from infra.cluster.layout import ENTRY_ADDRESS
from shared.testing.live import Deployed

Trial = Callable[[argparse.Namespace, Deployed], Coroutine[Any, Any, dict[str, Any]]]
"""Given its arguments, and the platform, in whose folder it may write; returns what it found."""


def main(parser: argparse.ArgumentParser, trial: Trial) -> None:
    parser.add_argument("--result", type=Path, required=True, help="where the JSON goes")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="chat4all-trial-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        deployed = Deployed(Path(folder, "data"), host=ENTRY_ADDRESS, settings=settings()).start()
        try:
            given.result.write_text(json.dumps(runner.run(trial(given, deployed))))
        finally:
            deployed.stop()


@asynccontextmanager
async def beside(watching: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs it until the context ends; if it fails, so does the context."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(watching)
        try:
            yield
        finally:
            task.cancel()


def settings() -> dict[str, str]:
    """The platform's, as this process was told."""
    inherited = os.environ  # noqa: TID251  this is the process's border
    return {name: value for name, value in inherited.items() if name.startswith("CHAT4ALL_")}


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()

"""
``chat4all run FUNCTION`` with a pause in each event: ``python -m shared.testing.slow_function FUNCTION SECONDS
CONCURRENCY PORT``. What it is like when the work is waiting, not computing: only so does one machine show whether
processes share it.
"""

import asyncio
import os
import sys
from dataclasses import dataclass
from typing import Any

from shared.observability.log import write_to
from shared.ports import Ports
from shared.runtime import functions
from shared.runtime.run_function import run_function


@dataclass(frozen=True)
class Slow:
    inner: Any
    seconds: float

    @property
    def accepts(self) -> Any:
        return self.inner.accepts

    async def handle(self, event: Any) -> None:
        await asyncio.sleep(self.seconds)
        await self.inner.handle(event)


def main(name: str, seconds: str, concurrency: str, port: str) -> None:
    def new(made: str, ports: Ports) -> Any:
        function = functions.new(made, ports)
        return Slow(function, float(seconds)) if made == name else function

    write_to(sys.stdout)
    run_function(
        name,
        dict(os.environ),  # noqa: TID251  the process's border
        host="127.0.0.1",
        port=int(port),
        woken=True,
        concurrency=int(concurrency),
        new=new,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

"""
Timers that tick as often as the manifests say, beside the cluster's own, until stdin ends: no test waits for minutes.

A PingSource ticks once a minute at most; what runs in one process follows chat4all.dev/every. Run inside, with the
environment of the platform.
"""

import asyncio
import os
import sys

from shared.runtime.open_ports import open_ports
from shared.runtime.timers import Timers
from shared.runtime.wiring import read


async def main() -> None:
    async with open_ports(os.environ) as ports:  # noqa: TID251  this is the process's border
        timers = Timers(read().timers, ports.sink, ports.clock)
        timers.start()
        await asyncio.to_thread(sys.stdin.read)
        await timers.stop()


if __name__ == "__main__":
    asyncio.run(main())

"""
A process that runs one Trigger over a topic: ``worker.py SERVERS TOPIC CALLS SECONDS``.

Prints "ready", then the id of each event when its call ends. SECONDS is what a call takes; CALLS, how many at once.
"""

import asyncio
import signal
import sys

from shared.adapters.kafka.cluster import Cluster
from shared.adapters.kafka.consumer import KafkaConsumerGroups
from shared.adapters.kafka.event_sink import KafkaEventSink
from shared.observability.log import write_to
from shared.runtime.partition_runner import PartitionRunner
from shared.runtime.subscriber import Answer
from shared.runtime.trigger_runner import Pace
from shared.runtime.wiring import Delivery, Trigger

TYPE = "chat4all.tests.happened.v1"


class _Printing:
    address = "http://f"

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    async def call(self, event, headers, within):
        await asyncio.sleep(self._seconds)
        print(event.attributes["id"], flush=True)
        return Answer(204)


async def main(servers: str, topic: str, calls: str, seconds: str) -> None:
    write_to(sys.stderr)
    cluster = Cluster(servers)
    sink = KafkaEventSink(cluster, topic)
    trigger = Trigger("t", "chat4all", {"type": TYPE}, "f", Delivery(retry=3, delay=0.2, timeout=10.0))
    runner = PartitionRunner(
        [trigger],
        {"f": _Printing(float(seconds))},
        KafkaConsumerGroups(cluster, topic, prefix=f"{topic}-"),
        sink.append,
        pace=Pace(calls=int(calls)),
    )
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await runner.start()
    print("ready", flush=True)
    await ended.wait()
    await runner.stop()
    await sink.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""
Where a process spends its CPU: samples of py-spy, put down to the stages of a message's way.

A sample of the main thread belongs to the innermost of our modules in its stack; what no module of ours called is the
event loop's. Other threads wait for the disk most of the time, which a sampler takes for work: of them only the CPU is
known, from the kernel.
"""

import asyncio
import re
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

STAGES: Sequence[tuple[str, str]] = (
    (r"/observability/log|logging/", "log"),
    (r"/observability/|prometheus_client", "metrics and spans"),
    (r"/adapters/sqlite/", "SQLite"),
    (r"/uvicorn/protocols/http/|h11|httptools", "HTTP"),
    (r"/functions/send/|/repositories/timeline|/domain/message|/domain/sequence|pydantic", "accept"),
    (r"/http/(authenticator|rate_limit|access_token)|/domain/rate_limit", "token and limit"),
    (r"/http/live_socket|/websockets/", "WebSocket"),
    (r"/functions/realtime/|/domain/sequencer", "gateway"),
    (r"/functions/push/|/adapters/memory/fan_out|/domain/frames", "push"),
    (r"/functions/(record_status|messages)/|/repositories/(acknowledgements|receipts|statuses)", "receipts"),
    (r"/functions/webhook|/repositories/webhook", "webhooks"),
    (r"/functions/", "other functions"),
    (r"/runtime/(dispatch|trigger_runner|partition_runner|host|subscriber|verdict)", "broker"),
    (r"/testing/bare", "bare server"),
)
OTHER, THREADS = "event loop, reads and writes", "other threads (commit)"
_MAIN = "MainThread"
_SAMPLE = re.compile(r"^(?P<stack>.*) (?P<count>\d+)$")


def stage_of(stack: Sequence[str]) -> str:
    """
    The stage of one sample, outermost frame first.

    >>> stage_of(["run (asyncio/runners.py:1)", "handle (x/functions/push/func.py:9)", "encode (msgspec:1)"])
    'push'
    """
    for frame in reversed(stack):
        for pattern, stage in STAGES:
            if re.search(pattern, frame):
                return stage
    return OTHER


def parts(raw: str) -> dict[str, float]:
    """
    Stage -> its part of the main thread's samples, largest first, of py-spy's raw format with threads.

    >>> parts("thread (1): MainThread;a (x/functions/push/func.py:9) 3\\nthread (2): other;b (x:1) 1\\n")
    {'push': 1.0}
    """
    counts: Counter[str] = Counter()
    for line in raw.splitlines():
        found = _SAMPLE.match(line)
        if found and _MAIN in found["stack"].partition(";")[0]:
            counts[stage_of(found["stack"].split(";"))] += int(found["count"])
    total = sum(counts.values())
    return {stage: count / total for stage, count in counts.most_common()}


async def sample(pid: int, seconds: float, into: Path, *, rate: int = 250) -> Mapping[str, float]:
    """The parts while ``seconds`` pass; nothing when py-spy is missing or may not look into other processes."""
    command = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if command is None:
        return {}
    options = ["-p", str(pid), "-d", str(max(1, round(seconds))), "-r", str(rate), "-f", "raw", "-o", str(into)]
    process = await asyncio.create_subprocess_exec(
        command, "record", "--threads", "--full-filenames", *options,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    await process.wait()
    return await asyncio.to_thread(lambda: parts(into.read_text(encoding="utf-8")) if into.exists() else {})

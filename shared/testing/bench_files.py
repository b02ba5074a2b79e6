"""
``scripts/bench --files``: how fast files are, as ratios against what the machine and the store gave in the same run.

The baseline of an upload is its own bytes, put by the same client with the same parallelism to URLs of the same store
that were all there before the clock ran: what is missing to it is what the platform takes. Rounds alternate, so that
other work on the machine falls on both; the ratio is that of the medians.
"""

import asyncio
import http.client
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from shared.testing.http1 import Client
from shared.testing.large_file import MIB, PATIENCE, write
from shared.testing.platform import CLIENT_ID, CLIENT_SECRET, Platform
from shared.testing.tenant import Tenant

PARALLEL = 4
CHUNK = 16 * MIB
"""Of a PATCH."""

Part = dict[str, Any]


@dataclass(slots=True)
class Speeds:
    """MiB a second, one of each round."""

    bare_put: list[float] = field(default_factory=list)
    presigned: list[float] = field(default_factory=list)
    patch: list[float] = field(default_factory=list)
    verify: list[float] = field(default_factory=list)
    sha256sum: list[float] = field(default_factory=list)
    download: list[float] = field(default_factory=list)


@dataclass(slots=True)
class FileBench:
    platform: Platform
    tenant: Tenant
    directory: Path
    size: int
    speeds: Speeds = field(default_factory=Speeds)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    """Seconds of the platform's CPU a GiB: other work on the machine does not change them much."""
    conversation: str = ""
    seed: int = 0

    async def round(self) -> None:
        """
        Raises:
            RuntimeError: the store or the platform refused what it must take.
        """
        path = self._fresh_file()
        began = time.perf_counter()
        checksum = await asyncio.to_thread(sha256sum, path)
        self.speeds.sha256sum.append(self.size / MIB / (time.perf_counter() - began))
        with self._charged("bare_put"):
            await self._bare(path)
        with self._charged("presigned_verified_and_downloaded"):
            await self._presigned(path, checksum)
        path.unlink()
        path = self._fresh_file()
        with self._charged("patch"):
            await self._patched(path)
        path.unlink()

    @contextmanager
    def _charged(self, name: str) -> Iterator[None]:
        assert self.platform.process is not None, "not started"
        before = self.platform.process.usage().cpu
        yield
        spent = self.platform.process.usage().cpu - before
        self.cpu.setdefault(name, []).append(round(spent * 1024 * MIB / self.size, 2))

    async def _bare(self, path: Path) -> None:
        begun = await self._initiate()
        parts = begun["parts"]
        if len(parts) * begun["chunk_size"] < self.size:
            raise RuntimeError("not every URL came at once; take a smaller --size")
        self.speeds.bare_put.append(await self._timed(asyncio.to_thread(put, path, parts)))
        await self.tenant.must("DELETE", f"/v1/files/{begun['file_id']}", act_as="ana")

    async def _presigned(self, path: Path, checksum: str) -> None:
        """From nothing to the answer of complete; then until it is verified, by itself."""
        began = time.perf_counter()
        begun = await self._initiate()
        await asyncio.to_thread(put, path, begun["parts"])
        status = await self._status(begun["file_id"])
        if status["missing_parts"]:
            raise RuntimeError(f"{len(status['missing_parts'])} parts are missing")
        self.speeds.presigned.append(self.size / MIB / (time.perf_counter() - began))
        self.speeds.verify.append(await self._timed(self._verified(begun["file_id"], checksum)))
        facts = await self.tenant.must("GET", f"/v1/files/{begun['file_id']}", act_as="ana")
        self.speeds.download.append(await self._timed(asyncio.to_thread(get, facts["download_url"])))
        await self.tenant.must("DELETE", f"/v1/files/{begun['file_id']}", act_as="ana")

    async def _verified(self, file_id: str, checksum: str) -> None:
        await self.tenant.must("POST", f"/v1/files/{file_id}/complete", {"checksum": checksum}, act_as="ana")
        while True:
            status = await self._status(file_id)
            if status["upload_status"] != "verifying":
                break
            await asyncio.sleep(0.005)
        if status["upload_status"] != "ready":
            raise RuntimeError(f"the file is {status['upload_status']}: {status.get('reason')}")

    async def _patched(self, path: Path) -> None:
        begun = await self._initiate()
        address, headers = self.tenant.client, {"authorization": f"Bearer {self.tenant.token}", "x-act-as": "ana"}
        url = f"http://{address.host}:{address.port}/v1/files/{begun['file_id']}/chunk"
        self.speeds.patch.append(await self._timed(asyncio.to_thread(patch, path, url, headers)))
        await self.tenant.must("DELETE", f"/v1/files/{begun['file_id']}", act_as="ana")

    async def _initiate(self) -> dict[str, Any]:
        body = {
            "filename": "bench.bin",
            "content_type": "application/octet-stream",
            "size": self.size,
            "conversation_id": self.conversation,
        }
        begun: dict[str, Any] = await self.tenant.must("POST", "/v1/files/initiate", body, act_as="ana")
        return begun

    async def _status(self, file_id: str) -> dict[str, Any]:
        found: dict[str, Any] = await self.tenant.must("GET", f"/v1/files/{file_id}/status", act_as="ana")
        return found

    async def _timed(self, work: Any) -> float:
        began = time.perf_counter()
        await work
        return self.size / MIB / (time.perf_counter() - began)

    def _fresh_file(self) -> Path:
        self.seed += 1
        path = self.directory / f"bench-{self.seed}.bin"
        write(path, self.size, seed=self.seed)
        return path


def put(path: Path, parts: Sequence[Part]) -> None:
    """Every part to its URL, PARALLEL at a time, from the page cache to the socket without a copy here."""
    turns = [parts[n::PARALLEL] for n in range(PARALLEL)]
    with ThreadPoolExecutor(PARALLEL) as pool:
        for done in [pool.submit(_put, path, some) for some in turns]:
            done.result()


def _put(path: Path, parts: Sequence[Part]) -> None:
    with path.open("rb") as file:
        connection: http.client.HTTPConnection | None = None
        for part in parts:
            url = urlsplit(part["upload_url"])
            connection = connection or http.client.HTTPConnection(url.netloc, timeout=60)
            headers = {"Content-Length": str(part["size"]), **part.get("headers", {})}
            _send(connection, "PUT", f"{url.path}?{url.query}", headers, file, part["offset"], part["size"])
        if connection is not None:
            connection.close()


def patch(path: Path, url: str, headers: dict[str, str]) -> None:
    """The whole file through the platform, one chunk after the other."""
    address = urlsplit(url)
    size = path.stat().st_size
    connection = http.client.HTTPConnection(address.netloc, timeout=60)
    with path.open("rb") as file:
        for offset in range(0, size, CHUNK):
            length = min(CHUNK, size - offset)
            more = {
                "Content-Length": str(length),
                "Content-Type": "application/offset+octet-stream",
                "Upload-Offset": str(offset),
            }
            _send(connection, "PATCH", address.path, headers | more, file, offset, length)
    connection.close()


def _send(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    headers: dict[str, str],
    file: Any,
    offset: int,
    size: int,
) -> None:
    connection.putrequest(method, target, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.sock.sendfile(file, offset, size)
    answer = connection.getresponse()
    said = answer.read()
    if not 200 <= answer.status < 300:
        raise RuntimeError(f"{method} {target.split('?')[0]}: {answer.status} {said[:300]!r}")


def get(url: str) -> None:
    """All of it, to nowhere."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=60)
    connection.request("GET", f"{address.path}?{address.query}")
    answer = connection.getresponse()
    buffer = bytearray(MIB)
    while answer.readinto(buffer):
        pass
    if answer.status != 200:
        raise RuntimeError(f"GET {address.path}: {answer.status}")
    connection.close()


def sha256sum(path: Path) -> str:
    """By the program of that name."""
    return subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout.split()[0]


async def run(platform: Platform, *, size: int, rounds: int, directory: Path, console: Console) -> dict[str, Any]:
    """All of it; what comes back is what --json writes."""
    await platform.start(patience=PATIENCE)
    client = Client(platform.port, connections=4)
    try:
        tenant = Tenant(client, "bench", CLIENT_ID, CLIENT_SECRET)
        await tenant.login()
        await tenant.add_users(["ana", "bruno"])
        conversation = await tenant.create_conversation(["ana", "bruno"])
        bench = FileBench(platform, tenant, directory, size, conversation=conversation)
        for number in range(rounds):
            console.print(f"round {number + 1} of {rounds} …")
            await bench.round()
        assert platform.process is not None
        peak = platform.process.usage().peak
    finally:
        client.close()
        await platform.stop()
    middle = {name: round(median(values), 1) for name, values in asdict(bench.speeds).items()}
    return {
        "size_mib": size / MIB,
        "parallel": PARALLEL,
        "rounds": {name: [round(one, 1) for one in values] for name, values in asdict(bench.speeds).items()},
        "median_mib_per_second": middle,
        "ratios": {
            "presigned / bare PUT": round(middle["presigned"] / middle["bare_put"], 3),
            "verify / sha256sum": round(middle["verify"] / middle["sha256sum"], 3),
        },
        "platform_cpu_seconds_per_gib": {name: median(values) for name, values in bench.cpu.items()},
        "peak_rss_mib": round(peak),
    }


def show(result: dict[str, Any], console: Console) -> None:
    table = Table(title=f"A file of {result['size_mib']:.0f} MiB, {result['parallel']} parts at a time; MiB a second")
    for column in ("", "median", "rounds"):
        table.add_column(column, justify="right")
    for name, values in result["rounds"].items():
        speeds = " / ".join(f"{one:g}" for one in values)
        table.add_row(name.replace("_", " "), f"{result['median_mib_per_second'][name]:g}", speeds)
    for name, ratio in result["ratios"].items():
        table.add_row(name, f"{ratio}", "")
    for name, seconds in result["platform_cpu_seconds_per_gib"].items():
        table.add_row(f"CPU s/GiB: {name.replace('_', ' ')}", f"{seconds:g}", "")
    table.add_row("peak RSS, MiB", f"{result['peak_rss_mib']}", "")
    console.print(table)

"""Parts of a file straight into the object store, several at once; never more than a block of each in memory."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from urllib.parse import urljoin

import httpx

from shared.cli.command import Failed
from shared.cli.platform import Json
from shared.cli.transfer.digest import BLOCK
from shared.cli.transfer.pace import Pace
from shared.cli.transfer.progress import Progress

_REFUSALS = 3  # times that the store may refuse one part


class _Stopped(Exception):
    """Somebody else found out that it is over."""


class Parts:
    """
    Leaving the context stops what is under way. ``trouble`` is what went wrong last.

    ``base``: what a URL without a host is relative to.
    """

    def __init__(
        self,
        path: Path,
        base: str,
        progress: Progress,
        *,
        parallel: int,
        pace: Pace,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.trouble = ""
        self._path, self._base, self._progress, self._pace = path, base, progress, pace
        self._file = path.open("rb", buffering=0)
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="part")
        self._http = httpx.Client(
            transport=transport,
            limits=httpx.Limits(max_connections=parallel, max_keepalive_connections=parallel),
            timeout=httpx.Timeout(60.0, connect=5.0),
            trust_env=False,
        )
        self._stopped = threading.Event()
        self._refusals: dict[int, int] = {}

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        self._pool.shutdown(cancel_futures=True)
        self._http.close()
        self._file.close()

    def send(self, parts: list[Json]) -> None:
        """
        One attempt at each part; which of them succeeded is to be asked of the platform.

        Raises:
            Failed: the store refuses a part again and again, or the file has changed.
        """
        away = threading.Event()
        sending = [self._pool.submit(self._send, part, away) for part in parts]
        wait(sending)
        for one in sending:
            one.result()

    def _send(self, part: Json, away: threading.Event) -> None:
        if away.is_set():
            return
        sent = 0

        def blocks() -> Iterator[bytes]:
            nonlocal sent
            for block in self._read(part["offset"], part["size"]):
                sent += len(block)
                self._progress.advance(len(block))
                yield block

        headers = {**part.get("headers", {}), "Content-Length": str(part["size"])}
        try:
            answer = self._http.put(urljoin(self._base, part["upload_url"]), content=blocks(), headers=headers)
            if answer.is_success:
                return
            self.trouble = f"part {part['part_number']} was answered {answer.status_code}: {answer.text[:300]}"
            if 400 <= answer.status_code < 500:
                self._refused(part["part_number"])
        except httpx.TransportError as error:
            self.trouble = str(error) or type(error).__name__
            away.set()  # nobody waits for a time-out once for each part
        except _Stopped:
            pass
        self._progress.advance(-sent)

    def _read(self, offset: int, size: int) -> Iterator[bytes]:
        end = offset + size
        while offset < end:
            if self._stopped.is_set():
                raise _Stopped
            block = os.pread(self._file.fileno(), min(BLOCK, end - offset), offset)
            if not block:
                raise Failed(f"{self._path} has become shorter; run the command again")
            offset += len(block)
            self._pace.take(len(block))
            yield block

    def _refused(self, number: int) -> None:
        self._refusals[number] = self._refusals.get(number, 0) + 1
        if self._refusals[number] >= _REFUSALS:
            raise Failed(self.trouble)

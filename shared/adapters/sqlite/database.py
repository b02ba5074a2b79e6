"""
One SQLite file in WAL mode: statements on the event loop, commits off it, many writes to a commit.

A statement costs 4 to 10 µs, far less than handing it to a thread and fighting for the GIL; what blocks is the
fsync of COMMIT, so that alone runs in a thread (ADR 0004 has the figures). While a commit runs, the writing
connection belongs to that thread and new work gathers; when it is done, all that gathered goes into the next
transaction. Reads use a connection of their own and never wait for a commit.

Work that promises something to a client is durable: its commit is fsynced (synchronous=FULL). Derived work is
only ordered and atomic (NORMAL): it survives kill -9, and after a power cut it is derived again from the log.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, TypeVar

from shared.domain.errors import Unavailable

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

_LINGER = 0.003  # seconds that a busy writer gathers work before it commits again
_BUSY_PATIENCE = 5.0  # seconds that another process (the CLI) may hold the file
_BUSY_PAUSE = 0.02


class CorruptDatabase(Exception):
    """The file is no database, a damaged one, or one of another version; nothing was changed."""


class _Job(Generic[T]):
    __slots__ = ("committed", "done", "durable", "result", "work")

    def __init__(
        self, work: Work[T], durable: bool, done: "asyncio.Future[T]", committed: Callable[[T], None] | None
    ) -> None:
        self.work = work
        self.durable = durable
        self.done = done
        self.committed = committed
        self.result: T | None = None


class Database:
    """Not for use by two event loops; ``close`` waits for the work that was given."""

    def __init__(self, path: Path) -> None:
        """
        Raises:
            CorruptDatabase: the file cannot be used as a database.
            OSError: it cannot be opened or created.
        """
        self._writer = _connect(path)
        self._reader = _connect(path)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite-commit")
        self._jobs: list[_Job[Any]] = []
        self._scheduled = False
        self._committing = False
        self._full_sync = True
        self._unsynced = False
        self._busy_since: float | None = None

    def execute_at_start(self, script: Callable[[sqlite3.Connection], T]) -> T:
        """
        Run ``script`` now, in one transaction; only before the first ``write``.

        Raises:
            CorruptDatabase: the file is damaged, or ``script`` says that it cannot be used.
            OSError: another process holds the file for longer than is reasonable.
        """
        try:
            self._writer.execute(f"PRAGMA busy_timeout = {int(_BUSY_PATIENCE * 1000)}")
            self._writer.execute("BEGIN IMMEDIATE")
            result = script(self._writer)
            self._writer.commit()
            self._writer.execute("PRAGMA busy_timeout = 0")
        except sqlite3.OperationalError as error:
            raise OSError(str(error)) from error
        except sqlite3.DatabaseError as error:
            raise CorruptDatabase(str(error)) from error
        finally:
            self._writer.rollback()  # nothing, once it is committed
        return result

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """
        Rows as of the last commit.

        Raises:
            Unavailable: the file cannot be read.
        """
        try:
            return self._reader.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise Unavailable(f"the database cannot be read: {error}") from error

    def write(
        self, work: Work[T], *, durable: bool = False, committed: Callable[[T], None] | None = None
    ) -> "asyncio.Future[T]":
        """
        Do ``work`` in the next transaction; its result once that is committed.

        ``work`` must not wait, and is run again if other work of the same transaction failed. ``committed`` is
        called with the result in the order of the commits, even if nobody waits for the future any more.

        Raises (from the future):
            Unavailable: the file is locked, full or gone; nothing of ``work`` was kept.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._jobs.append(_Job(work, durable, done, committed))
        if not self._scheduled and not self._committing:
            self._scheduled = True
            if durable:
                loop.call_soon(self._flush)
            else:
                loop.call_later(_LINGER, self._flush)
        return done

    async def sync(self) -> None:
        """
        Return once everything that is committed now is on disk; at no cost when it is already.

        Raises:
            Unavailable: the disk did not take it.
        """
        if self._unsynced:
            await self.write(_mark, durable=True)

    async def close(self) -> None:
        await self.write(lambda connection: None)
        self._thread.shutdown()
        self._reader.close()
        self._writer.close()

    def _flush(self) -> None:
        self._scheduled = False
        if self._committing or not self._jobs:
            return
        jobs, self._jobs = self._jobs, []
        loop = asyncio.get_running_loop()
        try:
            self._begin(any(job.durable for job in jobs))
        except sqlite3.Error as error:
            self._wait_for_lock(loop, jobs, error)
            return
        self._busy_since = None
        if not self._run(jobs):
            self._schedule_next(loop, 0)
            return
        self._committing = True
        commit = loop.run_in_executor(self._thread, self._writer.commit)
        commit.add_done_callback(lambda finished: self._committed(loop, jobs, finished))

    def _begin(self, durable: bool) -> None:
        if durable is not self._full_sync:
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._full_sync = durable
        self._writer.execute("BEGIN IMMEDIATE")

    def _run(self, jobs: list[_Job[Any]]) -> bool:
        """
        Whether all are in the open transaction now. If one fails it is told so and nothing is open any more: the
        others come first in the next transaction.
        """
        for job in jobs:
            try:
                job.result = job.work(self._writer)
            except Exception as error:  # noqa: BLE001  the job's own failure goes to whoever gave it
                self._writer.rollback()
                if not job.done.done():
                    job.done.set_exception(_translated(error))
                self._jobs = [other for other in jobs if other is not job] + self._jobs
                return False
        return True

    def _wait_for_lock(self, loop: asyncio.AbstractEventLoop, jobs: list[_Job[Any]], error: sqlite3.Error) -> None:
        self._busy_since = self._busy_since or loop.time()
        locked = isinstance(error, sqlite3.OperationalError)
        if locked and loop.time() - self._busy_since < _BUSY_PATIENCE:
            self._jobs = jobs + self._jobs
            self._scheduled = True
            loop.call_later(_BUSY_PAUSE, self._flush)
            return
        self._busy_since = None
        for job in jobs:
            if not job.done.done():
                job.done.set_exception(_translated(error))
        self._schedule_next(loop, 0)

    def _committed(
        self, loop: asyncio.AbstractEventLoop, jobs: list[_Job[Any]], finished: "asyncio.Future[None]"
    ) -> None:
        self._committing = False
        error = finished.exception()
        if error is not None:
            self._writer.rollback()
        else:
            # One fsync covers the whole log of the file: what was committed before without one is on disk too.
            self._unsynced = not self._full_sync
        for job in jobs:
            if error is None and job.committed is not None:
                job.committed(job.result)
            if job.done.done():
                continue
            if error is None:
                job.done.set_result(job.result)
            else:
                job.done.set_exception(_translated(error))
        self._schedule_next(loop, _LINGER if len(jobs) > 2 else 0)

    def _schedule_next(self, loop: asyncio.AbstractEventLoop, linger: float) -> None:
        if not self._jobs or self._scheduled:
            return
        self._scheduled = True
        if linger or not any(job.durable for job in self._jobs):
            loop.call_later(_LINGER, self._flush)
        else:
            loop.call_soon(self._flush)


def _mark(connection: sqlite3.Connection) -> None:
    """A change, however small: SQLite syncs nothing for a transaction that changed nothing."""
    connection.execute("CREATE TABLE IF NOT EXISTS sync_marks (id INTEGER PRIMARY KEY, at INTEGER NOT NULL)")
    connection.execute("INSERT OR REPLACE INTO sync_marks (id, at) VALUES (1, random())")


def _translated(error: BaseException) -> BaseException:
    if isinstance(error, sqlite3.Error):
        translated = Unavailable(f"the database cannot be written: {error}")
        translated.__cause__ = error
        return translated
    return error


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=512)
    try:
        connection.execute(f"PRAGMA busy_timeout = {int(_BUSY_PATIENCE * 1000)}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        connection.execute("PRAGMA cache_size = -16384")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        connection.execute("PRAGMA busy_timeout = 0")
    except sqlite3.DatabaseError as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError):
            raise OSError(str(error)) from error
        raise CorruptDatabase(str(error)) from error
    return connection

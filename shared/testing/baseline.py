"""
What the machine gives at this moment, to divide by: a bare ASGI echo, and a bare SQLite group commit.

``echo`` is served by the very uvicorn, loop and parser that serve the platform:
``uvicorn shared.testing.baseline:echo --loop uvloop --http httptools``.
"""

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ECHO = ("shared.testing.baseline:echo", "--loop", "uvloop", "--http", "httptools", "--no-access-log")


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, parse nothing, answer 202 with a small body."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    body = b'{"status":"accepted","seq":1}'
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    status = 200 if scope["method"] == "GET" else 202
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True, slots=True)
class GroupCommit:
    """Rows a second in transactions of ``group`` rows, each on disk before the next; a commit's median seconds."""

    group: int
    rows_per_second: float
    commit: float


def group_commit(path: Path, *, group: int = 32, seconds: float = 2.0, row_bytes: int = 512) -> GroupCommit:
    """Insert rows of ``row_bytes`` in a fresh database (WAL, synchronous=FULL), blocking."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute("CREATE TABLE row (k TEXT PRIMARY KEY, v BLOB) WITHOUT ROWID")
    value = b"x" * row_bytes
    commits: list[float] = []
    until = time.perf_counter() + seconds
    began = time.perf_counter()
    while time.perf_counter() < until:
        start = time.perf_counter()
        database.execute("BEGIN IMMEDIATE")
        first = len(commits) * group
        database.executemany("INSERT INTO row VALUES (?, ?)", [(f"{first + at:012d}", value) for at in range(group)])
        database.execute("COMMIT")
        commits.append(time.perf_counter() - start)
    elapsed = time.perf_counter() - began
    database.close()
    return GroupCommit(group, len(commits) * group / elapsed, sorted(commits)[len(commits) // 2])

"""What is answered is on disk (E1): a commit without its own fsync is made durable by ``sync``."""

import asyncio
import sqlite3

from shared.adapters.sqlite.database import Database


def _note(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE IF NOT EXISTS notes (n INTEGER)")
    connection.execute("INSERT INTO notes VALUES (1)")


async def test_a_derived_write_is_synced_by_the_next_sync_and_only_once(tmp_path):
    database = Database(tmp_path / "chat4all.db")
    levels: list[int] = []
    begin = database._begin

    def watched(durable: bool) -> None:
        begin(durable)
        levels.append(database._writer.execute("PRAGMA synchronous").fetchone()[0])

    database._begin = watched
    await database.write(_note)
    await database.sync()
    await database.sync()
    assert levels == [1, 2]
    await database.close()


async def test_a_durable_write_needs_no_sync_after_it(tmp_path):
    database = Database(tmp_path / "chat4all.db")
    await database.write(_note, durable=True)
    await database.sync()
    assert database.read("SELECT count(*) FROM sqlite_schema WHERE name = 'sync_marks'") == [(0,)]
    await database.close()


async def test_many_who_wait_for_the_disk_share_one_commit(tmp_path):
    database = Database(tmp_path / "chat4all.db")
    await database.write(_note)
    await asyncio.gather(*(database.sync() for _ in range(50)))
    assert database.read("SELECT count(*) FROM sync_marks") == [(1,)]
    await database.close()


async def test_a_job_that_fails_takes_nobody_with_it_even_when_the_file_is_locked_at_that_moment(tmp_path):
    database = Database(tmp_path / "chat4all.db")
    other = sqlite3.connect(tmp_path / "chat4all.db", isolation_level=None)
    loop = asyncio.get_running_loop()

    def fail(connection: sqlite3.Connection) -> None:
        # The other process gets the lock in the moment in which this transaction ends.
        loop.call_soon(other.execute, "BEGIN IMMEDIATE")
        loop.call_later(0.05, other.execute, "COMMIT")
        raise ValueError("a defect")

    bad, good = database.write(fail, durable=True), database.write(_note, durable=True)
    results = await asyncio.gather(bad, good, return_exceptions=True)
    assert isinstance(results[0], ValueError)
    assert results[1] is None
    assert database.read("SELECT count(*) FROM notes") == [(1,)]
    await database.close()
    other.close()

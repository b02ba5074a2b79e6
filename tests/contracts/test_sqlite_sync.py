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
    marks = database.read("SELECT count(*) FROM sync_marks")
    await database.sync()
    assert database.read("SELECT count(*) FROM sync_marks") == marks
    await database.close()


async def test_many_who_wait_for_the_disk_share_one_commit(tmp_path):
    database = Database(tmp_path / "chat4all.db")
    await database.write(_note)
    await asyncio.gather(*(database.sync() for _ in range(50)))
    assert database.read("SELECT count(*) FROM sync_marks") == [(1,)]
    await database.close()

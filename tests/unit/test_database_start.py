"""A database file that cannot be used stops the start with its reason, and stays as it was (E8)."""

import sqlite3
from pathlib import Path

import pytest

from shared.adapters.memory.clock import SettableClock
from shared.adapters.sqlite.database import CorruptDatabase, Database
from shared.adapters.sqlite.tables import SqliteTables
from shared.repositories.schema import TABLES


async def test_a_file_whose_tables_have_other_keys_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "chat4all.db"
    with sqlite3.connect(path) as older:
        older.execute("CREATE TABLE message_ids (tenant TEXT, message_id TEXT, seq INTEGER, PRIMARY KEY (tenant))")
    older.close()

    database = Database(path)
    with pytest.raises(CorruptDatabase, match="another version: its table message_ids"):
        SqliteTables(database, SettableClock(), TABLES)
    await database.close()

    left = sqlite3.connect(path)
    assert left.execute("SELECT name FROM sqlite_schema").fetchall() == [
        ("message_ids",),
        ("sqlite_autoindex_message_ids_1",),
    ]
    left.close()


async def test_damage_that_shows_only_when_tables_are_made_is_no_defect_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "chat4all.db"
    database = Database(path)

    def damaged(connection: sqlite3.Connection) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    with pytest.raises(CorruptDatabase, match="malformed"):
        database.execute_at_start(damaged)
    await database.close()

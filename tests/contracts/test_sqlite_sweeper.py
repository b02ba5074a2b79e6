"""The embedded log is trimmed faster than messages come in, in transactions that hold nobody up (E8)."""

from shared.adapters.memory.clock import SettableClock
from shared.adapters.sqlite.database import Database
from shared.adapters.sqlite.event_log import SqliteEventLog
from shared.adapters.sqlite.sweeper import SqliteSweeper
from shared.adapters.sqlite.tables import SqliteTables
from shared.repositories.schema import TABLES
from shared.testing.build import an_event


async def test_one_sweep_removes_all_that_is_too_much_and_no_more(tmp_path):
    database = Database(tmp_path / "chat4all.db")
    tables = SqliteTables(database, SettableClock(), TABLES)
    log = SqliteEventLog(database, tmp_path / "chat4all.db")
    await log.emit(*(an_event() for _ in range(3500)))
    await SqliteSweeper(tables, log, keep_events=100).sweep()
    kept = await log.latest(5000)
    assert len(kept) == 100
    assert kept[-1].offset == 3500
    await database.close()


async def test_what_a_group_has_not_done_stays(tmp_path):
    database = Database(tmp_path / "chat4all.db")
    tables = SqliteTables(database, SettableClock(), TABLES)
    log = SqliteEventLog(database, tmp_path / "chat4all.db")
    await log.emit(*(an_event() for _ in range(500)))
    await log.commit("slow", 42)
    await SqliteSweeper(tables, log, keep_events=100).sweep()
    assert (await log.latest(5000))[0].offset == 43
    await database.close()

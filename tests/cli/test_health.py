"""What the doctor sees on a machine (issue 3, items 8 and 'what it must show'; E8)."""

import sqlite3
from pathlib import Path

from shared.cli.health import Check, Verdict, machine


def _found(data_dir: Path) -> dict[str, Check]:
    return {check.name: check for check in machine(data_dir)}


def test_a_directory_that_the_first_start_will_make_is_fine(tmp_path: Path) -> None:
    assert _found(tmp_path / "not" / "yet")["data directory"].verdict is Verdict.OK


def test_a_sound_database_is_ok(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "chat4all.db") as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()
    assert _found(tmp_path)["database"].verdict is Verdict.OK


def test_a_corrupt_database_fails_and_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "chat4all.db").write_bytes(b"not a database, certainly" * 100)
    check = _found(tmp_path)["database"]
    assert check.verdict is Verdict.FAIL
    assert "backup" in check.advice


def test_a_secret_that_others_can_read_fails(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials.json"
    credentials.write_text("{}")
    credentials.chmod(0o644)
    assert _found(tmp_path)["secrets"].verdict is Verdict.FAIL
    credentials.chmod(0o600)
    assert _found(tmp_path)["secrets"].verdict is Verdict.OK

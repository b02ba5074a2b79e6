"""What the doctor sees on a machine (issue 3, items 8 and 'what it must show'; E8)."""

import sqlite3
from pathlib import Path

import pytest

from shared.cli.health import Check, Verdict, machine
from shared.runtime.credentials_file import CredentialsFile


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


@pytest.mark.parametrize(
    ("started_in", "verdict"), [(None, Verdict.OK), ("embedded", Verdict.OK), ("servers", Verdict.WARN)]
)
def test_the_settings_are_said_to_be_those_of_this_terminal(
    tmp_path: Path, started_in: str | None, verdict: Verdict
) -> None:
    """The platform may have been started with others; its mode is in the data directory."""
    if started_in is not None:
        CredentialsFile(tmp_path).keep(url="http://127.0.0.1:8080", mode=started_in)
    check = _found(tmp_path)["settings"]
    assert check.verdict is verdict
    assert check.found.startswith("of this terminal: mode embedded, port 8080")
    if verdict is Verdict.WARN:
        assert "CHAT4ALL_MODE=servers" in check.advice

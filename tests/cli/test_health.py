"""What the doctor sees on a machine (issue 3, items 8 and 'what it must show'; E8)."""

import socket
import sqlite3
import time
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest

from shared.cli.command import Connection, Session
from shared.cli.health import Check, Verdict, machine, platform
from shared.cli.output import Output
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


@pytest.mark.parametrize(
    ("folder", "file", "warned"),
    [
        (0o700, 0o644, False),  # as a start makes them
        (0o755, 0o600, False),
        (0o755, 0o644, True),
        (0o750, 0o640, True),
        (0o705, 0o640, False),
        (0o744, 0o644, False),  # whose name is seen cannot be opened all the same
    ],
)
def test_a_database_that_others_can_read_is_a_warning(tmp_path: Path, folder: int, file: int, warned: bool) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    sqlite3.connect(data_dir / "chat4all.db").close()
    (data_dir / "chat4all.db").chmod(file)
    data_dir.chmod(folder)
    found = _found(data_dir)
    assert found["database"].verdict is Verdict.OK
    assert ("who reads it" in found) is warned
    if warned:
        assert found["who reads it"].verdict is Verdict.WARN
        assert f"chmod 700 {data_dir}" in found["who reads it"].advice


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


def test_in_the_mode_servers_engines_that_do_not_listen_are_told_and_how_they_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port, nobody = there.getsockname()[1], closed.getsockname()[1]
        monkeypatch.setenv("CHAT4ALL_MODE", "servers")
        monkeypatch.setenv("CHAT4ALL_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{nobody},127.0.0.1:{port}")
        monkeypatch.setenv("CHAT4ALL_CASSANDRA_PORT", str(nobody))
        monkeypatch.setenv("CHAT4ALL_REDIS_URL", f"redis://127.0.0.1:{nobody}")
        monkeypatch.setenv("CHAT4ALL_NATS_URL", f"nats://127.0.0.1:{port}")
        found = _found(tmp_path)
    verdicts = {name: found[f"engine: {name}"].verdict for name in ("kafka", "cassandra", "redis", "nats")}
    assert verdicts == {
        "kafka": Verdict.WARN,  # one of two
        "cassandra": Verdict.FAIL,
        "redis": Verdict.WARN,  # the platform goes on without
        "nats": Verdict.OK,
    }
    assert f"127.0.0.1:{nobody}" in found["engine: cassandra"].found
    assert "scripts/stack up" in found["engine: cassandra"].advice
    assert "goes on without" in found["engine: redis"].advice


def test_in_the_mode_embedded_no_engine_is_looked_for(tmp_path: Path) -> None:
    assert not [name for name in _found(tmp_path) if name.startswith("engine")]


@pytest.mark.parametrize(
    ("ages", "verdict"),
    [
        ([0], Verdict.OK),
        ([9, 0], Verdict.OK),
        ([60, 61, 62], Verdict.WARN),
        ([-60] * 3, Verdict.WARN),
        ([60, None], Verdict.WARN),  # it refuses
    ],
)
def test_a_clock_is_apart_when_every_date_of_the_platform_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ages: list[int | None], verdict: Verdict
) -> None:
    """One that is busy sends a Date of some seconds ago."""
    monkeypatch.setattr("shared.cli.health._NEXT_DATE", 0)
    now = time.time()  # noqa: TID251 (as the doctor has it)
    dates = iter([None if age is None else formatdate(now - age, usegmt=True) for age in ages])

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/health/live":
            return httpx.Response(200, json={"dependencies": {}, "access_token": "t"})
        date = next(dates)
        return httpx.Response(200, json={"status": "ok"}, headers={"date": date}) if date else httpx.Response(503)

    session = Session(Connection(tmp_path, "http://127.0.0.1:1", None, "c", "s", httpx.MockTransport(answer)), Output())
    (clock,) = (check for check in platform(session) if check.name == "clock")
    session.close()
    assert clock.verdict is verdict
    assert not list(dates)
    if verdict is Verdict.WARN:
        assert clock.found.startswith(("+60 s apart", "+61 s apart") if ages[0] != -60 else ("-60 s", "-59 s"))


def _readiness(**needed: bool) -> httpx.MockTransport:
    """A platform all of whose dependencies are down. As of the gateway: there is no detail."""
    down = {name: {"status": "down", "latency_ms": 1.0, "needed": one} for name, one in needed.items()}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path != "/health/ready":
            return httpx.Response(200, json={"status": "ok", "access_token": "t"})
        return httpx.Response(503 if any(needed.values()) else 200, json={"dependencies": down})

    return httpx.MockTransport(answer)


def test_what_may_be_away_is_a_warning_that_says_what_it_means(tmp_path: Path) -> None:
    transport = _readiness(cassandra=True, redis=False, nats=False)
    session = Session(Connection(tmp_path, "http://127.0.0.1:1", None, "c", "s", transport), Output())
    found = {check.name: check for check in platform(session)}
    session.close()
    verdicts = [found[f"ready: {name}"].verdict for name in ("cassandra", "redis", "nats")]
    assert verdicts == [Verdict.FAIL, Verdict.WARN, Verdict.WARN]
    assert "rate limits" in found["ready: redis"].advice
    assert "sockets" in found["ready: nats"].advice

"""
The platform as a newcomer has it: ``chat4all up`` in one terminal, other commands in the next one.

Requirements: issue 3 items 8 and "what it must show" (a failed start is one clear line and an exit code); C3, A9,
A11 through the demo; E12 (a second tenant).
"""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from shared.runtime import start_error
from shared.testing.platform import Platform, free_port


async def chat4all(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of one command."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "shared.cli.main",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_plain() | environment,
    )
    async with asyncio.timeout(90):
        out, err = await child.communicate()
    assert child.returncode is not None
    return child.returncode, out.decode(), err.decode()


def _plain() -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CHAT4ALL_")}  # noqa: TID251
    return kept | {"LC_ALL": "C.UTF-8", "COLUMNS": "200"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, settings: Mapping[str, str]) -> Path:
    return tmp_path_factory.mktemp("platform") / "data"


@pytest.fixture(scope="module")
def settings(environment: Callable[[], dict[str, str]]) -> dict[str, str]:
    return environment()


@pytest.fixture
async def platform(data: Path, settings: Mapping[str, str]) -> AsyncIterator[Platform]:
    running = Platform(free_port(), data, settings)
    await running.start()
    yield running
    assert running.process is not None
    assert await running.process.stop() == 0


async def test_the_demo_comes_true_again_and_again(platform: Platform) -> None:
    for _ in range(2):
        code, out, err = await chat4all("demo", "--data-dir", str(platform.data), "--json")
        assert code == 0, err
        told = json.loads(out)
        assert told["ok"]
        for past in told["histories"].values():
            assert [entry["status"] for entry in past if entry["status"] != "PENDING"] == ["SENT", "DELIVERED", "READ"]
    code, out, _ = await chat4all("demo", "--data-dir", str(platform.data), "--lang", "pt")
    assert code == 0
    assert "todos os 29 passos se cumpriram" in out


async def test_the_chain_of_a_message_can_be_shown(platform: Platform) -> None:
    where = ("--data-dir", str(platform.data), "--json")
    _, out, _ = await chat4all("demo", *where)
    message_id = list(json.loads(out)["histories"])[1]
    code, out, err = await chat4all("events", "show", message_id, *where)
    assert code == 0, err
    root, *news = json.loads(out)["items"]
    # News have ids of their own facts, whoever reports them: they show beside the chain when a webhook hears them.
    assert {one["event"]["type"] for one in news} <= {"chat4all.message.delivered.v1", "chat4all.message.read.v1"}
    assert root["event"]["type"] == "chat4all.message.accepted.v1"
    assert {effect["event"]["type"] for effect in root["effects"]} == {
        "chat4all.message.received.v1",
        "chat4all.delivery.requested.v1",
    }


async def test_a_tenant_can_be_made_while_the_platform_runs_and_sees_nothing_of_another(
    platform: Platform, settings: Mapping[str, str]
) -> None:
    where = ("--data-dir", str(platform.data), "--json")
    assert (await chat4all("users", "create", "zoe", *where))[0] == 0
    code, out, err = await chat4all("tenants", "create", "acme", *where, **settings)
    assert code == 0, err
    assert json.loads(out)["tenant"] == "acme"
    code, out, _ = await chat4all("users", "list", "--tenant", "acme", *where)
    assert (code, json.loads(out)["items"]) == (0, [])
    code, _, err = await chat4all("tenants", "create", "acme", *where, **settings)
    assert (code, "already" in err) == (1, True)


async def test_a_tenant_is_given_limits_of_its_own_while_the_platform_runs(
    platform: Platform, settings: Mapping[str, str]
) -> None:
    where = ("--data-dir", str(platform.data), "--json")
    assert (await chat4all("tenants", "create", "busy", *where, **settings))[0] == 0
    code, out, err = await chat4all("tenants", "limit", "busy", "--requests", "5000", *where, **settings)
    assert code == 0, err
    assert json.loads(out) == {"tenant": "busy", "requests_per_minute": 5000, "messages_per_minute": None}
    code, _, err = await chat4all("tenants", "limit", "nobody", "--requests", "1", *where, **settings)
    assert (code, "nobody" in err) == (1, True)


async def test_a_tenant_is_not_made_in_the_tables_of_another_mode(
    platform: Platform, settings: Mapping[str, str]
) -> None:
    mode = settings.get("CHAT4ALL_MODE", "embedded")
    other = "servers" if mode == "embedded" else "embedded"
    where = ("--data-dir", str(platform.data))
    code, out, err = await chat4all("tenants", "create", "lost", *where, **{**settings, "CHAT4ALL_MODE": other})
    assert (code, out, f"CHAT4ALL_MODE={mode}" in err) == (1, "", True), err


async def test_the_doctor_finds_nothing_wrong_with_a_running_platform(
    platform: Platform, settings: Mapping[str, str]
) -> None:
    platform.data.chmod(0o700)  # as the platform makes it, where nobody made it before
    code, out, err = await chat4all("doctor", "--data-dir", str(platform.data), "--json", **settings)
    assert code == 0, err
    assert [check for check in json.loads(out)["checks"] if check["verdict"] != "ok"] == []


async def _refused(expected: int, *arguments: str, **environment: str) -> str:
    """What ``up`` says when it cannot start: one line, and this exit code."""
    code, out, err = await chat4all("up", *arguments, **environment)
    assert (code, out) == (expected, ""), err
    (line,) = err.splitlines()
    return line


async def test_a_second_instance_on_the_same_data_directory_is_refused(platform: Platform) -> None:
    where = ("--port", str(free_port()), "--data-dir", str(platform.data))
    assert "another instance" in await _refused(start_error.ALREADY_RUNNING, *where)


async def test_a_port_in_use_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        line = await _refused(start_error.PORT_IN_USE, "--port", port, "--data-dir", str(tmp_path))
    assert f"127.0.0.1:{port}" in line


async def test_a_host_that_is_not_of_this_machine_is_not_blamed_on_the_port(tmp_path: Path) -> None:
    for host in ("no.such.host.invalid", "192.0.2.1"):
        line = await _refused(start_error.PORT_IN_USE, "--host", host, "--data-dir", str(tmp_path))
        assert host in line
        assert "--host" in line
        assert "--port" not in line


async def test_a_log_file_that_cannot_be_written_is_said_to_be_that(tmp_path: Path) -> None:
    where = ("--port", "0", "--data-dir", str(tmp_path / "data"))
    line = await _refused(start_error.SETTINGS_WRONG, *where, CHAT4ALL_LOG_FILE="/proc/nosuch/x.log")
    assert "CHAT4ALL_LOG_FILE" in line
    assert "/proc/nosuch/x.log" in line


@pytest.mark.parametrize("name", ["log", "credentials.new", "simulators.key"])
async def test_what_cannot_be_written_in_the_data_directory_is_said_to_be_that(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch() if name == "log" else (tmp_path / name).mkdir()
    line = await _refused(start_error.DATA_DIR_UNUSABLE, "--port", "0", "--data-dir", str(tmp_path))
    assert str(tmp_path / name) in line


async def test_a_data_directory_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for data_dir in (tmp_path / "file", Path("/proc/chat4all")):
        line = await _refused(start_error.DATA_DIR_UNUSABLE, "--data-dir", str(data_dir))
        assert str(data_dir) in line


@pytest.mark.parametrize("content", [b"no database", b"no database" * 10_000])
async def test_a_database_file_that_is_none_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "chat4all.db"
    path.write_bytes(content)
    where = ("--port", "0", "--data-dir", str(tmp_path))
    assert "damaged" in await _refused(start_error.DATABASE_CORRUPT, *where)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("name", "value"), [("CHAT4ALL_PROT", "8081"), ("CHAT4ALL_PORT", "many"), ("CHAT4ALL_MODE", "magic")]
)
async def test_a_setting_that_is_unknown_or_does_not_fit_is_refused(tmp_path: Path, name: str, value: str) -> None:
    where = ("--data-dir", str(tmp_path))
    assert name in await _refused(start_error.SETTINGS_WRONG, *where, **{name: value})

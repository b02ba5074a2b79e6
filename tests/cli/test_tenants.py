"""Tenants are seen, as they are made, by whoever has the data directory."""

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from shared.cli.main import app
from shared.domain.errors import Unauthenticated
from shared.repositories.clients import Clients
from shared.runtime.choices import Choices
from shared.runtime.credentials_file import FILE_NAME
from shared.runtime.open_ports import open_embedded


def tenants(*arguments: str, data_dir: Path) -> Result:
    return CliRunner().invoke(app, ["tenants", *arguments, "--data-dir", str(data_dir)])


def kept(data_dir: Path) -> dict[str, dict[str, str]]:
    tenants: dict[str, dict[str, str]] = json.loads((data_dir / FILE_NAME).read_text())["tenants"]
    return tenants


def valid(data_dir: Path, client_id: str, client_secret: str) -> str | None:
    """The tenant that they let in."""

    async def ask() -> str | None:
        async with open_embedded(data_dir, Choices()) as opened:
            ports = opened.ports
            try:
                client = await Clients(ports.tables, ports.clock, ports.hasher).verify(client_id, client_secret)
            except Unauthenticated:
                return None
            return client.tenant

    return asyncio.run(ask())


def test_a_secret_that_cannot_be_kept_is_shown_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "credentials.new").mkdir()
    made = tenants("create", "acme", "--json", data_dir=tmp_path)
    assert made.exit_code == 1
    (line,) = made.stderr.splitlines()
    assert f"could not be kept in {tmp_path / FILE_NAME}" in line
    shown = json.loads(made.stdout)
    assert valid(tmp_path, shown["client_id"], shown["client_secret"]) == "acme"


def test_a_secret_that_cannot_be_shown_is_kept_all_the_same(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        create = [sys.executable, "-m", "shared.cli.main", "tenants", "create", "acme", "--data-dir", str(tmp_path)]
        subprocess.run(create, stdout=full, stderr=subprocess.DEVNULL, timeout=60, check=False)
    assert valid(tmp_path, **kept(tmp_path)["acme"]) == "acme"


def test_a_file_that_was_spoilt_does_not_cost_the_secret(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text('{"tenants": []}')
    made = tenants("create", "acme", "--json", data_dir=tmp_path)
    assert made.exit_code == 0, made.stderr
    assert kept(tmp_path)["acme"]["client_secret"] == json.loads(made.stdout)["client_secret"]


def test_who_lost_a_secret_gets_another_client_beside_the_first(tmp_path: Path) -> None:
    first = json.loads(tenants("create", "acme", "--json", data_dir=tmp_path).stdout)
    again = tenants("create", "acme", data_dir=tmp_path)
    assert again.exit_code == 1
    assert "chat4all tenants add-client acme" in again.stderr
    added = tenants("add-client", "acme", "--json", data_dir=tmp_path)
    assert added.exit_code == 0, added.stderr
    second = json.loads(added.stdout)
    assert second["tenant"] == "acme"
    assert kept(tmp_path)["acme"] == {name: second[name] for name in ("client_id", "client_secret")}
    for client in (first, second):
        assert valid(tmp_path, client["client_id"], client["client_secret"]) == "acme"


def test_a_client_that_was_disabled_lets_nobody_in(tmp_path: Path) -> None:
    made = json.loads(tenants("create", "acme", "--json", data_dir=tmp_path).stdout)
    ended = tenants("disable-client", made["client_id"], "--json", data_dir=tmp_path)
    assert ended.exit_code == 0, ended.stderr
    assert json.loads(ended.stdout) == {"client_id": made["client_id"], "disabled": True}
    assert valid(tmp_path, made["client_id"], made["client_secret"]) is None
    assert kept(tmp_path)["acme"] == {"client_id": made["client_id"], "disabled": True}, "nobody uses it again"
    assert json.loads(tenants("list", "--json", data_dir=tmp_path).stdout)["items"][0]["client_id"] is None
    asked = CliRunner().invoke(app, ["users", "list", "--tenant", "acme", "--data-dir", str(tmp_path)])
    assert "chat4all tenants add-client acme" in asked.stderr
    unknown = tenants("disable-client", "nobody", data_dir=tmp_path)
    assert (unknown.exit_code, "nobody" in unknown.stderr) == (1, True)


def test_a_client_that_was_replaced_goes_and_the_one_that_is_kept_stays(tmp_path: Path) -> None:
    first = json.loads(tenants("create", "acme", "--json", data_dir=tmp_path).stdout)
    second = json.loads(tenants("add-client", "acme", "--json", data_dir=tmp_path).stdout)
    assert tenants("disable-client", first["client_id"], data_dir=tmp_path).exit_code == 0
    assert kept(tmp_path)["acme"]["client_id"] == second["client_id"]


def test_nobody_gets_a_client_of_a_tenant_that_there_is_not(tmp_path: Path) -> None:
    tenants("create", "acme", data_dir=tmp_path)
    refused = tenants("add-client", "globex", data_dir=tmp_path)
    assert (refused.exit_code, "globex" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    "asked", [("list",), ("limit", "acme", "--requests", "1"), ("add-client", "acme"), ("disable-client", "acme-1")]
)
@pytest.mark.parametrize("empty", [False, True])
def test_where_no_platform_was_nothing_is_made(tmp_path: Path, empty: bool, asked: tuple[str, ...]) -> None:
    nothing = tmp_path / "nothing"
    if empty:
        nothing.mkdir()
    refused = tenants(*asked, data_dir=nothing)
    assert refused.exit_code == 1
    (line,) = refused.stderr.splitlines()
    assert str(nothing) in line
    assert list(tmp_path.rglob("*")) == [nothing] * empty


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_was_mistyped_gets_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    """In the mode servers its vault.key would be another than the platform's."""
    mistyped = tmp_path / "mistyped"
    if there:
        mistyped.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as engine:
        port = engine.getsockname()[1]
        monkeypatch.setenv("CHAT4ALL_MODE", "servers")
        monkeypatch.setenv("CHAT4ALL_CASSANDRA_CONTACT_POINTS", "127.0.0.1")
        monkeypatch.setenv("CHAT4ALL_CASSANDRA_PORT", str(port))
        monkeypatch.setenv("CHAT4ALL_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{port}")
        refused = tenants("list", data_dir=mistyped)
    assert refused.exit_code == 1
    assert "CHAT4ALL_SECRET_KEY" in refused.stderr
    assert list(tmp_path.rglob("*")) == [mistyped] * there


@pytest.mark.parametrize("content", [b"spoilt", b"", b"\xff\xfe"])
def test_a_key_that_was_spoilt_is_told_in_a_line_and_stays(tmp_path: Path, content: bytes) -> None:
    tenants("create", "acme", data_dir=tmp_path)
    (tmp_path / "vault.key").write_bytes(content)
    refused = tenants("list", data_dir=tmp_path)
    assert refused.exit_code == 1
    (line,) = refused.stderr.splitlines()
    assert "vault.key" in line
    assert "restore it from a backup" in line
    assert (tmp_path / "vault.key").read_bytes() == content


def test_all_tenants_are_listed_with_their_limits_and_the_client_that_is_kept(tmp_path: Path) -> None:
    for name in ("globex", "acme"):
        assert tenants("create", name, data_dir=tmp_path).exit_code == 0
    assert tenants("limit", "acme", "--requests", "5000", data_dir=tmp_path).exit_code == 0
    acme = kept(tmp_path)["acme"]
    (tmp_path / FILE_NAME).write_text(json.dumps({"tenants": {"acme": acme}}))
    listed = tenants("list", "--json", data_dir=tmp_path)
    assert listed.exit_code == 0, listed.stderr
    items = json.loads(listed.stdout)["items"]
    assert [item.pop("created_at")[:2] for item in items] == ["20", "20"]
    assert items == [
        {
            "tenant": "acme",
            "requests_per_minute": 5000,
            "messages_per_minute": None,
            "client_id": acme["client_id"],
        },
        {"tenant": "globex", "requests_per_minute": None, "messages_per_minute": None, "client_id": None},
    ]
    said = tenants("list", data_dir=tmp_path).stdout
    assert "globex" in said
    assert acme["client_secret"] not in said + listed.stdout


def limits(data_dir: Path) -> tuple[int | None, int | None]:
    (acme,) = json.loads(tenants("list", "--json", data_dir=data_dir).stdout)["items"]
    return acme["requests_per_minute"], acme["messages_per_minute"]


@pytest.mark.parametrize("asked", [(), ("--reset", "--requests", "1")])
def test_who_says_no_limit_takes_none_away(tmp_path: Path, asked: tuple[str, ...]) -> None:
    """It took both away, of whoever wanted to see them."""
    assert tenants("create", "acme", data_dir=tmp_path).exit_code == 0
    assert tenants("limit", "acme", "--requests", "5000", "--messages", "0", data_dir=tmp_path).exit_code == 0
    refused = tenants("limit", "acme", *asked, data_dir=tmp_path)
    assert refused.exit_code == 2
    for said in ("--requests", "--messages", "--reset", "tenants list"):
        assert said in " ".join(refused.stderr.split())
    assert limits(tmp_path) == (5000, 0)


def test_the_limits_of_the_settings_come_back_when_that_is_said(tmp_path: Path) -> None:
    assert tenants("create", "acme", data_dir=tmp_path).exit_code == 0
    assert tenants("limit", "acme", "--requests", "5000", data_dir=tmp_path).exit_code == 0
    assert tenants("limit", "acme", "--reset", data_dir=tmp_path).exit_code == 0
    assert limits(tmp_path) == (None, None)

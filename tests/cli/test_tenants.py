"""Tenants are seen, as they are made, by whoever has the data directory."""

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from shared.cli.main import app
from shared.runtime.credentials_file import FILE_NAME


def tenants(*arguments: str, data_dir: Path) -> Result:
    return CliRunner().invoke(app, ["tenants", *arguments, "--data-dir", str(data_dir)])


def test_all_tenants_are_listed_with_their_limits_and_the_client_that_is_kept(tmp_path: Path) -> None:
    for name in ("globex", "acme"):
        assert tenants("create", name, data_dir=tmp_path).exit_code == 0
    assert tenants("limit", "acme", "--requests", "5000", data_dir=tmp_path).exit_code == 0
    kept = json.loads((tmp_path / FILE_NAME).read_text())["tenants"]
    (tmp_path / FILE_NAME).write_text(json.dumps({"tenants": {"acme": kept["acme"]}}))
    listed = tenants("list", "--json", data_dir=tmp_path)
    assert listed.exit_code == 0, listed.stderr
    items = json.loads(listed.stdout)["items"]
    assert [item.pop("created_at")[:2] for item in items] == ["20", "20"]
    assert items == [
        {
            "tenant": "acme",
            "requests_per_minute": 5000,
            "messages_per_minute": None,
            "client_id": kept["acme"]["client_id"],
        },
        {"tenant": "globex", "requests_per_minute": None, "messages_per_minute": None, "client_id": None},
    ]
    said = tenants("list", data_dir=tmp_path).stdout
    assert "globex" in said
    assert kept["acme"]["client_secret"] not in said + listed.stdout

"""
A tenant is made in the tables of the platform that runs on the data directory, or not at all (E12).

Without CHAT4ALL_MODE the command would write into SQLite what a platform in the mode servers never reads.
"""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from shared.cli.main import app
from shared.runtime import start_error
from shared.runtime.credentials_file import CredentialsFile
from shared.runtime.only_one import only_one
from shared.runtime.platform import add_client, all_tenants, create_tenant, disable_client, keep_client, limit_tenant
from shared.runtime.start_error import StartError
from shared.settings import load_settings


def _started_in(mode: str, data_dir: Path) -> None:
    """As ``up`` leaves it."""
    CredentialsFile(data_dir).keep(url="http://127.0.0.1:8080", mode=mode)


@pytest.mark.parametrize(("theirs", "ours"), [("servers", "embedded"), ("embedded", "servers")])
def test_nothing_is_written_in_another_mode_than_that_of_the_platform(tmp_path: Path, theirs: str, ours: str) -> None:
    _started_in(theirs, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    settings = load_settings(data_dir=tmp_path, mode=ours)
    for change in (
        lambda: create_tenant(settings, "acme"),
        lambda: limit_tenant(settings, "acme", requests=1, messages=None),
        lambda: add_client(settings, "acme"),
        lambda: disable_client(settings, "acme-1"),
        lambda: all_tenants(settings),
    ):
        with pytest.raises(StartError, match=f"CHAT4ALL_MODE={theirs}") as refused:
            change()
        assert refused.value.exit_code == start_error.SETTINGS_WRONG
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_where_no_platform_was_started_the_settings_decide(tmp_path: Path) -> None:
    assert create_tenant(load_settings(data_dir=tmp_path), "acme").tenant == "acme"


def test_the_mode_of_the_last_start_counts_and_outlives_another_tenant(tmp_path: Path) -> None:
    _started_in("servers", tmp_path)
    _started_in("embedded", tmp_path)
    settings = load_settings(data_dir=tmp_path)
    for name in ("acme", "globex"):
        keep_client(settings, create_tenant(settings, name))
    assert CredentialsFile(tmp_path).mode == "embedded"


@pytest.mark.parametrize("unusable", ["a file", "no lock"])
def test_a_function_whose_data_directory_cannot_be_used_says_so_in_one_line(tmp_path: Path, unusable: str) -> None:
    data_dir = tmp_path / "data"
    if unusable == "a file":
        data_dir.write_text("")
    else:
        (data_dir / "lock").mkdir(parents=True)
    refused = CliRunner().invoke(app, ["run", "send", "--data-dir", str(data_dir)])
    assert refused.exit_code == start_error.DATA_DIR_UNUSABLE
    assert "cannot be used" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_only_an_embedded_function_needs_the_data_directory_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("K_SINK", raising=False)
    with only_one(tmp_path):
        alone = CliRunner().invoke(app, ["run", "send", "--data-dir", str(tmp_path)])
        beside = CliRunner().invoke(app, ["run", "send", "--data-dir", str(tmp_path), "--mode", "knative"])
    assert alone.exit_code == start_error.ALREADY_RUNNING
    assert beside.exit_code != start_error.ALREADY_RUNNING
    assert "K_SINK is not set" in beside.stderr + beside.output

"""The file of the first secrets: what was spoilt by hand counts as missing, and what is whole in it stays (E12)."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.runtime.credentials_file import FILE_NAME, Credentials, CredentialsFile

SPOILT = [
    "",
    "{nonsense",
    "[]",
    '{"tenants": []}',
    '{"tenants": {"acme": {}}}',
    '{"tenants": {"acme": {"client_id": "a"}}}',
    '{"tenants": {"acme": 3}}',
    '{"tenants": {"acme": {"client_id": 1, "client_secret": null}}}',
]


@pytest.mark.parametrize("content", SPOILT)
def test_what_was_spoilt_by_hand_counts_as_missing_and_is_written_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    file = CredentialsFile(tmp_path)
    assert file.of("acme") is None
    assert file.mode is None
    made = Credentials("acme", "acme-1", "s3cr3t")
    file.keep(made)
    assert file.of("acme") == made


def test_what_is_spoilt_takes_nothing_with_it(tmp_path: Path) -> None:
    whole = {"client_id": "globex-1", "client_secret": "kept"}
    content = {"mode": "embedded", "tenants": {"acme": {}, "globex": whole}}
    (tmp_path / FILE_NAME).write_text(json.dumps(content))
    file = CredentialsFile(tmp_path)
    file.keep(Credentials("initech", "initech-1", "new"))
    assert file.of("acme") is None
    assert file.of("globex") == Credentials("globex", "globex-1", "kept")
    assert file.mode == "embedded"


@pytest.mark.parametrize("content", ['{"tenants": {"acme": {"client_id": "acme-1", "client_secret": "kept"}},}', "[]"])
def test_what_cannot_be_read_is_put_aside_and_not_written_over(tmp_path: Path, content: str) -> None:
    """A comma too many costs nobody a secret: the database has only a hash of it."""
    (tmp_path / FILE_NAME).write_text(content)
    (tmp_path / FILE_NAME).chmod(0o600)
    CredentialsFile(tmp_path).keep(Credentials("globex", "globex-1", "new"))
    aside = tmp_path / "credentials.spoilt"
    assert aside.read_text() == content
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    assert list(CredentialsFile(tmp_path).all()) == ["globex"]


def test_what_is_spoilt_again_does_not_cost_what_was_put_aside_before(tmp_path: Path) -> None:
    for content in ("{first", "{second", "[" * 100_000):
        (tmp_path / FILE_NAME).write_text(content)
        CredentialsFile(tmp_path).keep(Credentials("globex", "globex-1", "new"))
    aside = {path.name: path.read_text()[:7] for path in tmp_path.glob("credentials.spoilt*")}
    assert aside == {"credentials.spoilt": "{first", "credentials.spoilt.2": "{second", "credentials.spoilt.3": "[" * 7}


def test_that_a_client_was_disabled_is_kept_until_another_is_made(tmp_path: Path) -> None:
    file = CredentialsFile(tmp_path)
    file.keep(Credentials("acme", "acme-1", "s3cr3t"), Credentials("globex", "globex-1", "kept"))
    file.disable("acme-1")
    assert (file.disabled("acme"), file.disabled("globex"), list(file.all())) == (True, False, ["globex"])
    assert "s3cr3t" not in file.path.read_text()
    file.keep(Credentials("acme", "acme-2", "another"))
    assert (file.disabled("acme"), sorted(file.all())) == (False, ["acme", "globex"])


def test_those_who_keep_at_once_lose_nothing(tmp_path: Path) -> None:
    """As a loop over `tenants create` in a shell, each in the background."""
    made = [Credentials(f"tenant-{number}", "client", "s3cr3t") for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(CredentialsFile(tmp_path).keep, made))
    assert list(map(CredentialsFile(tmp_path).of, (one.tenant for one in made))) == made

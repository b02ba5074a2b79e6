"""The narrator of the demo (issue 3, item 8; G4). The demo itself runs against the real platform in tests/flow."""

import json
import string
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from shared.cli.command import Failed
from shared.cli.demo.narrator import Narrator
from shared.cli.demo.texts import ENGLISH, PORTUGUESE, texts
from shared.cli.main import app
from shared.cli.output import Output


def test_both_languages_say_the_same_things() -> None:
    def names(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text)} - {None}

    assert {key: names(text) for key, text in ENGLISH.items()} == {key: names(text) for key, text in PORTUGUESE.items()}


@pytest.mark.parametrize(
    ("language", "expected"),
    [("pt", PORTUGUESE), ("pt_BR.UTF-8", PORTUGUESE), ("en", ENGLISH), ("C", ENGLISH), ("", ENGLISH)],
)
def test_the_language_follows_the_locale(language: str, expected: dict[str, str]) -> None:
    assert texts(language) is expected


def test_a_wait_ends_at_its_deadline_and_says_what_did_not_come() -> None:
    narrator = Narrator(Output(as_json=True), ENGLISH, deadline=0)
    with pytest.raises(Failed, match="the answer"):
        narrator.wait("the answer", lambda: None)


def test_a_wait_gives_what_came() -> None:
    narrator = Narrator(Output(as_json=True), ENGLISH, deadline=5)
    looks = iter([None, "here"])
    assert narrator.wait("it", lambda: next(looks))[0] == "here"


def test_a_tenant_that_the_simulators_do_not_serve_is_told_whom_they_serve_before_anything_is_done(
    tmp_path: Path,
) -> None:
    asked: list[str] = []

    def simulators_of_demo(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path}")
        return httpx.Response(200, json={"tenant": "demo", "account_id": "1", "settings": {}, "secrets": {}})

    client = {"client_id": "c", "client_secret": "s3cr3t"}
    (tmp_path / "credentials.json").write_text(json.dumps({"tenants": {"acme": client, "demo": client}}))
    where = ("--tenant", "acme", "--data-dir", str(tmp_path))
    result = CliRunner().invoke(app, ["demo", *where], obj=httpx.MockTransport(simulators_of_demo))
    assert result.exit_code == 1
    assert "--tenant demo" in result.stderr
    assert asked == ["GET /simulators/whatsapp/_sim/account"]


def test_a_platform_that_still_starts_is_not_said_to_have_no_simulator() -> None:
    def starting(request: httpx.Request) -> httpx.Response:
        return httpx.Response(503, json={"title": "Not now", "detail": "the platform starts"})

    client = ["--client-id", "c", "--client-secret", "s", "--tenant", "demo"]
    result = CliRunner().invoke(app, ["demo", *client], obj=httpx.MockTransport(starting))
    assert result.exit_code == 1
    assert "the platform starts" in result.stderr
    assert "simulator" not in result.stderr

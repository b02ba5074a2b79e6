"""What an answer of the API advises in words of HTTP is said as a command of ours, too."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from shared.cli.advice import COMMANDS, PATTERNS, command_for, in_words
from shared.cli.command import guarded
from shared.cli.main import app
from shared.cli.output import Output
from shared.cli.platform import PlatformRefused
from shared.domain.identity import USER_ID

ROOT = Path(__file__).resolve().parents[2]
CODE = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("functions", "shared/domain", "shared/http", "shared/repositories")
    for path in sorted((ROOT / folder).rglob("*.py"))
)
MISMATCH = f"/user_id: String should match pattern '{USER_ID}'"


def refused(problem: dict[str, object], *, as_json: bool = False) -> int:
    def run() -> None:
        raise PlatformRefused(422, problem)

    return guarded(Output(as_json), run, lambda: None)


def every_command(command: Any = None) -> Iterator[Any]:
    command = command or get_command(app)
    yield command
    for child in getattr(command, "commands", {}).values():
        yield from every_command(child)


def options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("text", COMMANDS)
def test_what_is_looked_for_is_what_the_api_says(text: str) -> None:
    assert text in CODE


@pytest.mark.parametrize("advised", COMMANDS.values())
def test_what_is_advised_can_be_done(advised: str) -> None:
    name, *words = advised.split()
    if name.startswith("--"):
        assert any(name in options(command) for command in every_command()), "no command has it"
        return
    command = get_command(app)
    assert name == "chat4all"
    for word in words:
        if word.isupper() or word.startswith("--"):
            continue
        command = command.commands[word]  # type: ignore[attr-defined]
    assert {word for word in words if word.startswith("--")} <= options(command)


@pytest.mark.parametrize(
    ("detail", "command"),
    [
        ("there is no conversation 'x'; make one with POST /v1/conversations", "chat4all conversations create"),
        ("there are no such users: eva; make them with POST /v1/users", "chat4all users create"),
        ("there is a user 'ana' with other content; PATCH changes it", "chat4all users update"),
        ("the webhook is switched off; PATCH it with enabled: true first", "chat4all webhooks update"),
    ],
)
def test_the_command_follows_what_the_api_says(detail: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused({"title": "no", "detail": detail}) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"no: {detail}"
    assert second.startswith(f"  here: {command} ")
    assert refused({"title": "no", "detail": detail}, as_json=True) == 1
    assert json.loads(capsys.readouterr().err)["command"].startswith(command)


def test_where_nothing_is_advised_nothing_is_added(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_for("there is no user 'nobody'") is None
    refused({"title": "no", "detail": "there is no user 'nobody'"}, as_json=True)
    assert "command" not in json.loads(capsys.readouterr().err)


def test_a_pattern_is_said_in_words_to_people(capsys: pytest.CaptureFixture[str]) -> None:
    problem = {
        "title": "no",
        "detail": MISMATCH,
        "errors": [{"pointer": "/user_id", "detail": MISMATCH.removeprefix("/user_id: ")}],
    }
    refused(problem)
    assert capsys.readouterr().err.splitlines() == ["no", f"  /user_id: {PATTERNS[USER_ID]}"]
    refused(problem, as_json=True)
    assert json.loads(capsys.readouterr().err)["errors"] == problem["errors"]


def test_an_unknown_pattern_stays() -> None:
    assert in_words("String should match pattern '^x$'") == "String should match pattern '^x$'"


def test_the_words_are_those_of_the_pattern() -> None:
    """A letter, digit or _ first; then these, 128 at most."""
    for good in ("a", "_", "9", "a-._~@+=|", "a" * 128):
        assert re.match(USER_ID, good)
    for bad in ("", "-a", "é", "a b", "a!", "a" * 129):
        assert not re.match(USER_ID, bad)

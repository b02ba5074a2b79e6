r"""
Nobody who writes a message drives the terminal of who reads it: controls are seen, not obeyed.

What ESC and the controls of C1 begin clears the screen, renames the window, writes the clipboard, or hides a line.
"""

import io
import json
import queue
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner

from shared.cli.chat.room import Line
from shared.cli.chat.terminal import drawn
from shared.cli.command import Session
from shared.cli.commands.listen import follow
from shared.cli.main import app
from shared.cli.output import Output
from shared.cli.transfer.progress import Drawn
from shared.cli.visible import as_json, visible
from shared.cli.webhook_receiver import Received

EVIL = "a\x1b]0;owned\x07\x1b[2J\x9b31mb\x7f"
SEEN = r"a\x1b]0;owned\x07\x1b[2J\x9b31mb\x7f"
CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"]


@pytest.fixture(autouse=True)
def _client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT4ALL_CLIENT_ID", "c")
    monkeypatch.setenv("CHAT4ALL_CLIENT_SECRET", "s")


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: f"{ord(control):02x}")
def test_a_control_is_seen(control: str) -> None:
    assert visible(f"a{control}b") == f"a\\x{ord(control):02x}b"


@pytest.mark.parametrize("text", ["", "Olá\tmundo\n¡🎉 ‏שלום", "\xa0"])
def test_what_is_no_control_stays(text: str) -> None:
    assert visible(text) == text


def test_the_newline_of_other_systems_is_one() -> None:
    assert visible("a\r\nb") == "a\nb"


def test_json_has_no_control_and_says_the_same() -> None:
    document = {"text": "".join(CONTROLS) + "Olá"}
    text = as_json(document)
    assert not set(CONTROLS) & set(text)
    assert "Olá" in text
    assert json.loads(text) == document


def _platform(request: httpx.Request) -> httpx.Response:
    match request.url.path:
        case "/auth/token":
            return httpx.Response(200, json={"access_token": "t"})
        case "/v1/users/ana":
            return httpx.Response(200, json={"user_id": "ana", "display_name": EVIL, "metadata": {EVIL: EVIL}})
        case "/v1/conversations":
            last = {"from": EVIL, "preview": EVIL}
            listed = {"conversation_id": "c1", "type": "group", "members": [EVIL], "last_message": last}
            return httpx.Response(200, json={"items": [listed], "next_cursor": None})
        case "/v1/conversations/c1/messages":
            said = {"seq": 1, "created_at": "now", "from": EVIL, "payload": {"type": "text", "text": EVIL}}
            return httpx.Response(200, json={"items": [said], "next_cursor": None})
        case "/v1/events":
            event = {"id": "e", "type": EVIL, "subject": EVIL, "data": {"reason": EVIL}}
            return httpx.Response(200, json={"items": [{"offset": 1, "event": event}], "next": None})
        case _:
            errors = [{"pointer": f"/{EVIL}", "detail": EVIL}]
            return httpx.Response(422, json={"title": EVIL, "detail": "no", "errors": errors, "trace_id": EVIL})


COMMANDS = [
    ("users", "show", "ana"),
    ("conversations", "list", "--as", "ana"),
    ("messages", "list", "c1"),
    ("events", "list"),
    ("users", "show", "refused"),
]


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_commands_show_what_strangers_wrote(
    arguments: tuple[str, ...], terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if terminal:
        monkeypatch.setenv("TTY_COMPATIBLE", "1")
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setenv("COLUMNS", "1000")
    result = CliRunner().invoke(app, [*arguments], obj=httpx.MockTransport(_platform))
    said = result.stdout + result.stderr
    assert "\x1b]" not in said
    assert "\x1b[2J" not in said
    assert not set(CONTROLS) - {"\x1b"} & set(said)
    assert SEEN in said


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_for_programs_too(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*arguments, "--json"], obj=httpx.MockTransport(_platform))
    said = result.stdout or result.stderr
    assert not set(CONTROLS) & set(said)
    assert EVIL in _texts(json.loads(said))


def _texts(document: Any) -> list[Any]:
    match document:
        case dict():
            return [*document, *_texts(list(document.values()))]
        case list():
            return [text for one in document for text in _texts(one)]
        case _:
            return [document]


def _console() -> Console:
    return Console(file=io.StringIO(), width=1000)


def _said(console: Console) -> str:
    return cast("io.StringIO", console.file).getvalue()


def test_a_line_of_the_chat() -> None:
    console = _console()
    console.print(drawn(Line("theirs", EVIL, "12:03", who=EVIL)))
    assert _said(console).count(SEEN) == 2
    assert not set(CONTROLS) & set(_said(console))


def test_a_webhook() -> None:
    console = _console()
    output = Output()
    output.__dict__["console"] = console
    received: queue.SimpleQueue[Received] = queue.SimpleQueue()
    received.put(Received(EVIL, {"type": EVIL, "data": {"recipient": f"{EVIL}[bold]"}}))
    receiver = cast("Any", SimpleNamespace(url="http://here"))
    follow(cast("Session", SimpleNamespace(output=output)), receiver, received, 1)
    assert _said(console).count(SEEN) == 3
    assert f"{SEEN}[bold]" in _said(console)
    assert not set(CONTROLS) & set(_said(console))


def test_a_file_s_name() -> None:
    console = _console()
    Drawn(cast("Any", SimpleNamespace(console=console))).note(EVIL)
    assert _said(console) == f"{SEEN}\n"

"""The chat in the terminal: what its lines say, that it comes back, that nothing is sent twice (A9, A12 to A14, G4)."""

import asyncio
import gc
import io
import json
import os
import sys
import threading
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console
from websockets.asyncio.server import ServerConnection, serve

from shared.cli.chat.connection import LOST, READY, Connection
from shared.cli.chat.outbox import Outbox
from shared.cli.chat.room import Line, Room
from shared.cli.chat.talk import Talk
from shared.cli.chat.terminal import Terminal, _read_aside, drawn
from shared.cli.command import Session
from shared.cli.output import Output
from shared.cli.platform import PlatformRefused, PlatformUnreachable

TALK = "c1"


def message(seq: int, sender: str, text: str = "olá", **more: Any) -> dict[str, Any]:
    return {
        "type": "message",
        "conversation_id": TALK,
        "seq": seq,
        "from": sender,
        "payload": {"type": "text", "text": text},
        "created_at": "2026-11-21T12:03:00.000Z",
        **more,
    }


def receipt(who: str, status: str, to_seq: int, **more: Any) -> dict[str, Any]:
    return {
        "type": "receipt",
        "conversation_id": TALK,
        "recipient": who,
        "channel": "chat4all",
        "status": status,
        "from_seq": 1,
        "to_seq": to_seq,
        "at": "2026-11-21T12:03:01.000Z",
        **more,
    }


@pytest.fixture
def room() -> Room:
    return Room("ana", TALK, ["ana", "bruno", "clara"])


def said(room: Room, *frames: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(line.mark, line.who, line.text) for frame in frames for line in room.take(frame, 0.0)]


def test_every_message_is_one_line_and_a_replayed_one_is_none(room: Room) -> None:
    assert said(room, message(1, "bruno"), message(2, "ana", "oi"), message(1, "bruno"), message(2, "ana", "oi")) == [
        ("", "bruno", "olá"),
        ("✓", "ana", "oi"),
    ]


def test_programs_are_told_that_a_message_came_before(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(Output(as_json=True), lambda: "", lambda: None)
    first, second = message(1, "bruno", message_id="m1"), message(2, "bruno", message_id="m2")
    for frame in (first, second, receipt("ana", "READ", 1), first, receipt("ana", "READ", 1)):
        terminal.frame(frame)
    frames = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [frame.pop("repeat_of", None) for frame in frames] == [None, None, None, "m1", None]
    assert frames[3] == first


def test_a_message_whose_predecessors_were_not_shown_asks_for_history(room: Room) -> None:
    assert not room.missing(message(1, "bruno"))
    assert room.missing(message(3, "bruno"))
    assert not room.missing(message(3, "bruno", conversation_id="c2"))
    assert not room.missing(receipt("bruno", "READ", 3))


def test_two_marks_when_the_others_have_it_and_when_they_have_read_it(room: Room) -> None:
    assert said(
        room,
        message(1, "ana"),
        receipt("bruno", "DELIVERED", 1),
        receipt("bruno", "DELIVERED", 1),
        receipt("clara", "READ", 1),
        receipt("bruno", "READ", 1),
        receipt("ana", "READ", 1),
    ) == [
        ("✓", "ana", "olá"),
        ("✓✓", "", "#1 delivered to bruno"),
        ("✓✓", "", "#1 read by clara"),
        ("✓✓", "", "#1 read by bruno, clara"),
    ]


def test_a_receipt_of_what_is_not_ours_says_nothing(room: Room) -> None:
    assert said(room, message(1, "bruno"), receipt("clara", "READ", 1)) == [("", "bruno", "olá")]


def test_a_message_that_does_not_arrive_says_where_and_why(room: Room) -> None:
    failed = receipt("bruno", "FAILED", 1, channel="whatsapp", reason="no_identity")
    assert said(room, message(1, "ana"), failed)[1:] == [("", "", "#1 does not reach bruno on whatsapp: no_identity")]


def test_the_foot_tells_who_is_there_and_who_is_writing_until_they_wrote(room: Room) -> None:
    said(room, {"type": "ready"}, {"type": "presence", "user_id": "bruno", "status": "online", "last_seen": None})
    said(room, {"type": "typing", "conversation_id": TALK, "user_id": "clara", "until": ""})
    assert room.status(1.0) == "● bruno ○ clara   clara typing …"
    assert room.status(7.0) == "● bruno ○ clara"
    said(room, {"type": "typing", "conversation_id": TALK, "user_id": "clara", "until": ""}, message(1, "clara"))
    assert "typing" not in room.status(1.0)


def test_who_joins_and_leaves_is_a_line_and_a_member(room: Room) -> None:
    change = {"type": "conversation", "conversation_id": TALK, "at": "", "by": "ana"}
    said(room, {**change, "action": "added", "user_id": "davi"}, {**change, "action": "removed", "user_id": "clara"})
    assert room.others == ["bruno", "davi"]
    system = {"type": "system", "action": "added", "user_id": "davi", "by": "ana"}
    assert said(room, message(1, "ana", payload=system)) == [("", "", "davi added")]


def test_a_message_elsewhere_is_told_once_and_shows_nobody_the_way_here(room: Room) -> None:
    other = message(1, "davi", conversation_id="c2")
    assert said(room, other, other) == [("", "", "in c2, davi: olá")]
    assert room.seq == 0


def test_a_lost_connection_is_told_once(room: Room) -> None:
    lost = {"type": LOST, "why": "gone"}
    assert len(said(room, {"type": READY}, lost, lost)) == 1
    assert "not connected" in room.status(0.0)


@pytest.mark.parametrize("width", [20, 80, 200])
def test_a_line_of_any_length_fits_any_terminal(width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    console.print(drawn(Line("theirs", "muito " * 60, "12:03", "bruno")))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert all(len(line) <= width for line in lines)
    assert lines[0].startswith("12:03 bruno:")
    assert all(line.startswith("      ") for line in lines[1:])


def test_what_people_write_is_no_markup() -> None:
    console = Console(file=io.StringIO(), width=80)
    console.print(drawn(Line("mine", "[bold]Olá[/nothing]", "12:03", "ana", "✓")))
    assert "[bold]Olá[/nothing]  ✓" in console.file.getvalue()  # type: ignore[attr-defined]


async def test_a_text_is_sent_again_under_its_own_id_until_it_is_taken() -> None:
    tried: list[dict[str, Any]] = []

    async def post(body: dict[str, Any]) -> None:
        tried.append(body)
        if len(tried) == 1:
            raise PlatformUnreachable("http://here", "away")
        if len(tried) == 2:
            raise PlatformRefused(500, {"title": "a mistake of ours"})

    outbox = Outbox(post, nothing_was_refused, nothing_is_late, pause=0)
    await outbox.add(TALK, "ana", "one")
    await outbox.add(TALK, "ana", "two")
    running = asyncio.create_task(outbox.run())
    await outbox.empty()
    running.cancel()
    assert [body["payload"]["text"] for body in tried] == ["one", "one", "one", "two"]
    assert len({body["message_id"] for body in tried}) == 2
    assert outbox.count == 0


async def test_a_text_that_will_never_be_taken_is_told_and_holds_nothing_up() -> None:
    taken, refused = [], []

    async def post(body: dict[str, Any]) -> None:
        if body["payload"]["text"] == "bad":
            raise PlatformRefused(422, {"title": "too long"})
        taken.append(body)

    outbox = Outbox(post, refused.append, nothing_is_late)
    for text in ("bad", "good"):
        await outbox.add(TALK, "ana", text)
    running = asyncio.create_task(outbox.run())
    await outbox.empty()
    running.cancel()
    assert (len(taken), [str(one) for one in refused]) == (1, ["too long"])


async def test_a_text_that_is_not_taken_for_long_is_told_once() -> None:
    tries, late = 0, []

    async def post(_: dict[str, Any]) -> None:
        nonlocal tries
        tries += 1
        if tries < 20:
            raise PlatformRefused(500, {"title": f"mistake {tries}"})

    outbox = Outbox(post, nothing_was_refused, late.append, pause=0)
    await outbox.add(TALK, "ana", "one")
    running = asyncio.create_task(outbox.run())
    await outbox.empty()
    running.cancel()
    assert [str(one) for one in late] == ["mistake 5"]


async def test_no_more_waits_to_be_sent_than_the_outbox_holds() -> None:
    goes_on = asyncio.Event()

    async def post(_: dict[str, Any]) -> None:
        await goes_on.wait()

    outbox = Outbox(post, nothing_was_refused, nothing_is_late, at_most=2)
    running = asyncio.create_task(outbox.run())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            for _ in range(10):
                await outbox.add(TALK, "ana", "one")
    assert outbox.count == 3, "one is being sent, two wait"
    goes_on.set()
    await outbox.empty()
    running.cancel()


async def test_what_is_typed_when_too_much_waits_is_not_sent_and_leaving_is_still_heard() -> None:
    goes_on, shown, posted = asyncio.Event(), [], []

    async def post(body: dict[str, Any]) -> None:
        await goes_on.wait()
        posted.append(body["payload"]["text"])

    async def lines() -> AsyncIterator[str]:
        for text in ("one", "two", "three"):
            yield text
        goes_on.set()
        yield "/quit"

    session = cast(
        "Session", SimpleNamespace(output=Output(), platform=SimpleNamespace(client=SimpleNamespace(url="")))
    )
    talk = Talk(session, "ana", {"conversation_id": TALK, "members": ["ana"]}, linger=0, reads=True)
    talk._terminal = cast("Terminal", SimpleNamespace(interactive=True, lines=lines, show=shown.append))
    talk._outbox = Outbox(post, nothing_was_refused, nothing_is_late, at_most=2)
    async with asyncio.timeout(5):
        await talk._speak([asyncio.create_task(talk._outbox.run())])
    assert posted == ["one", "two"]
    assert [line.text for line in shown] == ["not sent, 2 wait already: three"]


def nothing_was_refused(refused: PlatformRefused) -> None:
    raise AssertionError(refused)


def nothing_is_late(why: Exception) -> None:
    raise AssertionError(why)


@pytest.mark.parametrize(
    "away", [PlatformRefused(500, {"title": "a mistake"}), PlatformUnreachable("http://here", "away")]
)
async def test_history_that_cannot_be_had_now_is_asked_for_again(
    away: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was typed meanwhile would go down with the chat."""
    monkeypatch.setattr("shared.cli.chat.talk._AGAIN", 0)
    failing = [away]

    def get(path: str, **_: Any) -> dict[str, Any]:
        if failing:
            raise failing.pop()
        raise PlatformRefused(404, {"title": "no such conversation"})

    there = SimpleNamespace(client=SimpleNamespace(url="http://here"), get=get)
    session = cast("Session", SimpleNamespace(output=SimpleNamespace(as_json=True), platform=there))
    talk = Talk(session, "ana", {"conversation_id": TALK, "members": ["ana", "bruno"]}, linger=0, reads=True)
    with pytest.raises(PlatformRefused, match="no such conversation"):
        await talk._catch_up()


def test_a_line_that_comes_after_the_chat_has_ended_is_dropped_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    there, here = os.pipe()
    with os.fdopen(there, "rb") as end, io.TextIOWrapper(end) as stdin, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        monkeypatch.setattr(sys, "stdin", stdin)

        async def one_line() -> str:
            lines = _read_aside()
            os.write(here, b"a\n")
            return await lines.get()

        assert asyncio.run(one_line()) == "a\n"
        os.write(here, b"b\n")
        os.close(here)
        for thread in threading.enumerate():
            if thread.name == "stdin":
                thread.join(5)
        gc.collect()
        assert [str(one.message) for one in warned] == []


@asynccontextmanager
async def platform(handle: Any) -> AsyncIterator[str]:
    async with serve(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def token() -> str:
    return "a-token"


async def test_a_socket_that_breaks_comes_back_with_a_token_and_answers_pings() -> None:
    heard: list[Any] = []

    async def handle(socket: ServerConnection) -> None:
        heard.append(socket.request.headers["Authorization"])  # type: ignore[union-attr]
        await socket.send('{"type":"ready"}')
        if len(heard) == 1:
            await socket.close(1012, "going away")
            return
        await socket.send('{"type":"ping"}')
        heard.append(json.loads(await socket.recv()))
        await socket.send(json.dumps(message(1, "bruno")))
        await socket.wait_closed()

    async with platform(handle) as url, asyncio.timeout(10):
        frames = Connection(url, token).frames()
        kinds = [(await anext(frames))["type"] for _ in range(4)]
        await frames.aclose()  # type: ignore[attr-defined]
    assert kinds == [READY, LOST, READY, "message"]
    assert heard == ["Bearer a-token", "Bearer a-token", {"type": "pong"}]


async def test_a_token_is_replaced_before_it_ends() -> None:
    async def handle(socket: ServerConnection) -> None:
        await socket.send('{"type":"auth.expiring","expires_at":"2026-11-21T13:00:00.000Z"}')
        assert json.loads(await socket.recv()) == {"type": "auth", "token": "a-token"}
        await socket.send('{"type":"auth.renewed","expires_at":"2026-11-21T14:00:00.000Z"}')
        await socket.send('{"type":"ready"}')
        await socket.wait_closed()

    async with platform(handle) as url, asyncio.timeout(10):
        frames = Connection(url, token).frames()
        assert (await anext(frames))["type"] == READY
        await frames.aclose()  # type: ignore[attr-defined]


async def test_a_platform_that_will_never_let_us_in_is_not_asked_again() -> None:
    async def handle(socket: ServerConnection) -> None:
        await socket.close(4403, "not yours")

    async with platform(handle) as url, asyncio.timeout(10):
        with pytest.raises(PlatformRefused, match="not yours"):
            await anext(Connection(url, token).frames())


async def test_a_platform_that_still_starts_is_asked_again() -> None:
    answers: list[Exception] = [
        PlatformRefused(500, {"title": "a mistake"}),
        PlatformRefused(503, {"title": "starting"}),
    ]

    async def at_first_none() -> str:
        if answers:
            raise answers.pop()
        return "a-token"

    async def handle(socket: ServerConnection) -> None:
        await socket.send('{"type":"ready"}')
        await socket.wait_closed()

    async with platform(handle) as url, asyncio.timeout(10):
        frames = Connection(url, at_first_none).frames()
        for why in ("starting", "a mistake"):
            assert await anext(frames) == {"type": LOST, "why": why}
        assert (await anext(frames))["type"] == READY
        answers.append(PlatformRefused(404, {"title": "no such user"}))
        await frames.aclose()  # type: ignore[attr-defined]
        with pytest.raises(PlatformRefused, match="no such user"):
            await anext(Connection(url, at_first_none).frames())


async def test_what_is_sent_while_there_is_no_socket_is_dropped() -> None:
    await Connection("http://127.0.0.1:9", token).send({"type": "typing"})

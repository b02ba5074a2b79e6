"""
What somebody sees who chats in a terminal and listens for webhooks in another one (A9, A12, A13, D1, G4).

The platform is restarted while a chat is open: it comes back by itself and nothing is missing.
"""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.runtime import start_error
from shared.testing.platform import Platform, free_port


class Command:
    """``chat4all …`` with a pipe at each end."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self.child = child
        assert child.stdin is not None and child.stdout is not None
        self.stdin, self.stdout = child.stdin, child.stdout

    async def line(self) -> str:
        async with asyncio.timeout(30):
            line = await self.stdout.readline()
        assert line, f"it ended with {await self.child.wait()}"
        return line.decode().rstrip("\n")

    async def frame(self, kind: str, **wanted: Any) -> dict[str, Any]:
        """The next frame of this kind with these fields; those before it are passed over."""
        while True:
            frame: dict[str, Any] = json.loads(await self.line())
            if frame["type"] == kind and wanted.items() <= frame.items():
                return frame

    async def rest(self) -> tuple[int, str]:
        """What it says until it ends by itself, after the end of its input."""
        self.stdin.close()
        async with asyncio.timeout(30):
            said = (await self.stdout.read()).decode()
            return await self.child.wait(), said


@asynccontextmanager
async def chat4all(platform: Platform, *arguments: str) -> AsyncIterator[Command]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CHAT4ALL_")}  # noqa: TID251
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "shared.cli.main",
        *arguments,
        "--data-dir",
        str(platform.data),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=kept | {"LC_ALL": "C.UTF-8", "COLUMNS": "80"},
    )
    try:
        yield Command(child)
    finally:
        if child.returncode is None:
            child.terminate()
        await child.communicate()


async def done(platform: Platform, *arguments: str) -> Any:
    async with chat4all(platform, *arguments, "--json") as command:
        code, said = await command.rest()
    assert code == 0
    return json.loads(said)


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    running = Platform(free_port(), tmp_path / "data", {"CHAT4ALL_WEBHOOK_ALLOW_PRIVATE": "true"})
    await running.start()
    for user in ("ana", "bruno"):
        await done(running, "users", "create", user)
    yield running
    await running.stop()


def chat(platform: Platform, user: str, other: str, *more: str) -> Any:
    return chat4all(platform, "chat", "--as", user, "--with", other, *more)


async def test_two_people_chat_and_see_that_the_other_has_read_it(platform: Platform) -> None:
    async with chat(platform, "bruno", "ana", "--json", "--linger", "60") as bruno:
        bruno.stdin.write("já estou aqui\n".encode())
        await bruno.frame("message", **{"from": "bruno"})
        async with chat(platform, "ana", "bruno", "--linger", "2") as ana:
            assert "bruno: já estou aqui" in await ana.line()
            ana.stdin.write(b"oi [bold]bruno[/bold]\n")
            message = await bruno.frame("message", **{"from": "ana"})
            assert message["payload"] == {"type": "text", "text": "oi [bold]bruno[/bold]"}
            assert "ana: oi [bold]bruno[/bold]  ✓" in await ana.line()
            assert (await ana.line()).strip() == "✓✓ #2 read by bruno"
            assert await ana.rest() == (0, "")


async def test_a_chat_outlives_a_restart_of_the_platform_and_misses_nothing(platform: Platform) -> None:
    async with chat(platform, "bruno", "ana", "--json", "--linger", "60") as bruno:
        await bruno.frame("ready")
        await platform.stop()
        await bruno.frame("lost")
        await platform.start()
        conversation = (await done(platform, "conversations", "list", "--as", "ana"))["items"][0]["conversation_id"]
        sent = await done(platform, "send", conversation, "are you back?", "--from", "ana")
        seen = await bruno.frame("message")
        assert (seen["message_id"], seen["seq"]) == (sent["message_id"], 1)


async def test_a_chat_that_the_platform_ends_does_not_wait_for_another_line(platform: Platform) -> None:
    async with chat(platform, "bruno", "ana", "--json", "--linger", "60") as bruno:
        await bruno.frame("ready")
        await platform.stop()
        shutil.rmtree(platform.data)
        await platform.start()
        async with asyncio.timeout(30):
            assert await bruno.child.wait() == 1


async def test_a_receiver_subscribes_itself_verifies_and_leaves_nothing_behind(platform: Platform) -> None:
    wanted = ("--register", "--event", "message.delivered", "--count", "1")
    async with chat4all(platform, "listen", *wanted) as receiver:
        assert "listening on http://127.0.0.1:" in await receiver.line()
        async with chat(platform, "bruno", "ana", "--json", "--linger", "60") as bruno:
            async with chat(platform, "ana", "bruno") as ana:
                ana.stdin.write(b"delivered?\n")
                code, said = await ana.rest()
                assert code == 0
                assert said.rstrip().endswith("ana: delivered?  ✓")
            message = await bruno.frame("message")
            code, said = await receiver.rest()
    assert code == 0
    assert said.startswith(f"✓ message.delivered  message_id={message['message_id']}  recipient=bruno")


async def test_a_receiver_that_is_terminated_leaves_nothing_behind_either(platform: Platform) -> None:
    async with chat4all(platform, "listen", "--register") as receiver:
        assert "listening on http://127.0.0.1:" in await receiver.line()
        assert len(await _webhooks(platform)) == 1
        receiver.child.terminate()
        assert (await receiver.rest())[0] == 0
    assert await _webhooks(platform) == []


async def _webhooks(platform: Platform) -> list[Any]:
    token = (await done(platform, "token"))["access_token"]
    url, headers = f"http://127.0.0.1:{platform.port}/v1/webhooks", {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient() as http:
        items: list[Any] = (await http.get(url, headers=headers)).json()["items"]
    return items


async def test_a_tail_outlives_a_restart_of_the_platform_and_misses_nothing(platform: Platform) -> None:
    async with chat4all(platform, "tail", "--type", "message.accepted", "--json") as tail:
        sent = []
        for words in ("before", "after"):
            if sent:
                await platform.stop()
                await platform.start()
            made = await done(platform, "conversations", "create", "ana", "bruno")
            sent.append(await done(platform, "send", made["conversation_id"], words, "--from", "ana"))
            seen = json.loads(await tail.line())
            assert seen["event"]["subject"] == sent[-1]["message_id"]


async def test_whoever_is_in_no_conversation_is_told_what_to_do(platform: Platform) -> None:
    async with chat4all(platform, "chat", "--as", "ana") as ana:
        assert (await ana.rest())[0] == 1
    async with chat4all(platform, "listen") as nobody:
        assert (await nobody.rest())[0] == 2


async def test_no_function_runs_beside_an_embedded_platform_on_its_directory(platform: Platform) -> None:
    for mode, code in (("embedded", start_error.ALREADY_RUNNING), ("servers", start_error.SETTINGS_WRONG)):
        async with chat4all(platform, "run", "send", "--mode", mode) as function:
            assert await function.child.wait() == code

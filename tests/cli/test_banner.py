"""What somebody sees who has just started the platform."""

import os
import pty
from contextlib import redirect_stdout, suppress
from pathlib import Path

import pytest

from shared.cli.banner import announce, tell
from shared.cli.command import default_data_dir
from shared.runtime.credentials_file import Credentials
from shared.runtime.platform import Started

MADE = Credentials("demo", "demo-1", "s3cr3t")


def started(
    data_dir: Path,
    before: str | None = None,
    *,
    simulators: bool = True,
    reachable_at: str | None = None,
    new_client: Credentials | None = None,
) -> Started:
    return Started(
        "http://127.0.0.1:8080",
        data_dir,
        simulators=simulators,
        private_webhooks=True,
        reachable_at=reachable_at,
        credentials=data_dir / "credentials.json",
        new_client=new_client,
        mode="embedded",
        mode_before=before,
    )


def test_a_secret_is_shown_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    with open(theirs, "w") as stdout, redirect_stdout(stdout):
        announce(started(Path("/srv/chat"), new_client=MADE))
    heard = b""
    with suppress(OSError):  # nobody writes to it any more
        while chunk := os.read(ours, 65536):
            heard += chunk
    os.close(ours)
    said = heard.decode()
    assert "client_id     demo-1" in said
    assert "client_secret s3cr3t   (shown this once; kept in credentials.json)" in said


def test_what_may_be_a_log_is_told_only_where_the_secret_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    """As under systemd, whose journal others may read and which keeps it for months."""
    announce(started(Path("/srv/chat"), new_client=MADE))
    said = capsys.readouterr().out
    assert "s3cr3t" not in said
    assert "client_id     demo-1" in said
    assert "client_secret kept in /srv/chat/credentials.json (shown on a terminal only)" in said


@pytest.mark.parametrize(("data_dir", "said"), [(default_data_dir(), ""), (Path("/srv/chat"), " --data-dir /srv/chat")])
def test_the_next_command_leads_to_this_platform(data_dir: Path, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    announce(started(data_dir))
    assert f"scripts/chat4all demo{said}     Stop with Ctrl-C." in capsys.readouterr().out


def test_without_simulators_the_next_command_is_one_that_works_there(capsys: pytest.CaptureFixture[str]) -> None:
    announce(started(Path("/srv/chat"), simulators=False))
    said = capsys.readouterr().out
    assert "scripts/chat4all doctor --data-dir /srv/chat" in said
    assert "docs/guides/first-steps.md" in said
    assert "demo" not in said


@pytest.mark.parametrize(
    ("reachable_at", "where"),
    [("0.0.0.0", "on all addresses"), ("::", "on all addresses"), ("10.0.0.9", "at 10.0.0.9")],
)
def test_who_can_be_reached_from_elsewhere_is_warned_of_plain_http(
    reachable_at: str, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    announce(started(default_data_dir(), simulators=False, reachable_at=reachable_at))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "plain HTTP" in line]
    assert where in line


def test_who_is_reached_from_this_machine_only_is_not_warned(capsys: pytest.CaptureFixture[str]) -> None:
    announce(started(default_data_dir()))
    assert "plain HTTP" not in capsys.readouterr().out


@pytest.mark.parametrize(("before", "told"), [(None, False), ("embedded", False), ("servers", True)])
def test_who_forgot_the_mode_is_told_where_the_messages_are(
    before: str | None, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    announce(started(default_data_dir(), before))
    said = capsys.readouterr().out
    assert "  mode          embedded" in said
    assert ("CHAT4ALL_MODE=servers leads to them" in said) is told


def test_what_is_waited_for_is_told_in_a_line_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    tell("cassandra", "Cassandra does not answer:\n" + "no " * 1000)
    waiting, advice = capsys.readouterr().err.splitlines()
    assert waiting.startswith("Waiting for cassandra: Cassandra does not answer: no no")
    assert waiting.endswith("no …")
    assert "scripts/stack up" in advice
    tell("cassandra", None)
    assert capsys.readouterr().err == "  cassandra is there\n"

"""``chat4all run`` says where it serves the function, whichever way its name is written, to whoever sits before it."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from shared.testing.live import eventually

ROOT = Path(__file__).resolve().parents[2]


def start(tmp_path: Path, **outputs: Any) -> "subprocess.Popen[bytes]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHAT4ALL_")}  # noqa: TID251
    environment["CHAT4ALL_DATA_DIR"] = str(tmp_path)
    command = [sys.executable, "-m", "shared.cli.main", "run", "record_status", "--port", "0"]
    return subprocess.Popen(command, cwd=ROOT, env=environment, **outputs)


def test_a_function_that_is_ready_says_where_and_in_which_mode(tmp_path: Path) -> None:
    """By the name of its folder; the service is record-status."""
    ours, theirs = pty.openpty()
    with start(tmp_path, stdout=subprocess.DEVNULL, stderr=theirs) as process, open(ours, encoding="utf-8") as terminal:
        os.close(theirs)
        try:
            said = terminal.readline()
            assert said.startswith("record-status is ready at http://127.0.0.1:")
            assert "(mode embedded)" in said
            answer = httpx.get(f"{said.split()[4]}/health/readiness", timeout=30)
            assert (answer.status_code, answer.text) == (200, "record-status")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == -signal.SIGTERM
        finally:
            process.kill()


def test_where_both_outputs_are_one_log_every_line_of_it_is_json(tmp_path: Path) -> None:
    """E9; so it is in a pod."""
    log = tmp_path / "log"
    with log.open("wb") as output, start(tmp_path / "data", stdout=output, stderr=output) as process:
        try:
            eventually(lambda: "ready" in log.read_text())
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == -signal.SIGTERM
        finally:
            process.kill()
    assert all(isinstance(json.loads(line), dict) for line in log.read_text().splitlines())

"""``chat4all run`` says where it serves the function, whichever way its name is written."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]


def test_a_function_that_is_ready_says_where_and_in_which_mode(tmp_path: Path) -> None:
    """By the name of its folder; the service is record-status."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHAT4ALL_")}  # noqa: TID251
    environment["CHAT4ALL_DATA_DIR"] = str(tmp_path)
    command = [sys.executable, "-m", "shared.cli.main", "run", "record_status"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert said.startswith("record-status is ready at http://127.0.0.1:")
            assert "(mode embedded)" in said
            answer = httpx.get(f"{said.split()[4]}/health/readiness", timeout=30)
            assert (answer.status_code, answer.text) == (200, "record-status")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == -signal.SIGTERM
        finally:
            process.kill()

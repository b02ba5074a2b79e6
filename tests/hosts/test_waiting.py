"""A function, or the dispatcher, whose servers are not there waits, says so, and can be told to stop waiting (E8)."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("words", "told"),
    [(["run", "route"], signal.SIGTERM), (["dispatch"], signal.SIGTERM), (["dispatch"], signal.SIGINT)],
    ids=["run, SIGTERM", "dispatch, SIGTERM", "dispatch, SIGINT"],
)
def test_what_waits_for_its_servers_ends_when_it_is_told_to(tmp_path: Path, words: list[str], told: int) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: whoever connects is refused
        port = str(nobody.getsockname()[1])
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CHAT4ALL_")}  # noqa: TID251
        environment |= {
            "CHAT4ALL_MODE": "servers",
            "CHAT4ALL_DATA_DIR": str(tmp_path),
            "CHAT4ALL_CASSANDRA_PORT": port,
            "CHAT4ALL_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}",
            "CHAT4ALL_NATS_URL": f"nats://127.0.0.1:{port}",
        }
        command = [sys.executable, "-m", "shared.cli.main", *words, "--port", "0"]
        said = tmp_path / "said"
        with said.open("wb") as output:
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 90
            while "waiting for a server" not in said.read_text():
                assert process.poll() is None, said.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            process.send_signal(told)
            assert process.wait(90) == 3
        finally:
            process.kill()
            process.wait()

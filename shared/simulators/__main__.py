"""
The simulators as a process of their own, which lives on while the platform is killed.

    python -m shared.simulators --port 9090 --callback-base http://127.0.0.1:8080

Prints one line of JSON once its socket listens: the accounts to enter, by channel. They hold the simulators'
secrets, which open nothing but the simulators and the demo account's webhook.
"""

import argparse
import json
import socket
import sys

import uvicorn

from shared.simulators.app import Simulators


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m shared.simulators", description="Simulated providers")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9090, help="0 takes a free one")
    parser.add_argument("--callback-base", default="http://127.0.0.1:8080", help="where the platform listens")
    parser.add_argument("--tenant", default="demo")
    parser.add_argument("--key", help="secret that the accounts' secrets are derived from; made up when left out")
    parser.add_argument("--pace", type=float, default=0.1, help="seconds between two receipts")
    parser.add_argument("--late", type=float, default=30.0, help="seconds before the failure of ...0010")
    parser.add_argument("--uncertain-wait", type=float, default=2.0, help="seconds, for the accounts")
    given = parser.parse_args()
    simulators = Simulators(
        callback_base=given.callback_base,
        tenant=given.tenant,
        key=given.key,
        pace=given.pace,
        late=given.late,
        uncertain_wait=given.uncertain_wait,
    )
    try:
        listening = socket.create_server((given.host, given.port), backlog=2048)
    except OSError as error:
        sys.exit(f"cannot listen on {given.host}:{given.port}: {error.strerror}")
    port = listening.getsockname()[1]
    sys.stdout.write(json.dumps(simulators.accounts(f"http://{given.host}:{port}")) + "\n")
    sys.stdout.flush()
    server = uvicorn.Server(uvicorn.Config(simulators.app, log_level="critical", access_log=False))
    server.run(sockets=[listening])


if __name__ == "__main__":
    main()

"""Starts one server and waits until it answers."""

import os
import socket
import time
from collections.abc import Callable, Sequence

from infra.stack import processes
from infra.stack.layout import Layout
from infra.stack.probes import NotReady
from infra.stack.processes import Process
from infra.stack.server import Server

_PATIENCE = 120.0  # seconds until it must answer
_PAUSE = 0.1


class StackError(Exception):
    """The stack cannot do it; the text is for people."""


def process_of(name: str, layout: Layout) -> Process | None:
    return processes.find(layout.pid_file(name))


def launch(server: Server, layout: Layout) -> None:
    """
    Starts it, unless it runs.

    Raises:
        StackError: somebody else has one of its ports; its probe would be answered by the wrong server.
    """
    if process_of(server.name, layout):
        return
    check_ports([server], layout)
    server.prepare()
    environment = {"PATH": os.defpath, "HOME": str(layout.state), "LANG": "C.UTF-8", **server.environment}
    processes.spawn(server.command, environment, layout.log(server.name), layout.pid_file(server.name))


def check_ports(servers: Sequence[Server], layout: Layout) -> None:
    """
    Of those that do not run.

    Raises:
        StackError: somebody else has some of their ports; each is named.
    """
    wanted = [
        (server.name, *port) for server in servers if not process_of(server.name, layout) for port in server.ports
    ]
    found = [(name, host, port) for name, host, port in wanted if taken(host, port)]
    if found:
        raise StackError(
            "\n".join(
                f"{name}: {host}:{port} is taken by another process; use --port-offset" for name, host, port in found
            )
        )


def wait_for_answer(server: Server, layout: Layout) -> None:
    """
    Raises:
        StackError: it ended, and how; or it does not answer within two minutes.
    """

    def still_runs() -> None:
        if process_of(server.name, layout) is None:
            raise StackError(
                f"{server.name} ended. The end of {layout.log(server.name)}:\n{_end_of_log(server, layout)}"
            )

    until_right(server.name, server.answers, meanwhile=still_runs)


def until_right(name: str, answers: Callable[[], None], meanwhile: Callable[[], None] = lambda: None) -> None:
    """Asks until ``answers`` raises nothing. Raises StackError when patience is at its end."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            answers()
            return
        except (NotReady, OSError) as error:
            if time.monotonic() > deadline:
                raise StackError(f"{name} does not answer after {_PATIENCE:.0f} s: {error}") from None
        meanwhile()
        time.sleep(_PAUSE)


def taken(host: str, port: int) -> bool:
    """Whether somebody listens there, or it may not be used."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _end_of_log(server: Server, layout: Layout, lines: int = 15) -> str:
    return "\n".join(layout.log(server.name).read_text(errors="replace").splitlines()[-lines:])

"""
The command line of the stack.

Exit codes: 0 done; 1 it did not come true, stderr says why; 2 wrong usage. ``status`` ends with 1 unless every
server answers.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from infra.stack.install import InstallError
from infra.stack.launch import StackError
from infra.stack.layout import LOOPBACK, Layout, cache_folder, saved_layout, state_folder, usual_port_offset
from infra.stack.stack import ENGINES, TOOLS, Seen, Stack

_SIGNALS = ("KILL", "TERM", "STOP", "CONT")


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends this command at once; the servers go on
    try:
        return int(_COMMANDS[given.command](given) or 0)
    except (StackError, InstallError) as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/stack",
        description="Real Kafka, Cassandra, Redis, NATS and MinIO on loopback, without Docker.",
        epilog="CHAT4ALL_STACK_DIR: where data, logs and pid files are. CHAT4ALL_STACK_PORT_OFFSET: see --port-offset.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    up = commands.add_parser("up", help="install what is missing, start what does not run, wait until all answers")
    up.add_argument("--nodes", type=int, choices=(1, 3), help="of Kafka and of Cassandra (default: as last time, or 1)")
    up.add_argument("--only", type=_engines, help=f"some of {','.join(ENGINES)} (default: all), or {','.join(TOOLS)}")
    up.add_argument("--port-offset", type=int, help="added to every port (default: as last time, or 0)")
    up.add_argument("--host", help=f"address to listen on, without passwords (default: as last time, or {LOOPBACK})")
    commands.add_parser("install", help="only fetch and build").add_argument("--only", type=_engines)
    commands.add_parser("down", help="ask every server to end, and wait")
    commands.add_parser("status", help="what runs and answers")
    env = commands.add_parser("env", help="print the environment variables that tell the platform where everything is")
    env.epilog = "told=$(scripts/stack env) && export $told: a bare export after a failure would print every variable."
    env.add_argument("--all", action="store_true", help="also of what was not started")
    logs = commands.add_parser("logs", help="show the logs of these servers, or of all")
    logs.add_argument("names", nargs="*", help="servers, such as kafka-1, or engines, such as kafka, for all of theirs")
    logs.add_argument("-f", "--follow", action="store_true")
    logs.add_argument("-n", "--lines", type=int, default=40)
    commands.add_parser("wipe", help="kill everything and remove data, logs and settings; programs stay")
    kill = commands.add_parser("kill", help="send a signal to one server")
    kill.add_argument("name", help="kafka-2, cassandra-3, redis, nats, minio; kafka where there is one of it")
    kill.add_argument("--signal", choices=_SIGNALS, default="KILL")
    commands.add_parser("start", help="start one server again, and wait until it answers").add_argument("name")
    return parser


def _engines(text: str) -> tuple[str, ...]:
    names, known = text.split(","), (*ENGINES, *TOOLS)
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    return tuple(name for name in known if name in names)


def _stack(layout: Layout) -> Stack:
    begin = time.monotonic()

    def say(name: str, what: str) -> None:
        sys.stderr.write(f"{time.monotonic() - begin:6.1f} s  {name:<12} {what}\n")
        sys.stderr.flush()

    layout.make_folders()
    os.chdir(layout.state)  # where a server that crashes leaves its dump
    return Stack(layout, cache_folder(), say)


def _last() -> Layout:
    return saved_layout(state_folder()) or Layout(state_folder(), port_offset=usual_port_offset())


def _up(given: argparse.Namespace) -> None:
    last = _last()
    offset = last.port_offset if given.port_offset is None else given.port_offset
    wanted = replace(last, nodes=given.nodes or last.nodes, port_offset=offset, host=given.host or last.host)
    if wanted != last and any(one.pid for one in _stack(last).seen()):
        raise StackError(
            f"it runs with --nodes {last.nodes} --port-offset {last.port_offset} --host {last.host}: "
            "scripts/stack down first"
        )
    _stack(wanted).up(given.only or tuple(ENGINES))


def _install(given: argparse.Namespace) -> None:
    _stack(_last()).install(given.only or tuple(ENGINES))


def _down(_: argparse.Namespace) -> None:
    _stack(_last()).down()


def _status(_: argparse.Namespace) -> bool:
    """Whether something is wrong."""
    seen = _stack(_last()).seen()
    if not seen:
        sys.stderr.write("nothing was started: scripts/stack up\n")
        return True
    row = "{:<12} {:<8} {:>8} {:>9} {:>8} {:>9}  {}\n"
    sys.stdout.write(row.format("SERVER", "STATE", "PID", "UP", "MEMORY", "LATENCY", "ADDRESS"))
    for one in seen:
        sys.stdout.write(row.format(*_columns(one)))
    sys.stdout.write(f"{sum(one.memory for one in seen) / 2**20:.0f} MiB\n")
    return any(one.state != "running" for one in seen)


def _columns(one: Seen) -> tuple[str, ...]:
    return (
        one.server.name,
        one.state,
        str(one.pid or "-"),
        f"{one.age:.0f} s" if one.pid else "-",
        f"{one.memory / 2**20:.0f} MiB" if one.pid else "-",
        f"{one.latency * 1000:.1f} ms" if one.latency is not None else "-",
        one.server.address + (f"  {one.trouble}" if one.trouble else ""),
    )


def _env(given: argparse.Namespace) -> bool:
    """Whether there is nothing to tell: an empty answer would leave the defaults to whoever asks, silently."""
    settings = _stack(_last()).settings(tuple(ENGINES) if given.all else ())
    for name, value in settings.items():
        sys.stdout.write(f"{name}={value}\n")
    if not settings:
        sys.stderr.write("nothing was started: scripts/stack up\n")
    return not settings


def _logs(given: argparse.Namespace) -> None:
    files = _stack(_last()).logs(given.names)
    if files:
        sys.stdout.flush()
        os.execvp("tail", ["tail", f"--lines={given.lines}", *(["-F"] if given.follow else []), *map(str, files)])


def _wipe(_: argparse.Namespace) -> None:
    _stack(_last()).wipe()


def _kill(given: argparse.Namespace) -> None:
    _stack(_last()).kill(given.name, signal.Signals[f"SIG{given.signal}"])


def _start(given: argparse.Namespace) -> None:
    _stack(_last()).start(given.name)


_COMMANDS: dict[str, Callable[[argparse.Namespace], bool | None]] = {
    "up": _up,
    "install": _install,
    "down": _down,
    "status": _status,
    "env": _env,
    "logs": _logs,
    "wipe": _wipe,
    "kill": _kill,
    "start": _start,
}

if __name__ == "__main__":
    sys.exit(main())

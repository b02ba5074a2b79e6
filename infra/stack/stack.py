"""Starts, watches and stops the servers of one layout."""

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from infra.stack import processes
from infra.stack.cassandra import Cassandra
from infra.stack.install import InstallError, install, installed, locked
from infra.stack.kafka import Kafka
from infra.stack.layout import Layout
from infra.stack.minio import Minio
from infra.stack.nats import Nats
from infra.stack.probes import NotReady
from infra.stack.redis import Redis
from infra.stack.server import Engine, Server

ENGINES: dict[str, Engine] = {one.name: one for one in (Kafka(), Cassandra(), Redis(), Nats(), Minio())}
_PATIENCE = 120.0  # seconds until a server must answer
_EVERY = 0.1
_REMIND = 15.0

Say = Callable[[str, str], None]
"""Called with the name of what is meant and what happened to it."""


class StackError(Exception):
    """The stack cannot do it; the text is for people."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A server as it is now: running, paused, dead (it was started and is gone), or silent (runs, does not answer)."""

    server: Server
    state: str
    pid: int | None = None
    age: float = 0.0
    memory: int = 0
    latency: float | None = None
    trouble: str = ""


class Stack:
    """
    The servers of one layout; ``cache`` is where their programs are installed.

    A server that was started has a pid file until it is stopped by ``down`` or ``wipe``, however it may have ended.
    """

    def __init__(self, layout: Layout, cache: Path, say: Say) -> None:
        self._layout, self._cache, self._say = layout, cache, say

    def up(self, engines: Sequence[str]) -> None:
        """
        Installs what is missing, starts what does not run, and returns when everything answers.

        Raises:
            StackError: something did not come up; everything else was started nevertheless.
        """
        with self._alone():
            self._layout.save()
            self._together({name: partial(self._bring_up, ENGINES[name]) for name in engines})

    def install(self, engines: Sequence[str]) -> None:
        """Fetches and builds what is missing."""
        self._together({name: partial(self._install, ENGINES[name]) for name in engines})

    def start(self, name: str) -> None:
        """Starts one server again and returns when it answers."""
        with self._alone():
            server = self._server(name)
            self._start(server)
            self._until(server.name, server.answers, self._process(server))

    def kill(self, name: str, number: signal.Signals) -> None:
        """
        Sends a signal to one server.

        Raises:
            StackError: it does not run.
        """
        process = self._process(self._server(name))
        if process is None or not process.send(number):
            raise StackError(f"{name} does not run")

    def down(self) -> None:
        """Asks every server to end and waits until it has."""
        with self._alone():
            self._together({server.name: partial(self._stop, server) for server in self._started()})

    def wipe(self) -> None:
        """Kills every server and removes data, logs and settings; programs and credentials stay."""
        with self._alone():
            for server in self._started():
                if process := self._process(server):
                    processes.stop(process, grace=0)
            for path in self._layout.disposable:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def seen(self) -> list[Seen]:
        """Every server that was started."""
        servers = self._started()
        with ThreadPoolExecutor(max(len(servers), 1)) as pool:
            return list(pool.map(self._look_at, servers))

    def settings(self, engines: Sequence[str] = ()) -> dict[str, str]:
        """The environment variables that tell the platform where these engines are; or those that were started."""
        started = {server.name for server in self._started()}
        found: dict[str, str] = {}
        for engine in ENGINES.values():
            if engine.name in engines or (not engines and started.intersection(engine.names(self._layout))):
                found |= engine.settings(self._layout)
        return found

    def logs(self, names: Sequence[str]) -> list[Path]:
        """The log files of these servers, or of all."""
        known = [name for engine in ENGINES.values() for name in engine.names(self._layout)]
        if unknown := set(names) - set(known):
            raise StackError(f"no server {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return [path for name in names or known if (path := self._layout.log(name)).exists()]

    def _bring_up(self, engine: Engine) -> None:
        servers = engine.servers(self._layout, self._install(engine))
        with ThreadPoolExecutor(len(servers)) as pool:
            list(pool.map(self._start, servers))
        for server in servers:
            self._until(server.name, server.answers, self._process(server), quiet=True)
        self._until(engine.name, lambda: engine.answers_as_a_whole(self._layout))

    def _install(self, engine: Engine) -> Path:
        if folder := installed(engine.program, self._cache):
            return folder
        self._say(engine.name, "is being installed")
        folder = install(engine.program, self._cache)
        self._say(engine.name, "is installed")
        return folder

    def _start(self, server: Server) -> None:
        if self._process(server):
            return
        for host, port in server.ports:
            if _taken(host, port):
                raise StackError(f"{server.name}: {host}:{port} is taken by another process; use --port-offset")
        server.prepare()
        log = self._layout.log(server.name)
        environment = {"PATH": os.defpath, "HOME": str(self._layout.state), "LANG": "C.UTF-8", **server.environment}
        processes.spawn(server.command, environment, log, self._layout.pid_file(server.name))

    def _until(
        self, name: str, answers: Callable[[], None], process: processes.Process | None = None, quiet: bool = False
    ) -> None:
        """Asks until there is the right answer."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                answers()
                break
            except (NotReady, OSError) as error:
                trouble = error
            if process and not process.alive:
                raise StackError(
                    f"{name} ended; the end of {self._layout.log(name)}:\n{_end_of(self._layout.log(name))}"
                )
            if time.monotonic() > deadline:
                raise StackError(f"{name} does not answer after {_PATIENCE:.0f} s: {trouble}")
            time.sleep(_EVERY)
        if not quiet:
            self._say(name, "answers")

    def _stop(self, server: Server) -> None:
        process = self._process(server)
        if process is None:
            self._layout.pid_file(server.name).unlink(missing_ok=True)
            return
        willing = processes.stop(process, server.grace)
        self._layout.pid_file(server.name).unlink(missing_ok=True)
        self._say(server.name, "ended" if willing else f"did not end within {server.grace:.0f} s and was killed")

    def _look_at(self, server: Server) -> Seen:
        process = self._process(server)
        if process is None:
            return Seen(server, "dead")
        state, latency, trouble = "running", None, ""
        if process.paused:
            state = "paused"
        else:
            begin = time.monotonic()
            try:
                server.answers()
                latency = time.monotonic() - begin
            except (NotReady, OSError) as error:
                state, trouble = "silent", str(error) or type(error).__name__
        return Seen(server, state, process.pid, process.age, process.memory, latency, trouble)

    def _process(self, server: Server) -> processes.Process | None:
        return processes.find(self._layout.pid_file(server.name))

    def _server(self, name: str) -> Server:
        servers = {server.name: server for server in self._servers()}
        if name not in servers:
            raise StackError(f"no server {name}; there are {', '.join(servers)}")
        return servers[name]

    def _servers(self) -> list[Server]:
        found: list[Server] = []
        for engine in ENGINES.values():
            if program := installed(engine.program, self._cache):
                found += engine.servers(self._layout, program)
        return found

    def _started(self) -> list[Server]:
        return [server for server in self._servers() if self._layout.pid_file(server.name).exists()]

    def _together(self, tasks: Mapping[str, Callable[[], object]]) -> None:
        """Does them all at once, to the end, and says now and then what it still waits for."""
        with ThreadPoolExecutor(max(len(tasks), 1)) as pool:
            futures = {pool.submit(task): name for name, task in tasks.items()}
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=_REMIND)
                if not done:
                    self._say(", ".join(sorted(futures[one] for one in pending)), "not there yet")
        problems = [str(error) for one in futures if isinstance(error := one.exception(), (StackError, InstallError))]
        for one in futures:
            if (error := one.exception()) and not isinstance(error, (StackError, InstallError)):
                raise error
        if problems:
            raise StackError("\n".join(problems))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One command at a time changes a stack."""
        with locked(self._layout.state / "lock", lambda: self._say("another", "command is at work; waiting for it")):
            yield


def _taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _end_of(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])

"""Starts, watches and stops the servers of one layout."""

import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from infra.stack import archive, processes
from infra.stack.cassandra import Cassandra
from infra.stack.install import InstallError, Jars, folder_of, install, locked
from infra.stack.kafka import Kafka
from infra.stack.launch import StackError, check_ports, launch, process_of, until_right, wait_for_answer
from infra.stack.layout import Layout
from infra.stack.minio import Minio
from infra.stack.nats import Nats
from infra.stack.probes import NotReady
from infra.stack.redis import Redis
from infra.stack.server import Engine, Server
from infra.stack.toxiproxy import Toxiproxy
from infra.stack.versitygw import Versitygw

ENGINES: dict[str, Engine] = {one.name: one for one in (Kafka(), Cassandra(), Redis(), Nats(), Minio())}
TOOLS: dict[str, Engine] = {one.name: one for one in (Versitygw(), Toxiproxy())}
"""What the platform does not need, and tests do; installed and started when it is named."""
_ALL = ENGINES | TOOLS
_GRACE = 20.0  # seconds to end when asked; a broker that has lost its quorum never does
_REMIND = 15.0

Say = Callable[[str, str], None]
"""Called with the name of what is meant and what happened to it."""


@dataclass(frozen=True, slots=True)
class Seen:
    """
    A server as it is now.

    state: running; silent (runs, and does not answer); paused; dead (was started, was not stopped, and is gone); down
    (was to be started, and never was).
    age: seconds; memory: bytes; latency: seconds that one conversation took.
    """

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

    A server that was started has a pid file until ``down`` or ``wipe`` stops it, however it may have ended; that of one
    that was to be started is empty.
    """

    def __init__(self, layout: Layout, cache: Path, say: Say) -> None:
        self._layout, self._cache, self._say = layout, cache, say

    def up(self, engines: Sequence[str]) -> None:
        """
        Installs what is missing, starts what does not run, and returns when everything answers.

        Raises:
            StackError: a port is taken, and nothing was done; or something did not come up, and everything else was
                started nevertheless.
        """
        with self._alone():
            servers = self._servers(engines)
            check_ports(servers, self._layout)
            self._layout.save()
            self._layout.intend(server.name for server in servers)
            self._together({name: partial(self._bring_up, _ALL[name]) for name in engines})

    def install(self, engines: Sequence[str]) -> None:
        """Fetches and builds what is missing."""
        self._together({name: partial(self._install, _ALL[name]) for name in engines})

    def start(self, name: str) -> None:
        """Starts one server again and returns when it answers."""
        with self._alone():
            server = self._server(name)
            launch(server, self._layout)
            wait_for_answer(server, self._layout)
            self._say(server.name, "answers")

    def kill(self, name: str, number: signal.Signals) -> None:
        """
        Sends a signal to one server.

        Raises:
            StackError: it does not run.
        """
        process = process_of(self._one(name), self._layout)
        if process is None or not process.send(number):
            raise StackError(f"{name} does not run")

    def down(self) -> None:
        """Asks every server to end and waits until it has."""
        with self._alone():
            self._together({name: partial(self._stop, name, _GRACE) for name in self._layout.started()})

    def wipe(self) -> None:
        """Kills every server and removes data, logs and settings; programs and credentials stay."""
        with self._alone():
            for name in self._layout.started():
                self._stop(name, grace=0)
            for path in self._layout.disposable:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def seen(self) -> list[Seen]:
        """Every server that was started, or was to be."""
        started = set(self._layout.started())
        engines = [name for name, engine in _ALL.items() if started.intersection(engine.names(self._layout))]
        servers = [server for server in self._servers(engines) if server.name in started]
        with ThreadPoolExecutor(max(len(servers), 1)) as pool:
            return list(pool.map(self._look_at, servers))

    def settings(self, engines: Sequence[str] = ()) -> dict[str, str]:
        """The environment variables that tell the platform where these engines are, or those that were started."""
        started = {name for name in self._layout.started() if self._layout.ran(name)}
        found: dict[str, str] = {}
        for engine in _ALL.values():
            if engine.name in engines or (not engines and started.intersection(engine.names(self._layout))):
                found |= engine.settings(self._layout)
        return found

    def logs(self, names: Sequence[str]) -> list[Path]:
        """The log files of these servers, an engine's name standing for all of its own, or of all."""
        wanted = [each for name in names for each in self._named(name)] if names else self._names()
        return [path for name in dict.fromkeys(wanted) if (path := self._layout.log(name)).exists()]

    def _bring_up(self, engine: Engine) -> None:
        servers = engine.servers(self._layout, self._install(engine))
        with ThreadPoolExecutor(len(servers)) as pool:
            list(pool.map(lambda server: launch(server, self._layout), servers))
        for server in servers:
            wait_for_answer(server, self._layout)
        until_right(engine.name, lambda: engine.answers_as_a_whole(self._layout))
        self._say(engine.name, "answers")

    def _install(self, engine: Engine) -> Path:
        folder = folder_of(engine.program, self._cache)
        if not folder.is_dir():
            self._say(engine.name, "is being installed")
            install(engine.program, self._cache)
            self._say(engine.name, "is installed")
        if isinstance(engine.program, Jars) and not archive.archive_of(folder).exists():
            archive.make(engine, folder)
            self._say(engine.name, "has a class archive")
        return folder

    def _stop(self, name: str, grace: float) -> None:
        if process := process_of(name, self._layout):
            willing = processes.stop(process, grace)
            self._say(name, "ended" if willing else "was killed")
        self._layout.pid_file(name).unlink()

    def _look_at(self, server: Server) -> Seen:
        process = process_of(server.name, self._layout)
        if process is None:
            return Seen(server, "dead" if self._layout.ran(server.name) else "down")
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

    def _servers(self, engines: Iterable[str]) -> list[Server]:
        chosen = [_ALL[name] for name in engines]
        return [
            one for engine in chosen for one in engine.servers(self._layout, folder_of(engine.program, self._cache))
        ]

    def _server(self, name: str) -> Server:
        wanted = self._one(name)
        return next(server for server in self._servers(_ALL) if server.name == wanted)

    def _one(self, name: str) -> str:
        named = self._named(name)
        if len(named) > 1:
            raise StackError(f"which {name}? There are {', '.join(named)}")
        return named[0]

    def _names(self) -> list[str]:
        return [name for engine in _ALL.values() for name in engine.names(self._layout)]

    def _named(self, name: str) -> list[str]:
        """The server of this name, or those of the engine."""
        if name in self._names():
            return [name]
        if name not in _ALL:
            raise StackError(f"no server {name}; there are {', '.join(self._names())}")
        return _ALL[name].names(self._layout)

    def _together(self, tasks: Mapping[str, Callable[[], object]]) -> None:
        """Does them all at once, to the end, and says now and then what it still waits for."""
        with ThreadPoolExecutor(max(len(tasks), 1)) as pool:
            futures = {pool.submit(task): name for name, task in tasks.items()}
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=_REMIND)
                if not done:
                    self._say(", ".join(sorted(futures[one] for one in pending)), "not there yet")
        errors = [error for one in futures if (error := one.exception())]
        for error in errors:
            if not isinstance(error, (StackError, InstallError)):
                raise error
        if errors:
            raise StackError("\n".join(map(str, errors)))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One command at a time changes a stack."""
        with locked(self._layout.state / "lock", lambda: self._say("another", "command is at work; waiting for it")):
            yield

"""What can be wrong on a machine before and while the platform runs: one check, one line, one thing to do."""

import shutil
import socket
import sqlite3
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.cli.command import START_IT
from shared.cli.credentials import NoCredentials
from shared.cli.platform import PlatformRefused, PlatformUnreachable
from shared.runtime.credentials_file import FILE_NAME

if TYPE_CHECKING:
    from shared.cli.command import Session
    from shared.cli.platform import Answer
    from shared.settings import Settings

_MIB = 1024 * 1024
_LOW_DISK, _NO_DISK = 1024 * _MIB, 100 * _MIB
_SKEW = 2.0  # seconds
_LOOKS_AT_THE_CLOCK = 3
_NEXT_DATE = 1.5
"""Seconds until an answer has another Date: uvicorn makes it once a second, and later when it is busy."""
_OLDEST_SQLITE = (3, 37, 0)  # STRICT tables
_WITHOUT = {
    "redis": "the platform goes on without: each process grants its own part of the rate limits meanwhile",
    "nats": "the platform goes on without: open sockets hear of messages late, and of typing and presence not at all",
}
"""What it means that an engine is away which may be."""


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """``found`` is what was seen; ``advice`` is what to do about it, empty when there is nothing."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""

    def document(self) -> dict[str, Any]:
        return asdict(self)


def machine(data_dir: Path) -> Iterator[Check]:
    """What needs no platform."""
    yield _python()
    yield _sqlite()
    yield from _data_dir(data_dir)
    yield from _databases(data_dir)
    yield from _settings(data_dir)
    yield _wiring()


def platform(session: "Session") -> Iterator[Check]:
    """What the platform says of itself, when it runs."""
    from urllib.parse import urlsplit

    address = session.public.client.url
    parts = urlsplit(address)
    yield _port(parts.hostname or "127.0.0.1", parts.port or (443 if parts.scheme == "https" else 80))
    try:
        live = session.public.call("GET", "/health/live", anonymous=True)
    except PlatformUnreachable as error:
        yield Check("platform", Verdict.WARN, str(error), START_IT)
        return
    except PlatformRefused as error:
        yield Check("platform", Verdict.FAIL, f"{address} answers {error.status}", "is another program there?")
        return
    yield Check("platform", Verdict.OK, f"{address} is alive ({live.milliseconds:.0f} ms)")
    yield _clock(session, live)
    yield from _ready(session)
    try:
        session.platform.token()
    except NoCredentials as error:
        yield Check("credentials", Verdict.WARN, "nobody to act as", str(error))
    except PlatformRefused as error:
        yield Check("credentials", Verdict.FAIL, str(error), "is --data-dir that of the platform which answers here?")
    else:
        yield Check("credentials", Verdict.OK, f"the client of tenant {session.platform.client.tenant!r} is known")


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    return Check("python", Verdict.OK if good else Verdict.FAIL, found, "" if good else "install Python 3.11 or newer")


def _sqlite() -> Check:
    good = sqlite3.sqlite_version_info >= _OLDEST_SQLITE
    needed = ".".join(map(str, _OLDEST_SQLITE))
    return Check(
        "sqlite",
        Verdict.OK if good else Verdict.FAIL,
        sqlite3.sqlite_version,
        "" if good else f"use a Python that is built with SQLite {needed} or newer",
    )


def _data_dir(data_dir: Path) -> Iterator[Check]:
    there = next(each for each in (data_dir, *data_dir.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        yield Check(
            "data directory", Verdict.FAIL, f"{there}: {error.strerror}", "make it writable, or choose --data-dir"
        )
        return
    found = str(data_dir) if there == data_dir else f"{data_dir} (made by the first start)"
    yield Check("data directory", Verdict.OK, found)
    free = shutil.disk_usage(there).free
    verdict = Verdict.FAIL if free < _NO_DISK else Verdict.WARN if free < _LOW_DISK else Verdict.OK
    advice = "" if verdict is Verdict.OK else "make room, or choose a --data-dir on a larger disk"
    yield Check("free disk", verdict, f"{free // _MIB} MiB", advice)
    credentials = data_dir / FILE_NAME
    if credentials.is_file():
        mode = stat.S_IMODE(credentials.stat().st_mode)
        tight = mode & 0o077 == 0
        yield Check(
            "secrets",
            Verdict.OK if tight else Verdict.FAIL,
            f"{credentials.name} has mode {mode:04o}",
            "" if tight else f"others can read the client's secret: chmod 600 {credentials}",
        )


def _databases(data_dir: Path) -> Iterator[Check]:
    found = sorted(path for pattern in ("*.db", "*.sqlite", "*.sqlite3") for path in data_dir.glob(pattern))
    for path in found:
        began = time.perf_counter()
        try:
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
            try:
                said = "; ".join(str(row[0]) for row in connection.execute("PRAGMA quick_check(3)"))
            finally:
                connection.close()
        except sqlite3.Error as error:
            said = str(error)
        took = (time.perf_counter() - began) * 1000
        size = path.stat().st_size // _MIB
        if said == "ok":
            yield Check("database", Verdict.OK, f"{path.name}: {size} MiB, sound (checked in {took:.0f} ms)")
        else:
            yield Check(
                "database",
                Verdict.FAIL,
                f"{path.name}: {said}",
                "stop the platform, keep a copy of the file, and bring back a backup",
            )
        if _read_by_others(path):
            yield Check(
                "who reads it",
                Verdict.WARN,
                f"{path.name} can be read by others: it and {data_dir} let them in",
                f"personal data is in it: chmod 700 {data_dir}",
            )


def _read_by_others(path: Path) -> bool:
    """SQLite makes its files for everybody's eyes, where the umask lets it: what keeps others out is the folder."""
    file, folder = path.stat().st_mode, path.parent.stat().st_mode
    return any(
        file & reads and folder & enters
        for reads, enters in ((stat.S_IRGRP, stat.S_IXGRP), (stat.S_IROTH, stat.S_IXOTH))
    )


def _settings(data_dir: Path) -> Iterator[Check]:
    """Those that a command here would use; a platform that runs may have been started with others."""
    from shared.runtime.open_ports import SERVERS
    from shared.settings import SettingsError, load_settings

    try:
        settings = load_settings()
    except SettingsError as error:
        yield Check("settings", Verdict.FAIL, _one_line(error), "see docs/reference/settings.md")
        return
    found = f"of this terminal: mode {settings.mode}, port {settings.port}"
    theirs = _mode_of_last_start(data_dir)
    if theirs in (None, settings.mode):
        yield Check("settings", Verdict.OK, found)
    else:
        advice = f"set CHAT4ALL_MODE={theirs} here, or name another --data-dir"
        yield Check("settings", Verdict.WARN, f"{found}; the platform was last started in the mode {theirs}", advice)
    if settings.mode == SERVERS:
        yield from _engines(settings)


def _engines(settings: "Settings") -> Iterator[Check]:
    from shared.runtime.engine_addresses import START_THEM, engine_addresses
    from shared.runtime.wiring_error import WiringError

    try:
        engines = list(engine_addresses(settings))
    except WiringError as error:
        yield Check("engines", Verdict.FAIL, _one_line(error), "see docs/reference/settings.md")
        return
    for engine in engines:
        silent = engine.silent()
        if not silent:
            listening = ", ".join(f"{host}:{port}" for host, port in engine.addresses)
            yield Check(f"engine: {engine.name}", Verdict.OK, f"somebody listens at {listening}")
            continue
        away = engine.needed and len(silent) == len(engine.addresses)
        found = "; ".join(f"{address}: {why}" for address, why in silent.items())
        advice = START_THEM if engine.needed else f"{_WITHOUT[engine.name]}; {START_THEM}"
        yield Check(f"engine: {engine.name}", Verdict.FAIL if away else Verdict.WARN, found, advice)


def _mode_of_last_start(data_dir: Path) -> str | None:
    from shared.runtime.credentials_file import CredentialsFile

    try:
        return CredentialsFile(data_dir).mode
    except OSError:  # the check of the data directory says so
        return None


def _wiring() -> Check:
    from shared.runtime import wiring
    from shared.runtime.wiring_error import WiringError

    try:
        found = wiring.read()
    except WiringError as error:
        return Check("wiring", Verdict.FAIL, _one_line(error), "repair the manifest under knative/")
    return Check("wiring", Verdict.OK, f"{len(found.triggers)} triggers, {len(found.timers)} timers")


def _port(host: str, port: int) -> Check:
    try:
        with socket.create_connection((host, port), timeout=2):
            return Check("port", Verdict.OK, f"{host}:{port} is taken; who it is, the next line says")
    except ConnectionRefusedError:
        return Check("port", Verdict.OK, f"{host}:{port} is free")
    except OSError as error:
        return Check("port", Verdict.WARN, f"{host}:{port}: {error}", "is the address right?")


def _clock(session: "Session", live: "Answer") -> Check:
    """The Date of a platform that is busy may be seconds old: it is apart when all of several are."""
    apart = _apart(live)
    for _ in range(_LOOKS_AT_THE_CLOCK - 1):
        if apart is None or _close(apart):
            break
        time.sleep(_NEXT_DATE)
        try:
            again = _apart(session.public.call("GET", "/health/live", anonymous=True))
        except (PlatformRefused, PlatformUnreachable):  # what that means is another check's to say
            break
        apart = apart if again is None else min(apart, again, key=abs)
    if apart is None:
        return Check("clock", Verdict.WARN, "the platform sent no Date header")
    if _close(apart):
        return Check("clock", Verdict.OK, "agrees with the platform's")
    return Check(
        "clock",
        Verdict.WARN,
        f"{apart:+.0f} s apart from the platform's",
        "synchronise the clocks (NTP): tokens and webhook signatures depend on them",
    )


def _apart(answer: "Answer") -> float | None:
    """Seconds that the machine's own clock, which is examined here, is ahead of the answer's Date, if it has one."""
    date = answer.headers.get("date")
    return None if date is None else time.time() - parsedate_to_datetime(date).timestamp()  # noqa: TID251


def _close(apart: float) -> bool:
    return -_SKEW <= apart <= _SKEW + 1  # the header has whole seconds


def _ready(session: "Session") -> Iterator[Check]:
    try:
        body = session.public.call("GET", "/health/ready", anonymous=True).body
    except PlatformRefused as error:
        body = error.body
        yield Check("ready", Verdict.FAIL, f"answers {error.status}", "see the dependency that is down")
    dependencies = body.get("dependencies") if isinstance(body, dict) else None
    for name, state in (dependencies or {}).items():
        found = f"{state['status']} ({state['latency_ms']} ms) {state.get('detail', '')}".strip()
        if state["status"] == "ok":
            yield Check(f"ready: {name}", Verdict.OK, found)
        elif state.get("needed", True):
            yield Check(f"ready: {name}", Verdict.FAIL, found, "nothing is taken until it is back")
        else:
            yield Check(f"ready: {name}", Verdict.WARN, found, _WITHOUT.get(name, "the platform goes on without it"))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())

"""
One JSON object a line (E9). Messages are constants, facts are fields; never a text, an address or a secret.

    log.info("message accepted", seq=4)       context that was bound goes along
    with bound(tenant="acme"): ...            binds for this task and what it awaits, for nobody else

Powertools' Logger writes; the formatter is ours because its own costs 33 µs a line, and because only the
thread_safe_* keys are safe among tasks: the others are shared by the whole process.
"""

import asyncio
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import orjson
from aws_lambda_powertools import Logger
from aws_lambda_powertools.logging.formatter import BasePowertoolsFormatter

SERVICE = "chat4all"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_NOTHING: Mapping[str, Any] = {}
_bound: ContextVar[Mapping[str, Any]] = ContextVar("chat4all_log_fields", default=_NOTHING)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(BasePowertoolsFormatter):
    """timestamp, level, service, message, what is bound in this task, and the fields of the call."""

    def __init__(self, service: str = SERVICE) -> None:
        super().__init__()
        self._constant = {"service": service}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": _timestamp(record.created),
            "level": record.levelname,
            "message": record.getMessage(),
            **self._constant,
            **_bound.get(),
        }
        given = record.__dict__
        line.update({name: given[name] for name in given if name not in _STANDARD and given[name] is not None})
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__qualname__
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()

    def append_keys(self, **additional_keys: Any) -> None:
        """Facts of the whole process; Powertools itself gives ``service`` this way."""
        self._constant.update({name: value for name, value in additional_keys.items() if value is not None})

    def clear_state(self) -> None:
        _bound.set(_NOTHING)

    def thread_safe_append_keys(self, **additional_keys: Any) -> None:
        _bound.set({**_bound.get(), **additional_keys})

    def thread_safe_get_current_keys(self) -> dict[str, Any]:
        return dict(_bound.get())

    def thread_safe_remove_keys(self, keys: Iterable[str]) -> None:
        gone = set(keys)
        _bound.set({name: value for name, value in _bound.get().items() if name not in gone})

    def thread_safe_clear_keys(self) -> None:
        _bound.set(_NOTHING)


log = Logger(service=SERVICE, level="INFO", logger_formatter=JsonFormatter(), stream=sys.stderr)
"""The platform's logger; ``write_to`` chooses where its lines go."""


def write_to(target: IO[str] | logging.Handler, *, level: str = "INFO", service: str = SERVICE) -> None:
    """
    Send every line there, ours and the libraries'; call once, before the first.

    Libraries' lines come as JSON too, from WARNING on: their INFO says little and may hold addresses.
    """
    handler = target if isinstance(target, logging.Handler) else logging.StreamHandler(target)
    handler.setFormatter(JsonFormatter(service))
    ours, everybody = logging.getLogger(SERVICE), logging.getLogger()
    ours.handlers, everybody.handlers = [handler], [handler]
    # https://docs.python.org/3/howto/logging.html#optimization: no line of ours says where it was written.
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    ours.propagate = False
    ours.setLevel(level)
    everybody.setLevel("WARNING")


class LogFile(logging.Handler):
    """
    A file of lines, written many at once: what is logged waits up to ``EVERY`` seconds, an error does not.

    Above ``limit`` bytes the file becomes ``<name>.1``, which becomes ``<name>.2`` …, of which ``keep`` are kept.
    Must be used in the thread of a running event loop.
    """

    EVERY = 0.2

    def __init__(self, path: Path, *, limit: int, keep: int = 3) -> None:
        super().__init__()
        self._path, self._limit, self._keep = path, limit, keep
        self._file = path.open("a", encoding="utf-8")
        self._size = path.stat().st_size
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(self.format(record))
        if record.levelno >= logging.ERROR:
            self.flush()
        elif self._timer is None:
            try:
                self._timer = asyncio.get_running_loop().call_later(self.EVERY, self.flush)
            except RuntimeError:  # another thread, or no loop any more
                self.flush()

    def flush(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        lines, self._lines = self._lines, []
        if not lines:
            return
        text = "\n".join(lines) + "\n"
        try:
            self._file.write(text)
            self._file.flush()
        except OSError:
            return  # a full disk must not stop messages; health says that the disk is full
        self._size += len(text)
        if self._size > self._limit:
            self._roll()

    def close(self) -> None:
        self.flush()
        self._file.close()
        super().close()

    def _roll(self) -> None:
        self._file.close()
        for number in range(self._keep - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            if older.exists():
                older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        self._file = self._path.open("a", encoding="utf-8")
        self._size = 0


def bind(**fields: Any) -> None:
    """Add fields to every later line of this task; a task that handles one event ends with it."""
    _bound.set({**_bound.get(), **fields})


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Add fields to every line inside."""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


_second = (0, "")


def _timestamp(created: float) -> str:
    global _second
    second = int(created)
    if second != _second[0]:
        _second = (second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S"))
    return f"{_second[1]}.{int((created - second) * 1000):03d}Z"

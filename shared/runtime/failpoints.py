"""
Named points at which a process kills itself, to prove that nothing is lost there (E1, E12; campaigns only).

A spec is ``point=when`` (several with commas): ``outbox.commit.after=250`` dies at the 250th pass,
``channel.send.before=0.01`` at each pass with that probability. SIGKILL, so nothing of ours runs afterwards:
what ``before`` and ``after`` mean is said by the ports' docstrings.
"""

import logging
import os
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from events import CloudEvent, Event
from shared.adapters.tables_outbox import TablesOutbox
from shared.ports import Channels, EventSink, Outbox, Ports, Tables
from shared.ports.channel import Channel, Outgoing, Receipt
from shared.ports.outbox import Acceptance
from shared.ports.tables import Put, Row, Table, Value

log = logging.getLogger(__name__)

POINTS = tuple(
    f"{call}.{side}"
    for call in (
        "outbox.commit",
        "sink.emit",
        "tables.put",
        "tables.put_if_absent",
        "tables.update_if",
        "tables.delete",
        "channel.send",
    )
    for side in ("before", "after")
)


class Failpoint(Protocol):
    def __call__(self, point: str) -> None:
        """The process passes ``point``; it may be its last."""
        ...


def arm(ports: Ports, spec: str) -> Ports:
    """
    The same ports, with points in them at which this process dies.

    Raises:
        ValueError: the spec names no point, or no pass or probability.
    """
    passing = _Passes(parse(spec))
    log.critical("failpoints are armed: this process will kill itself", extra={"failpoint": spec})
    tables, sink, outbox = _Tables(ports.tables, passing), _Sink(ports.sink, passing), ports.outbox
    if isinstance(outbox, TablesOutbox):  # its steps are points, too
        outbox = outbox.over(tables, sink)
    return replace(
        ports,
        tables=tables,
        outbox=_Outbox(outbox, passing),
        sink=sink,
        channels=_Channels(ports.channels, passing),
    )


def parse(spec: str) -> dict[str, float]:
    """
    For each point when to die: from 1 on the number of the pass, below 1 a probability.

    >>> parse("outbox.commit.after=250, sink.emit.before=0.01")
    {'outbox.commit.after': 250.0, 'sink.emit.before': 0.01}

    Raises:
        ValueError: the spec names no point, or no pass or probability.
    """
    points = {}
    for part in spec.split(","):
        point, _, when = (word.strip() for word in part.partition("="))
        if point not in POINTS:
            raise ValueError(f"there is no failpoint {point!r}; there are {', '.join(POINTS)}")
        number = float(when or 1)
        if number <= 0 or (number > 1 and not number.is_integer()):
            raise ValueError(f"{point}={when}: say a number of passes (1, 2 …) or a probability below 1")
        points[point] = number
    return points


@dataclass(slots=True)
class _Passes:
    left: dict[str, float]
    die: Callable[[], None] = lambda: os.kill(os.getpid(), signal.SIGKILL)

    def __call__(self, point: str) -> None:
        left = self.left.get(point)
        if left is None:
            return
        if left >= 1:
            self.left[point] = left - 1
            if left > 1:
                return
            self.die()
        elif left > 0 and random.random() < left:
            self.die()


@dataclass(frozen=True, slots=True)
class _Outbox:
    inner: Outbox
    passing: Failpoint

    async def commit(self, acceptance: Acceptance) -> list[Row]:
        self.passing("outbox.commit.before")
        rows = await self.inner.commit(acceptance)
        self.passing("outbox.commit.after")
        return rows


@dataclass(frozen=True, slots=True)
class _Sink:
    inner: EventSink
    passing: Failpoint

    async def emit(self, *events: Event[Any]) -> None:
        self.passing("sink.emit.before")
        await self.inner.emit(*events)
        self.passing("sink.emit.after")

    async def append(self, *events: CloudEvent) -> None:
        self.passing("sink.append.before")
        await self.inner.append(*events)
        self.passing("sink.append.after")


@dataclass(frozen=True, slots=True)
class _Tables:
    inner: Tables
    passing: Failpoint

    async def get(self, table: Table, key: Sequence[Value], *, serial: bool = False) -> Row | None:
        return await self.inner.get(table, key, serial=serial)

    async def slice(
        self,
        table: Table,
        partition: Sequence[Value],
        *,
        prefix: Sequence[Value] = (),
        after: Value = None,
        until: Value = None,
        limit: int,
        reverse: bool = False,
        serial: bool = False,
    ) -> list[Row]:
        return await self.inner.slice(
            table,
            partition,
            prefix=prefix,
            after=after,
            until=until,
            limit=limit,
            reverse=reverse,
            serial=serial,
        )

    async def put(self, *puts: Put) -> None:
        self.passing("tables.put.before")
        await self.inner.put(*puts)
        self.passing("tables.put.after")

    async def put_if_absent(self, table: Table, *rows: Row, ttl: int | None = None) -> list[Row]:
        self.passing("tables.put_if_absent.before")
        standing = await self.inner.put_if_absent(table, *rows, ttl=ttl)
        self.passing("tables.put_if_absent.after")
        return standing

    async def update_if(
        self, table: Table, key: Sequence[Value], *, expected: Row, changes: Row, ttl: int | None = None
    ) -> bool:
        self.passing("tables.update_if.before")
        done = await self.inner.update_if(table, key, expected=expected, changes=changes, ttl=ttl)
        self.passing("tables.update_if.after")
        return done

    async def delete(self, table: Table, *keys: Sequence[Value]) -> None:
        self.passing("tables.delete.before")
        await self.inner.delete(table, *keys)
        self.passing("tables.delete.after")


@dataclass(frozen=True, slots=True)
class _Channels:
    inner: Channels
    passing: Failpoint

    def names(self) -> tuple[str, ...]:
        return self.inner.names()

    def type_of(self, name: str) -> type[Channel]:
        return self.inner.type_of(name)

    def open(self, name: str, config: Mapping[str, Any]) -> Channel:
        return cast(Channel, _Channel(self.inner.open(name, config), self.passing))


@dataclass(frozen=True, slots=True)
class _Channel:
    inner: Channel
    passing: Failpoint

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def send_message(self, outgoing: Outgoing) -> Receipt:
        self.passing("channel.send.before")
        receipt = await self.inner.send_message(outgoing)
        self.passing("channel.send.after")
        return receipt

    async def send_file(self, outgoing: Outgoing) -> Receipt:
        self.passing("channel.send.before")
        receipt = await self.inner.send_file(outgoing)
        self.passing("channel.send.after")
        return receipt

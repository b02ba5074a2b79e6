"""The event log in memory: for tests, and for nothing that must outlive a process."""

import asyncio
from collections.abc import Sequence
from itertools import islice
from typing import Any

from events import CloudEvent, Event
from shared.ports.event_log import LOOK_BACK, LoggedEvent


class MemoryRecordLog:
    """RecordLog, EventLog and EventSink over one list; offsets are 1, 2, 3 …"""

    def __init__(self) -> None:
        self.records: list[LoggedEvent] = []
        self.offsets: dict[str, int] = {}
        self._appended = asyncio.Event()

    async def emit(self, *events: Event[Any]) -> None:
        await self.append(*(event.to_cloudevent() for event in events))

    async def append(self, *cloudevents: CloudEvent) -> None:
        for cloudevent in cloudevents:
            self.records.append(LoggedEvent(len(self.records) + 1, cloudevent))
        if cloudevents:
            self._appended.set()

    async def read(self, *, after: int, limit: int, wait: float = 0) -> Sequence[LoggedEvent]:
        if after >= len(self.records) and wait > 0:
            self._appended.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._appended.wait()
            except TimeoutError:
                return []
        return self.records[after : after + limit]

    async def latest(
        self, limit: int, *, before: int | None = None, tenant: str | None = None
    ) -> Sequence[LoggedEvent]:
        found = self.records if before is None else self.records[: max(before - 1, 0)]
        if tenant is not None:
            found = [one for one in found[-LOOK_BACK:] if one.event.attributes.get("tenant") == tenant]
        return found[-limit:] if limit else []

    async def of_trace(self, trace_id: str, *, limit: int) -> Sequence[LoggedEvent]:
        found = (
            record
            for record in self.records
            if record.event.attributes.get("traceparent", "").split("-")[1:2] == [trace_id]
        )
        return list(islice(found, limit))

    async def about(self, message_id: str, *, limit: int) -> Sequence[LoggedEvent]:
        found = (record for record in self.records if message_id in record.event.attributes.values())
        return list(islice(found, limit))

    async def head(self) -> int:
        return len(self.records)

    async def committed(self, group: str) -> int | None:
        return self.offsets.get(group)

    async def commit(self, group: str, offset: int) -> None:
        self.offsets[group] = max(offset, self.offsets.get(group, 0))

"""Every port in memory, but for files: what a function needs to run in a test, and nothing of it outlives the test."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from cryptography.fernet import Fernet

from shared.adapters.filesystem.objects import FilesystemObjects
from shared.adapters.http.webhook_sender import webhook_sender
from shared.adapters.local.clock import RandomIds, SystemClock
from shared.adapters.local.hasher import Argon2Hasher
from shared.adapters.local.scanner import NoScanner
from shared.adapters.local.vault import FernetVault
from shared.adapters.memory.cache import MemoryCache
from shared.adapters.memory.fan_out import MemoryFanOut
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.memory.tables import MemoryTables
from shared.adapters.tables_outbox import OutboxSweeper, TablesOutbox
from shared.channels.registry import InstalledChannels
from shared.ports import Ports
from shared.repositories.schema import TABLES
from shared.runtime.opened import Opened
from shared.runtime.subscriber import Subscriber
from shared.runtime.trigger_runner import Pace, Runner, TriggerRunner
from shared.runtime.wiring import Trigger


@asynccontextmanager
async def opened_memory(cfg: Mapping[str, str]) -> AsyncIterator[Opened]:
    """For one function as a service: nothing wakes it but what is POSTed, and it stands on nothing."""
    async with open_memory(cfg) as ports:
        yield Opened(ports, _runner, {})


def _runner(triggers: Iterable[Trigger], subscribers: Mapping[str, Subscriber], pace: Pace) -> Runner:
    return TriggerRunner(triggers, subscribers, MemoryRecordLog(), pace=pace)


@asynccontextmanager
async def open_memory(cfg: Mapping[str, str]) -> AsyncIterator[Ports]:
    clock, ids = SystemClock(), RandomIds()
    tables, log = MemoryTables(clock), MemoryRecordLog()
    with TemporaryDirectory() as folder:
        objects = FilesystemObjects(Path(folder), key=b"k" * 32, base_url="http://objects", clock=clock)
        async with httpx.AsyncClient() as http, webhook_sender(private_allowed=True) as webhooks:
            yield Ports(
                clock=clock,
                ids=ids,
                tables=tables,
                outbox=TablesOutbox(tables, log, clock, ids),
                sink=log,
                log=log,
                cache=MemoryCache(),
                fan_out=MemoryFanOut(),
                vault=FernetVault([Fernet.generate_key()]),
                hasher=Argon2Hasher(),
                channels=InstalledChannels(http, allowed_hosts=("127.0.0.1", "localhost")),
                sweeper=OutboxSweeper(tables, log, clock, TABLES),
                webhooks=webhooks,
                objects=objects,
                scanner=NoScanner(),
            )
        objects.close()

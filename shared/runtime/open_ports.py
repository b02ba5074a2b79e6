"""Which adapter stands behind which port; adapters are imported here and nowhere else (design.md 2)."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from shared.ports import Ports
from shared.runtime import object_stores
from shared.runtime.choices import Choices, split
from shared.runtime.dependency import Dependency
from shared.runtime.engines import Engines
from shared.runtime.opened import Opened
from shared.runtime.wiring_error import WiringError

if TYPE_CHECKING:
    from shared.runtime.subscriber import Subscriber
    from shared.runtime.trigger_runner import Pace, Runner
    from shared.runtime.wiring import Trigger

EMBEDDED, SERVERS, KNATIVE = "embedded", "servers", "knative"
DATABASE = "chat4all.db"
"""Of the mode embedded, in the data directory."""

K_SINK = "K_SINK"
"""The address of the broker's ingress, under the name that Knative's SinkBinding would give it (docs/adr/0036)."""


@asynccontextmanager
async def open_ports(cfg: Mapping[str, str]) -> AsyncIterator[Ports]:
    """
    For one function in a process of its own, by CHAT4ALL_MODE and the mode's own settings.

    Raises:
        WiringError: no such mode, or a setting that it needs is missing or does not fit.
    """
    async with open_by(cfg) as opened:
        yield opened.ports


@asynccontextmanager
async def open_by(cfg: Mapping[str, str]) -> AsyncIterator[Opened]:
    """The same, with what wakes functions. Raises as ``open_ports``."""
    mode = cfg.get("CHAT4ALL_MODE", EMBEDDED)
    folder = cfg.get("CHAT4ALL_DATA_DIR")
    choices = Choices.read(cfg)
    if mode == EMBEDDED:
        if not folder:
            raise WiringError("CHAT4ALL_DATA_DIR is not set: it names the folder of the database")
        async with open_embedded(Path(folder), choices) as opened:
            yield opened
        return
    if mode not in (SERVERS, KNATIVE):
        raise WiringError(f"CHAT4ALL_MODE={mode}: there are {EMBEDDED}, {SERVERS} and {KNATIVE}")
    if mode == KNATIVE and not cfg.get(K_SINK):
        raise WiringError(
            f"{K_SINK} is not set: it is the address of the broker's ingress, /namespace/name of the Broker"
        )
    from shared.runtime.open_servers import open_servers

    check_key_is_said(cfg)
    if not choices.keys:
        choices = replace(choices, keys=[_key_beside(Path(cfg["CHAT4ALL_DATA_DIR"]))])
    k_sink = cfg[K_SINK] if mode == KNATIVE else None
    kept = Path(folder) if folder else None
    async with open_servers(Engines.read(cfg), choices, folder=kept, k_sink=k_sink) as opened:
        yield opened


def check_key_is_said(cfg: Mapping[str, str]) -> None:
    """
    On servers; a command asks before it serves, for then it can still say it in one line.

    Raises:
        WiringError: neither the keys are set, nor where one is kept.
    """
    if not split(cfg.get("CHAT4ALL_SECRET_KEY", "")) and not cfg.get("CHAT4ALL_DATA_DIR"):
        raise WiringError(
            "CHAT4ALL_SECRET_KEY is not set, nor CHAT4ALL_DATA_DIR, whose vault.key could stand in for it"
        )


def _key_beside(folder: Path) -> bytes:
    from shared.adapters.local.vault import load_or_create_key

    return load_or_create_key(folder / "vault.key")


@asynccontextmanager
async def open_embedded(
    folder: Path, choices: Choices = Choices(), *, keep_events: int = 500_000
) -> AsyncIterator[Opened]:
    """
    Everything in this process, durable in ``folder``.

    Args:
        choices: without keys for the vault one is made and kept in ``folder``.
        keep_events: how many the log keeps for those who look back.

    Raises:
        CorruptDatabase: the database file cannot be used.
        OSError: the folder cannot be read or written.
    """
    from shared.adapters.clamav.scanner import ClamavScanner
    from shared.adapters.http.webhook_sender import webhook_sender
    from shared.adapters.local.clock import RandomIds, SystemClock
    from shared.adapters.local.hasher import Argon2Hasher
    from shared.adapters.local.scanner import NoScanner
    from shared.adapters.local.vault import FernetVault, load_or_create_key
    from shared.adapters.memory.cache import MemoryCache
    from shared.adapters.memory.fan_out import MemoryFanOut
    from shared.adapters.sqlite.database import Database
    from shared.adapters.sqlite.event_log import SqliteEventLog
    from shared.adapters.sqlite.outbox import SqliteOutbox
    from shared.adapters.sqlite.sweeper import SqliteSweeper
    from shared.adapters.sqlite.tables import SqliteTables
    from shared.channels.registry import InstalledChannels, http_client
    from shared.repositories.schema import TABLES

    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  before anything is served
    path = folder / DATABASE
    clock = SystemClock()
    database = Database(path)
    try:
        tables = SqliteTables(database, clock, TABLES)
        log = SqliteEventLog(database, path)
        async with (
            http_client() as http,
            webhook_sender(private_allowed=choices.private_webhooks) as webhooks,
            object_stores.open_objects(folder, choices, clock) as objects,
        ):
            ports = Ports(
                clock=clock,
                ids=RandomIds(),
                tables=tables,
                outbox=SqliteOutbox(database, tables, log),
                sink=log,
                log=log,
                cache=MemoryCache(),
                fan_out=MemoryFanOut(),
                vault=FernetVault(choices.keys or [load_or_create_key(folder / "vault.key")]),
                hasher=Argon2Hasher(),
                channels=InstalledChannels(http, allowed_hosts=choices.provider_hosts),
                sweeper=SqliteSweeper(tables, log, keep_events=keep_events),
                webhooks=webhooks,
                webhook_policy=choices.webhook_policy,
                objects=objects.store,
                scanner=ClamavScanner(choices.clamav) if choices.clamav else NoScanner(),
            )

            def runner(
                triggers: "Iterable[Trigger]", subscribers: "Mapping[str, Subscriber]", pace: "Pace"
            ) -> "Runner":
                from shared.runtime.trigger_runner import TriggerRunner

                return TriggerRunner(triggers, subscribers, log, pace=pace)

            async def readable() -> str:
                await log.latest(1)
                return "readable"

            dependencies = {"database": Dependency(readable), "objects": object_stores.dependency(objects)}
            yield Opened(ports, runner, dependencies, database.sync, objects.serve)
    finally:
        await database.close()

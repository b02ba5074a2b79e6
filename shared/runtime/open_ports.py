"""Which adapter stands behind which port; adapters are imported here and nowhere else (design.md 2)."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from shared.ports import Ports
from shared.ports.event_log import RecordLog
from shared.runtime.object_stores import OpenedObjects, open_folder, open_s3, s3_settings
from shared.runtime.wiring_error import WiringError

if TYPE_CHECKING:
    from shared.adapters.s3.settings import S3Settings


@asynccontextmanager
async def open_ports(cfg: Mapping[str, str]) -> AsyncIterator[Ports]:
    """
    For one function in a process of its own, by CHAT4ALL_MODE and the mode's own settings.

    Raises:
        WiringError: no such mode, or a setting that it needs is missing.
    """
    mode = cfg.get("CHAT4ALL_MODE", "embedded")
    if mode != "embedded":
        raise WiringError(f"CHAT4ALL_MODE={mode}: there is only 'embedded'")
    folder = cfg.get("CHAT4ALL_DATA_DIR")
    if not folder:
        raise WiringError("CHAT4ALL_DATA_DIR is not set: it names the folder of the database")
    url = cfg.get("CHAT4ALL_PUBLIC_URL", "http://127.0.0.1:8080")
    s3 = s3_settings(cfg, mode=mode)
    async with open_embedded(Path(folder), url=url, s3=s3, clamav=cfg.get("CHAT4ALL_CLAMAV", "")) as opened:
        yield opened.ports


class Embedded(NamedTuple):
    """``log`` is what a TriggerRunner consumes; ``sync`` returns once all that is committed is on disk."""

    ports: Ports
    log: RecordLog
    sync: Callable[[], Awaitable[None]]
    objects: OpenedObjects


@asynccontextmanager
async def open_embedded(
    folder: Path,
    *,
    keep_events: int = 500_000,
    keys: Sequence[bytes] = (),
    provider_hosts: Collection[str] = (),
    url: str = "http://127.0.0.1:8080",
    s3: "S3Settings | None" = None,
    clamav: str = "",
) -> AsyncIterator[Embedded]:
    """
    Everything in this process, durable in ``folder``.

    Args:
        keep_events: how many the log keeps for those who look back.
        keys: of the vault, the first seals; without any, one is made and kept in ``folder``.
        provider_hosts: that channel accounts may name beside the providers' own.
        url: how clients reach this process; presigned URLs of the folder begin with it.
        s3: keeps the bytes of files; without it they are in ``folder``.
        clamav: where clamd is; without it no file is scanned.

    Raises:
        CorruptDatabase: the database file cannot be used.
        OSError: the folder cannot be read or written.
    """
    from shared.adapters.clamav.scanner import ClamavScanner
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
    path = folder / "chat4all.db"
    clock = SystemClock()
    database = Database(path)
    try:
        tables = SqliteTables(database, clock, TABLES)
        log = SqliteEventLog(database, path)
        storing = open_folder(folder, url=url, clock=clock) if s3 is None else open_s3(s3)
        async with http_client() as http, storing as objects:
            ports = Ports(
                clock=clock,
                ids=RandomIds(),
                tables=tables,
                outbox=SqliteOutbox(database, tables, log),
                sink=log,
                log=log,
                cache=MemoryCache(),
                fan_out=MemoryFanOut(),
                vault=FernetVault(keys or [load_or_create_key(folder / "vault.key")]),
                hasher=Argon2Hasher(),
                channels=InstalledChannels(http, allowed_hosts=provider_hosts),
                sweeper=SqliteSweeper(tables, log, keep_events=keep_events),
                objects=objects.store,
                scanner=ClamavScanner(clamav) if clamav else NoScanner(),
            )
            yield Embedded(ports, log, database.sync, objects)
    finally:
        await database.close()

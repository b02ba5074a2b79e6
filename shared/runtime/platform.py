"""
The whole platform in one process: the HTTP application, the trigger runner with every function, the timers.

The embedded mode has nothing else; in the mode ``servers`` any number of such processes stand on the same servers,
each with all functions or a group of them. Told in order by ``_start``: wiring, ports, functions, broker,
application, first client. What prevents the start is a StartError: one line, and an exit code of its own.
"""

import asyncio
import errno
import hashlib
import ipaddress
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
import uvloop

from shared.adapters.s3.settings import S3Settings
from shared.adapters.sqlite.database import CorruptDatabase
from shared.domain.errors import Chat4AllError, Unavailable
from shared.domain.identity import Tenant
from shared.domain.sealing_keys import keys_of
from shared.domain.webhook import WebhookPolicy, schedule_of
from shared.http.live_socket import MAX_FRAME, LiveSocket
from shared.observability import metrics
from shared.observability.log import SERVICE, LogFile, log, write_to
from shared.ports import Ports
from shared.repositories.tenants import Tenants
from shared.runtime import bootstrap, functions, garbage, health, operations, start_error, wiring
from shared.runtime.api import ROUTERS, Api
from shared.runtime.choices import Choices, split
from shared.runtime.credentials_file import Credentials, CredentialsFile
from shared.runtime.data_directory import prepare
from shared.runtime.dependency import Dependency
from shared.runtime.door import Door
from shared.runtime.engine_addresses import START_THEM, engine_addresses
from shared.runtime.engines import FIELDS, Engines
from shared.runtime.failpoints import arm
from shared.runtime.http_face import limits_of, sockets_of
from shared.runtime.mode_check import check_mode
from shared.runtime.only_one import only_one
from shared.runtime.open_ports import DATABASE, EMBEDDED, KNATIVE, SERVERS, open_embedded
from shared.runtime.opened import Opened, Tell, Waiting
from shared.runtime.secret_key import check_key
from shared.runtime.span_export import spans_to
from shared.runtime.start_error import StartError
from shared.runtime.subscribers import subscribers, triggers_of
from shared.runtime.timers import Timers
from shared.runtime.trigger_runner import Pace, Runner
from shared.runtime.wiring_error import WiringError
from shared.settings import Settings

T = TypeVar("T")

LOG_BYTES = 64 * 1024 * 1024
DRAIN = 10
"""Seconds that requests and events under way are given at the end."""


@dataclass(frozen=True, slots=True)
class Started:
    """
    What somebody who just started the platform wants to know.

    reachable_at: the host where others than this machine reach it. new_client: made now, shown once.
    mode_before: of the last start on the same data directory, if there was one.
    """

    url: str
    data_dir: Path
    simulators: bool
    private_webhooks: bool
    reachable_at: str | None
    credentials: Path
    new_client: Credentials | None
    mode: str
    mode_before: str | None


Announce = Callable[[Started], None]


def run(settings: Settings, announce: Announce, tell: Tell) -> int:
    """
    Serve until SIGINT or SIGTERM; 0. ``tell`` hears of servers that are waited for.

    Raises:
        StartError: it could not start.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(settings, announce, tell))
    return 0


def create_tenant(settings: Settings, name: str) -> Credentials:
    """
    A second tenant and its first client, also while the platform runs on the same data directory.

    Raises:
        Invalid, Conflict: see ``bootstrap.create_tenant``.
        StartError: the data directory cannot be used, or its platform was started in another mode.
        Unavailable: a server is away.
    """
    return _beside(settings, lambda ports: bootstrap.create_tenant(ports, name), makes=True)


def add_client(settings: Settings, tenant: str) -> Credentials:
    """
    Raises:
        NotFound: there is no such tenant.
        StartError: it cannot be used, was started in another mode, or is not there.
        Unavailable: a server is away.
    """
    return _beside(settings, lambda ports: bootstrap.add_client(ports, tenant))


def disable_client(settings: Settings, client_id: str) -> None:
    """
    The running platform hears of it within seconds. Where it was kept, its secret goes and that it was disabled stays.

    Raises:
        NotFound, Conflict: see ``bootstrap.disable_client``.
        StartError: it cannot be used, was started in another mode, or is not there.
        Unavailable: a server is away.
    """
    _beside(settings, lambda ports: bootstrap.disable_client(ports, client_id))
    with _kept(settings, "the client is disabled, but could not be taken out of") as file:
        file.disable(client_id)


def keep_client(settings: Settings, made: Credentials) -> None:
    """
    For the command line, in the place of the client that was kept of the tenant.

    Raises:
        StartError: it cannot be written.
    """
    with _kept(settings, "the client was made, but could not be kept in") as file:
        file.keep(made)


def limit_tenant(settings: Settings, name: str, *, requests: int | None, messages: int | None) -> Tenant:
    """
    Limits of the tenant's own, whatever the settings are; the running platform hears of them within seconds.

    Raises:
        NotFound: there is no such tenant.
        StartError: it cannot be used, was started in another mode, or is not there.
        Unavailable: a server is away.
    """

    async def limit(ports: Ports) -> Tenant:
        tenants = Tenants(ports.tables, ports.clock)
        return await tenants.limit(name, requests_per_minute=requests, messages_per_minute=messages)

    return _beside(settings, limit)


def all_tenants(settings: Settings) -> list[Tenant]:
    """
    In the order of their names.

    Raises:
        StartError: it cannot be used, was started in another mode, or is not there.
        Unavailable: a server is away.
    """

    async def look(ports: Ports) -> list[Tenant]:
        return await Tenants(ports.tables, ports.clock).all()

    return _beside(settings, look)


def _beside(settings: Settings, work: Callable[[Ports], Awaitable[T]], *, makes: bool = False) -> T:
    """Work of a command on the platform's stores, whether it runs or not; one that ``makes`` needs none before it."""

    async def opened_for_it() -> T:
        with _refusals(settings):
            async with _open(settings, waiting=Waiting(_refuse), emits=False) as opened:
                done = await work(opened.ports)
                await opened.sync()
                return done

    _prepare_command(settings, makes=makes)
    return asyncio.run(opened_for_it())


def _prepare_command(settings: Settings, *, makes: bool) -> None:
    """A platform waits for its servers; what somebody has typed is told at once that they are not there."""
    check_mode(settings)
    if settings.mode == EMBEDDED and not makes and not (settings.data_dir / DATABASE).exists():
        raise StartError(
            f"there is no platform in {settings.data_dir}: start it once with scripts/up, or name its --data-dir",
            start_error.DATA_DIR_UNUSABLE,
        )
    with _refusals(settings):
        for engine in engine_addresses(settings) if settings.mode == SERVERS else ():
            silent = engine.silent()
            if engine.needed and len(silent) == len(engine.addresses):
                _refuse(engine.name, f"nobody listens at {', '.join(silent)}")
    key = settings.data_dir / "vault.key"
    if settings.mode == SERVERS and not makes and settings.secret_key is None and not key.exists():
        raise StartError(
            f"there is no {key}, the key of the platform's secrets: name the --data-dir of your platform, or set "
            "CHAT4ALL_SECRET_KEY",
            start_error.DATA_DIR_UNUSABLE,
        )
    prepare(settings.data_dir)


def _refuse(server: str, why: str | None) -> None:
    """Hears, as ``Tell``, of a server that would be waited for."""
    if why is not None:
        raise Unavailable(f"{server} is not there ({why}); {START_THEM}")


def _open(
    settings: Settings, url: str = "", waiting: Waiting | None = None, *, emits: bool = True
) -> AbstractAsyncContextManager[Opened]:
    choices = _choices(settings, url)
    if settings.mode == KNATIVE:
        raise StartError(
            "on Knative every function is a Service of its own: apply the manifests under knative/",
            start_error.SETTINGS_WRONG,
        )
    if settings.mode == EMBEDDED:
        return open_embedded(settings.data_dir, choices, keep_events=settings.keep_events)
    from shared.adapters.local.vault import load_or_create_key
    from shared.runtime.open_servers import open_servers

    if not choices.keys:
        choices = replace(choices, keys=[load_or_create_key(settings.data_dir / "vault.key")])
    return open_servers(_engines(settings), choices, folder=settings.data_dir, waiting=waiting, emits=emits)


def _choices(settings: Settings, url: str) -> Choices:
    return Choices(
        keys=keys_of(settings.secret_key.get_secret_value()) if settings.secret_key else [],
        provider_hosts=_provider_hosts(settings),
        webhook_policy=WebhookPolicy(
            schedule=schedule_of(settings.webhook_schedule),
            timeout=timedelta(seconds=settings.webhook_timeout),
            at_once=settings.concurrency,
            in_flight=settings.webhook_in_flight,
            disable_after=timedelta(hours=settings.webhook_disable_after),
        ),
        private_webhooks=_private_webhooks(settings),
        url=url,
        s3=_s3(settings),
        clamav=settings.clamav,
    )


def _s3(settings: Settings) -> S3Settings | None:
    if (settings.object_store or ("folder" if settings.mode == EMBEDDED else "s3")) == "folder":
        return None
    return S3Settings(
        bucket=settings.s3_bucket,
        endpoint=settings.s3_endpoint,
        public_endpoint=settings.s3_public_endpoint,
        access_key=settings.s3_access_key,
        secret_key=settings.s3_secret_key.get_secret_value() if settings.s3_secret_key else None,
        region=settings.s3_region,
    )


def _private_webhooks(settings: Settings) -> bool:
    """Assumed where simulated providers are served: on a machine of one's own, as they are."""
    if settings.webhook_allow_private is not None:
        return settings.webhook_allow_private
    return settings.simulators and _is_loopback(settings.host)


def _engines(settings: Settings) -> Engines:
    values = {name: getattr(settings, name) for name in FIELDS}
    password = settings.cassandra_password
    return Engines(**{**values, "cassandra_password": password.get_secret_value() if password else None})


def _provider_hosts(settings: Settings) -> list[str]:
    """What the operator allows; and this machine where simulated providers are at home."""
    allowed = split(settings.provider_hosts)
    if settings.simulators and _is_loopback(settings.host):
        allowed += ["127.0.0.1", "::1", "localhost"]
    return allowed


async def _run(settings: Settings, announce: Announce, tell: Tell) -> None:
    prepare(settings.data_dir)
    with _refusals(settings), only_one(settings.data_dir), _listen(settings) as listening:
        _log_to(settings)
        waiting = Waiting(tell)
        door = Door(waiting)
        server = _Server(_uvicorn(door), door.close)
        async with AsyncExitStack() as stack:
            serving = asyncio.create_task(server.serve(sockets=[listening]), name="server")
            starting = asyncio.create_task(_start(settings, listening, door, waiting, stack), name="start")
            try:
                await asyncio.wait((serving, starting), return_when=asyncio.FIRST_COMPLETED)
                if starting.done():
                    announce(await starting)
                    await serving
            finally:
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
                server.should_exit = True
                await serving
            log.info("stopping")


async def _start(
    settings: Settings, listening: socket.socket, door: Door, waiting: Waiting, stack: AsyncExitStack
) -> Started:
    """Everything behind the door; ``stack`` closes it."""
    wired = wiring.read()
    await stack.enter_async_context(spans_to(settings.otel_endpoint, service=SERVICE, ratio=settings.otel_sample_ratio))
    url = _url(settings, listening)
    opened = await stack.enter_async_context(_open(settings, url, waiting))
    ports = opened.ports
    if settings.failpoint:
        ports = arm(ports, settings.failpoint)
    _check_channels(ports)
    await check_key(ports)
    mode_before = _credentials(settings).mode
    made = {name: functions.new(name, ports) for name in functions.names()}
    triggers = triggers_of(wired, settings.triggers)
    runner = opened.runner(triggers, subscribers(wired, triggers, made, ports), Pace(calls=settings.concurrency))
    api = Api(
        ports,
        {name: made[name] for name in ROUTERS},
        opened.sync,
        _own_routers(opened, runner, settings),
        limits_of(settings),
        sockets_of(settings),
        opened.serve_objects,
    )
    simulators = await _mount_simulators(settings, api, url, stack)
    metrics.REGISTRY.register(runner)
    timers = Timers(wired.timers, ports.sink, ports.clock)
    stack.push_async_callback(runner.stop, DRAIN)
    await runner.start()
    timers.start()
    stack.push_async_callback(timers.stop)
    await api.gateway.start()
    stack.push_async_callback(api.gateway.stop)
    new_client = await _first_client(settings, ports, url)  # last: its secret is shown once, by a start that succeeds
    log.info("started", url=url, mode=settings.mode, triggers=len(triggers))
    garbage.settle()
    door.open(api, api.gateway.stop)
    return Started(
        url,
        settings.data_dir,
        simulators,
        _private_webhooks(settings),
        None if _is_loopback(settings.host) else settings.host,
        _credentials(settings).path,
        new_client,
        settings.mode,
        mode_before,
    )


class _Server(uvicorn.Server):
    """
    uvicorn's own would end the process by the signal once it has served; we have more to close. ``first`` ends what
    would keep connections open for ever.
    """

    def __init__(self, config: uvicorn.Config, first: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._first = first

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._first()
        await super().shutdown(sockets)

    def capture_signals(self) -> Any:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        return nullcontext()


def _uvicorn(app: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http="httptools",
        ws=LiveSocket,
        ws_max_size=MAX_FRAME,
        ws_per_message_deflate=False,  # one frame is encoded for all, and no client can send a bomb
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=DRAIN,
    )


def _own_routers(opened: Opened, runner: Runner, settings: Settings) -> list[Any]:
    async def broker() -> str:
        well, detail = runner.alive()
        if not well:
            raise Unavailable(detail)
        return f"{len(runner.standings())} triggers"

    standing_on = {**opened.dependencies, "disk": health.room_in(settings.data_dir), "broker": Dependency(broker)}
    return [operations.router(runner), health.router(standing_on)]


async def _mount_simulators(settings: Settings, api: Api, url: str, stack: AsyncExitStack) -> bool:
    """Simulated providers hand out their own secrets: they are for this machine only."""
    if not settings.simulators or not _is_loopback(settings.host):
        return False
    from shared.adapters.local.vault import load_or_create_key
    from shared.simulators.app import Simulators

    key = hashlib.sha256(b"simulators" + load_or_create_key(settings.data_dir / "simulators.key")).hexdigest()
    simulators = Simulators(callback_base=url, tenant=settings.bootstrap_tenant, key=key)
    api.app.mount("/simulators", simulators.app)
    stack.push_async_callback(simulators.aclose)
    return True


async def _first_client(settings: Settings, ports: Ports, url: str) -> Credentials | None:
    """The client of the first tenant: the one that was set, or one made at the first start."""
    file, tenant = _credentials(settings), settings.bootstrap_tenant
    if settings.bootstrap_client_id is not None and settings.bootstrap_client_secret is not None:
        secret = settings.bootstrap_client_secret.get_secret_value()
        set_client = await bootstrap.ensure_client(ports, tenant, settings.bootstrap_client_id, secret)
        file.keep(set_client, url=url, mode=settings.mode)
        return None
    known = file.of(tenant)
    if known is None and not file.disabled(tenant):
        made = await bootstrap.first_client(ports, tenant)
        file.keep(made, url=url, mode=settings.mode)
        return made
    if known is None:
        log.warning("the client of this tenant was disabled, and no other is made unasked", tenant=tenant)
    elif await bootstrap.restore_client(ports, known):
        log.info("the client that is kept was unknown here and was made", client_id=known.client_id)
    file.keep(url=url, mode=settings.mode)
    return None


def _credentials(settings: Settings) -> CredentialsFile:
    return CredentialsFile(settings.data_dir)


@contextmanager
def _kept(settings: Settings, otherwise: str) -> Iterator[CredentialsFile]:
    """``otherwise``: what is said, before its path and the reason, where it cannot be written."""
    file = _credentials(settings)
    try:
        yield file
    except OSError as error:
        raise StartError(f"{otherwise} {file.path} ({error.strerror})", start_error.DATA_DIR_UNUSABLE) from error


def _check_channels(ports: Ports) -> None:
    for name in ports.channels.names():
        try:
            ports.channels.type_of(name)
        except Chat4AllError as error:
            raise StartError(error.detail, start_error.CHANNEL_BROKEN) from error


@contextmanager
def _listen(settings: Settings) -> Iterator[socket.socket]:
    """The socket, bound before anything else is made: a port in use is found at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:  # no IPv6 here
        raise _cannot_listen(settings, error) from error
    with listening:
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((settings.host, settings.port))
            listening.listen()  # two that start at the same moment can both bind
        except OSError as error:
            raise _cannot_listen(settings, error) from error
        yield listening


def _cannot_listen(settings: Settings, error: OSError) -> StartError:
    another = (
        "choose another port with --port or CHAT4ALL_PORT"
        if error.errno in (errno.EADDRINUSE, errno.EACCES)
        else "name an address of this machine with --host or CHAT4ALL_HOST"
    )
    return StartError(
        f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); {another}", start_error.PORT_IN_USE
    )


@contextmanager
def _refusals(settings: Settings) -> Iterator[None]:
    try:
        yield
    except WiringError as error:
        raise StartError(str(error), start_error.WIRING_WRONG) from error
    except CorruptDatabase as error:
        raise StartError(
            f"the database in {settings.data_dir} is damaged or cannot be used ({error}); keep a copy of "
            "chat4all.db and restore a backup, or start with another --data-dir",
            start_error.DATABASE_CORRUPT,
        ) from error
    except OSError as error:
        raise StartError(
            f"the data directory {settings.data_dir} cannot be used ({error})", start_error.DATA_DIR_UNUSABLE
        ) from error


def _log_to(settings: Settings) -> None:
    if settings.log_file == "-":
        write_to(sys.stdout, level=settings.log_level)
        return
    path = Path(settings.log_file) if settings.log_file else settings.data_dir / "log" / "chat4all.jsonl"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = LogFile(path, limit=LOG_BYTES)
    except OSError as error:
        if not settings.log_file:
            raise
        raise StartError(
            f"the log file {path} cannot be written ({error.strerror}); name another with CHAT4ALL_LOG_FILE",
            start_error.SETTINGS_WRONG,
        ) from error
    write_to(file, level=settings.log_level)


def _url(settings: Settings, listening: socket.socket) -> str:
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{listening.getsockname()[1]}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

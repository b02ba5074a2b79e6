"""
A session with Cassandra for asyncio: prepared statements, three ways to execute them, and errors of ours.

The driver has its own threads; what it answers comes back to the event loop by ``call_soon_threadsafe``. This is
the only module that imports the driver; it is imported when somebody connects.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Any

from cassandra import ConsistencyLevel, DriverException, InvalidRequest, OperationTimedOut, ProtocolVersion
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.cluster import Session as DriverSession
from cassandra.connection import ConnectionBusy, ConnectionException
from cassandra.policies import (
    ConstantSpeculativeExecutionPolicy,
    DCAwareRoundRobinPolicy,
    ExponentialReconnectionPolicy,
    FallthroughRetryPolicy,
    HostStateListener,
    RetryPolicy,
    TokenAwarePolicy,
)
from cassandra.pool import NoConnectionsAvailable
from cassandra.protocol import ErrorMessage
from cassandra.query import (
    UNSET_VALUE,
    BatchStatement,
    BatchType,
    BoundStatement,
    PreparedStatement,
    dict_factory,
    tuple_factory,
)

from shared.adapters.cassandra.settings import CassandraSettings
from shared.domain.errors import Unanswered, Unavailable

_IN_FLIGHT = 256  # statements that wait for an answer at the same time; more wait here
_HEARTBEAT = 2  # seconds without an answer until a node is asked whether it is there
_HEARTBEAT_ANSWER = 3  # seconds that it has for that; then what it was sent is sent elsewhere, or unanswered
_AGREEMENT = 60  # seconds for the nodes to agree on the schema
_SPECULATE_AFTER = 0.5  # seconds until an idempotent statement is also sent to another node

Statement = tuple[str, Sequence[Any]]
"""CQL and what it is bound to."""

_log = logging.getLogger(__name__)

_NOT_ANSWERED = (DriverException, ErrorMessage, ConnectionException, NoConnectionsAvailable, ConnectionBusy)


class _How(Enum):
    QUORUM = "quorum"  # reads, and idempotent writes: repeated when there is no answer
    SERIAL = "serial"  # reads that also see, and finish, what is between two rounds of Paxos
    CONDITIONAL = "conditional"  # writes that are judged: sent once, whatever comes


class _RepeatOnce(RetryPolicy):  # type: ignore[misc]  # the driver has no types
    """For idempotent statements only."""

    def on_read_timeout(self, query: Any, consistency: Any, *told: Any, retry_num: int, **_: Any) -> tuple[int, Any]:
        return (self.RETRY if retry_num == 0 else self.RETHROW), None

    def on_write_timeout(self, query: Any, consistency: Any, *told: Any, retry_num: int, **_: Any) -> tuple[int, Any]:
        return (self.RETRY if retry_num == 0 else self.RETHROW), None


class _Nodes(HostStateListener):  # type: ignore[misc]
    """Says in a line what the driver says in a traceback for each try."""

    def on_up(self, host: Any) -> None:
        _log.info("a Cassandra node is up", extra={"node": str(host.endpoint)})

    def on_down(self, host: Any) -> None:
        _log.warning("a Cassandra node is down", extra={"node": str(host.endpoint)})

    def on_add(self, host: Any) -> None:
        pass

    def on_remove(self, host: Any) -> None:
        _log.warning("a Cassandra node has left", extra={"node": str(host.endpoint)})


class Session:
    unset = UNSET_VALUE
    """Bound for what is not to be written; None writes a null."""

    def __init__(self, cluster: Cluster, session: DriverSession) -> None:
        self._cluster = cluster
        self._session = session
        self._prepared: dict[str, PreparedStatement] = {}
        self._preparing: dict[str, asyncio.Future[Any]] = {}
        self._free = asyncio.Semaphore(_IN_FLIGHT)

    @classmethod
    async def connect(cls, settings: CassandraSettings, migrate: Callable[[DriverSession], None]) -> "Session":
        """
        Args:
            migrate: makes sure that keyspace and tables are there; it blocks, and runs in a thread.

        Raises:
            Unavailable: no contact point answers.
        """
        logging.getLogger("cassandra").setLevel(logging.CRITICAL)  # it logs what it also raises
        cluster = _cluster(settings)
        cluster.register_listener(_Nodes())
        try:
            session = await asyncio.to_thread(_open, cluster, settings, migrate)
        except (NoHostAvailable, *_NOT_ANSWERED) as error:
            await asyncio.to_thread(cluster.shutdown)
            where = ", ".join(settings.contact_points)
            raise Unavailable(f"Cassandra at {where}, port {settings.port}, does not answer: {why(error)}") from error
        except BaseException:
            await asyncio.to_thread(cluster.shutdown)
            raise
        return cls(cluster, session)

    async def close(self) -> None:
        await asyncio.to_thread(self._cluster.shutdown)

    async def read(self, statement: Statement, *, serial: bool = False) -> list[Any]:
        """
        Rows, as tuples.

        Raises:
            Unavailable: there was no answer.
        """
        how = _How.SERIAL if serial else _How.QUORUM
        return await self._answer(how, await self._send(how, await self._bound(statement)))

    async def write(self, statements: Iterable[Statement]) -> None:
        """
        Idempotent writes, at the same time; of two to one row the later one stands.

        Raises:
            Unavailable: not all of them are known to be done.
        """
        bound = [await self._bound(statement) for statement in statements]
        sent = [await self._send(_How.QUORUM, one) for one in bound]
        for answer in await asyncio.gather(*sent, return_exceptions=True):
            if isinstance(answer, BaseException):
                raise _ours(_How.QUORUM, answer) from answer

    async def judge(self, *statements: Statement) -> list[dict[str, Any]]:
        """
        Conditional writes to one partition, all or none; the answer is Cassandra's: "[applied]", and columns.

        Raises:
            Unanswered: it may have happened.
            Unavailable: nothing happened.
        """
        bound = [await self._bound(statement) for statement in statements]
        if len(bound) == 1:
            return await self._answer(_How.CONDITIONAL, await self._send(_How.CONDITIONAL, bound[0]))
        batch = BatchStatement(BatchType.UNLOGGED)
        for one in bound:
            batch.add(one)
        return await self._answer(_How.CONDITIONAL, await self._send(_How.CONDITIONAL, batch))

    async def _bound(self, statement: Statement) -> BoundStatement:
        cql, values = statement
        prepared = self._prepared.get(cql) or await self._prepare(cql)
        return prepared.bind(values)

    async def _prepare(self, cql: str) -> PreparedStatement:
        # Once for each, however many ask: of two that were prepared of the same CQL the driver knows the second only,
        # and only for as long as somebody holds it.
        preparing = self._preparing.get(cql)
        if preparing is None:
            preparing = asyncio.ensure_future(asyncio.to_thread(self._session.prepare, cql))
            self._preparing[cql] = preparing
            preparing.add_done_callback(lambda _: self._preparing.pop(cql))
        try:
            prepared: Any = await asyncio.shield(preparing)
        except (NoHostAvailable, *_NOT_ANSWERED) as error:
            raise _ours(_How.QUORUM, error) from error
        prepared.is_idempotent = " IF " not in cql
        prepared.fetch_size = None  # every read has a limit, and comes in one page
        self._prepared[cql] = prepared
        return prepared

    async def _send(self, how: _How, statement: BoundStatement | BatchStatement) -> "asyncio.Future[Any]":
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        answer.add_done_callback(self._release)

        def settle(rows: Any) -> None:
            loop.call_soon_threadsafe(_settle, answer, rows)

        def fail(error: BaseException) -> None:
            loop.call_soon_threadsafe(_fail, answer, error)

        try:
            self._session.execute_async(statement, execution_profile=how).add_callbacks(settle, fail)
        except BaseException:
            answer.cancel()
            raise
        return answer

    def _release(self, answer: "asyncio.Future[Any]") -> None:
        self._free.release()

    async def _answer(self, how: _How, answer: "asyncio.Future[Any]") -> list[Any]:
        try:
            return await answer or []
        except (NoHostAvailable, *_NOT_ANSWERED) as error:
            raise _ours(how, error) from error


def _settle(answer: "asyncio.Future[Any]", rows: Any) -> None:
    if not answer.done():
        answer.set_result(rows)


def _fail(answer: "asyncio.Future[Any]", error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)


def _ours(how: _How, error: BaseException) -> BaseException:
    """
    What the port says for an error of the driver. NoHostAvailable of a statement that is sent at most once means
    that it was sent to nobody; all else that is said of a conditional write leaves it open what became of it.
    """
    if isinstance(error, InvalidRequest) or not isinstance(error, (NoHostAvailable, *_NOT_ANSWERED)):
        return error
    text = f"Cassandra: {type(error).__name__}: {why(error)}"
    if how is _How.CONDITIONAL and not isinstance(error, NoHostAvailable):
        return Unanswered(text)
    return Unavailable(text)


def why(error: BaseException) -> str:
    """In a line for people; the driver says it as a dict of the nodes, each with its address in it once more."""
    if isinstance(error, OperationTimedOut):
        return "no answer in time"
    if not isinstance(error, NoHostAvailable):
        return getattr(error, "strerror", None) or str(error) or type(error).__name__
    met = error.errors.values() if isinstance(error.errors, dict) else ()
    told = dict.fromkeys(why(each).rpartition("Last error: ")[2] for each in met)
    return "; ".join(told) or str(error.args[0])


def _cluster(settings: CassandraSettings) -> Cluster:
    balancing = TokenAwarePolicy(DCAwareRoundRobinPolicy(settings.datacenter or ""))

    def profile(consistency: int, retry: RetryPolicy, **others: Any) -> ExecutionProfile:
        return ExecutionProfile(
            balancing,
            retry,
            consistency,
            ConsistencyLevel.SERIAL,
            request_timeout=settings.request_timeout,
            **{"row_factory": tuple_factory, **others},
        )

    def idempotent(consistency: int) -> ExecutionProfile:
        speculation = ConstantSpeculativeExecutionPolicy(_SPECULATE_AFTER, 1)
        return profile(consistency, _RepeatOnce(), speculative_execution_policy=speculation)

    quorum = idempotent(ConsistencyLevel.QUORUM)
    return Cluster(
        contact_points=list(settings.contact_points),
        port=settings.port,
        protocol_version=ProtocolVersion.V4,
        execution_profiles={
            EXEC_PROFILE_DEFAULT: quorum,
            _How.QUORUM: quorum,
            _How.SERIAL: idempotent(ConsistencyLevel.SERIAL),
            _How.CONDITIONAL: profile(ConsistencyLevel.QUORUM, FallthroughRetryPolicy(), row_factory=dict_factory),
        },
        auth_provider=PlainTextAuthProvider(settings.username, settings.password) if settings.username else None,
        reconnection_policy=ExponentialReconnectionPolicy(0.5, 10.0),
        idle_heartbeat_interval=_HEARTBEAT,
        idle_heartbeat_timeout=_HEARTBEAT_ANSWER,
        connect_timeout=settings.request_timeout,
        control_connection_timeout=settings.request_timeout,
        max_schema_agreement_wait=0,  # not after each statement, once at the end
        schema_metadata_enabled=False,  # of every table in the cluster; ours come from their declarations
        prepare_on_all_hosts=False,  # one that hangs would hold up the start; the driver prepares where it must
        reprepare_on_up=False,
        compression=False,
        monitor_reporting_enabled=False,
    )


def _open(cluster: Cluster, settings: CassandraSettings, migrate: Callable[[DriverSession], None]) -> DriverSession:
    session = cluster.connect()
    session._default_timeout = settings.request_timeout  # of a prepare, about which profiles have no say
    migrate(session)
    # Waits until the nodes agree on the schema, and reads the replication that token awareness needs.
    cluster.refresh_keyspace_metadata(settings.keyspace, _AGREEMENT)
    return session

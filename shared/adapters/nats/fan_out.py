"""
Fan-out to the processes that hold open sockets, on NATS core: whoever listens now hears it, nothing is kept.

One subscription of a subject serves the whole process; its own listeners are MemoryFanOut's, with their bounded
queues. While NATS is away the newest frames wait for it, and subscriptions come back by themselves.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from urllib.parse import quote

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error, MaxPayloadError

from shared.adapters.memory.fan_out import MemoryFanOut, MemoryListening
from shared.observability import metrics
from shared.observability.log import log

_PREFIX = "chat4all.fan-out."
_LONGEST = 1024
"""Characters of a subject: a line of NATS' protocol has 4096."""
_ANSWER = 2


def escaped(subject: str) -> str:
    """
    One token of a NATS subject for any text, so that no id can name or match another's subject.

    >>> escaped("acme.conversation.a b.*>")
    'acme%2Econversation%2Ea%20b%2E%2A%3E'
    """
    token = quote(subject, safe="").replace(".", "%2E")
    return token if len(token) <= _LONGEST else f"%{blake2b(subject.encode(), digest_size=32).hexdigest()}"


@dataclass(slots=True)
class _Heard:
    listeners: int = 0
    subscription: Subscription | None = None


class NatsListening:
    """The queue of one listener in this process, and what NATS must know of it."""

    def __init__(self, fan_out: "NatsFanOut", local: MemoryListening) -> None:
        self._fan_out, self._local = fan_out, local
        self._subjects: set[str] = set()

    @property
    def losses(self) -> int:
        return self._local.losses + self._fan_out.interruptions

    def __aiter__(self) -> "NatsListening":
        return self

    async def __anext__(self) -> tuple[str, bytes]:
        return await anext(self._local)

    async def add(self, *subjects: str) -> None:
        new = set(subjects) - self._subjects
        self._subjects |= new
        await self._local.add(*new)
        await self._fan_out.listen(new)

    async def remove(self, *subjects: str) -> None:
        gone = self._subjects.intersection(subjects)
        self._subjects -= gone
        await self._local.remove(*gone)
        await self._fan_out.forget(gone)

    async def leave(self) -> None:
        await self.remove(*self._subjects)


class NatsFanOut:
    """
    ``servers``: nats:// URLs, comma-separated. ``capacity``: frames a listener may be behind. ``waiting``: frames
    that are kept while NATS is away, the newest. It connects when it is first used, or by ``start``; ``close`` it at
    the end.
    """

    def __init__(self, servers: str, *, capacity: int = 10_000, waiting: int = 1000) -> None:
        self._servers = [server.strip() for server in servers.split(",")]
        self._client = Client()
        self._local = MemoryFanOut(capacity=capacity)
        self._heard: dict[str, _Heard] = {}
        self._waiting: deque[tuple[str, bytes]] = deque(maxlen=waiting)
        self._connecting: asyncio.Task[None] | None = None
        self._closing = False
        self.interruptions = 0
        """How often the connection was away: what was published meanwhile was not heard."""

    async def start(self) -> None:
        """Returns at once: a NATS that is down is waited for, for ever, while everything else goes on."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect(), name="connect to NATS")

    async def connected(self) -> None:
        """Wait until NATS was there for the first time."""
        await self.start()
        if self._connecting is not None:
            await asyncio.shield(self._connecting)

    async def ping(self) -> None:
        """
        For readiness.

        Raises:
            OSError: it does not answer.
        """
        try:
            await asyncio.wait_for(self.connected(), _ANSWER)
            if not self._client.is_connected:
                raise OSError("not connected")
            await self._client.flush(_ANSWER)
        except (Error, TimeoutError) as error:
            raise OSError(f"no answer: {type(error).__name__}") from error

    async def close(self) -> None:
        self._closing = True
        if self._connecting is not None:
            self._connecting.cancel()
            with suppress(asyncio.CancelledError):
                await self._connecting
        await self._client.close()

    async def publish(self, subject: str, frame: bytes) -> None:
        await self.start()
        if self._waiting or not self._client.is_connected:
            if len(self._waiting) == self._waiting.maxlen:
                metrics.frames_dropped.inc()
            self._waiting.append((subject, frame))
        else:
            await self._hand_over(subject, frame)

    def heard(self, subject: str) -> bool:
        return True  # whoever listens elsewhere is known to the server alone, which drops the rest

    @asynccontextmanager
    async def subscribe(self, *subjects: str) -> AsyncIterator[NatsListening]:
        async with self._local.subscribe() as local:
            listening = NatsListening(self, local)
            try:
                await listening.add(*subjects)
                yield listening
            finally:
                await listening.leave()

    async def _hand_over(self, subject: str, frame: bytes) -> None:
        try:
            await self._client.publish(_PREFIX + escaped(subject), frame)
        except MaxPayloadError:
            metrics.frames_dropped.inc()
            log.error("a frame is too large for NATS", size=len(frame))
        except Error as error:
            metrics.frames_dropped.inc()
            log.warning("a frame was not handed to NATS", why=type(error).__name__)

    async def listen(self, subjects: Collection[str]) -> None:
        """Once it returns NATS knows of them all, unless it is away."""
        await self.start()
        for subject in subjects:
            heard = self._heard.setdefault(subject, _Heard())
            heard.listeners += 1
            if self._client.is_connected and heard.subscription is None:
                await self._subscribe(subject, heard)
        await self._reach_the_server()

    async def _subscribe(self, subject: str, heard: _Heard) -> None:
        async def arrived(message: Msg) -> None:
            await self._local.publish(subject, message.data)

        heard.subscription = await self._client.subscribe(_PREFIX + escaped(subject), cb=arrived)

    async def _reach_the_server(self) -> None:
        """Once it returns NATS has everything that was handed to the client before, unless it is away."""
        # nats-py writes a PING past its own buffer: only the second is certain to follow what was in there.
        for _ in range(2):
            if self._client.is_connected:
                with suppress(Error, TimeoutError, OSError):
                    await self._client.flush(_ANSWER)

    async def forget(self, subjects: Collection[str]) -> None:
        for subject in subjects:
            heard = self._heard.get(subject)
            if heard is None:
                continue
            heard.listeners -= 1
            if heard.listeners == 0:
                del self._heard[subject]
                if heard.subscription is not None:
                    with suppress(Error):
                        await heard.subscription.unsubscribe()

    async def _connect(self) -> None:
        log.info("connecting to NATS", servers=self._servers)
        await self._client.connect(
            self._servers,
            name="chat4all",
            connect_timeout=2,
            reconnect_time_wait=1,
            max_reconnect_attempts=-1,
            ping_interval=5,
            max_outstanding_pings=2,
            flush_timeout=_ANSWER,
            error_cb=self._failed,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._connected,
        )
        await self._connected()

    async def _connected(self) -> None:
        metrics.fan_out_up.set(1)
        log.info("NATS is there", waiting=len(self._waiting))
        # What the library had before it restores itself.
        for subject, heard in list(self._heard.items()):
            if heard.subscription is None:
                await self._subscribe(subject, heard)
        # Whoever sees the interruption reads what is missing; what is published after that must be heard.
        await self._reach_the_server()
        self.interruptions += 1
        while self._waiting and self._client.is_connected:
            await self._hand_over(*self._waiting.popleft())

    async def _disconnected(self) -> None:
        metrics.fan_out_up.set(0)
        if not self._closing:
            log.warning("NATS is away; the newest frames wait")

    async def _failed(self, error: Exception) -> None:
        self.interruptions += 1  # a slow consumer loses frames too
        log.debug("NATS", why=str(error) or type(error).__name__)

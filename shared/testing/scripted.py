"""A function that answers as it was told, and remembers when and with what it was called."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from events import CloudEvent
from events.cloudevent import from_http
from shared.runtime.subscriber import Answer, Headers, LocalSubscriber, Receive, Scope, Send, Subscriber


@dataclass(frozen=True, slots=True)
class Call:
    """``at`` in seconds of the loop's clock."""

    at: float
    headers: Mapping[str, str]
    body: bytes
    scope: Scope

    @property
    def event(self) -> CloudEvent:
        raw = [(name.encode(), value.encode("latin-1")) for name, value in self.headers.items()]
        return from_http(raw, self.body)

    @property
    def id(self) -> str:
        return self.headers["ce-id"]


@dataclass(frozen=True, slots=True)
class Slow:
    """``seconds`` pass before the answer, which is empty."""

    seconds: float
    status: int = 204


class Scripted:
    """Answers in turn, the last one for ever; func-python's contract."""

    def __init__(self, *answers: Answer | Slow) -> None:
        self.calls: list[Call] = []
        self.at_once = 0
        self.most_at_once = 0
        self.cut = 0
        self._answers = list(answers) or [Answer(204)]

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        self.calls.append(Call(asyncio.get_running_loop().time(), headers, message["body"], scope))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if isinstance(answer, Slow):
                await asyncio.sleep(answer.seconds)
                answer = Answer(answer.status)
        except asyncio.CancelledError:
            self.cut += 1
            raise
        finally:
            self.at_once -= 1
        await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
        await send({"type": "http.response.body", "body": answer.body})

    @property
    def ids(self) -> list[str]:
        return [call.id for call in self.calls]

    @property
    def times(self) -> list[float]:
        return [call.at for call in self.calls]

    def pauses(self) -> list[float]:
        """Seconds from call to call."""
        return [round(after - before, 6) for before, after in zip(self.times, self.times[1:], strict=False)]


class OneProcessor:
    """A subscriber with one processor for all it is called for, also for what its callers have given up."""

    address = "http://one-processor"

    def __init__(self, seconds: float) -> None:
        """``seconds``: of a call that is alone."""
        self.seconds = seconds
        self.calls = 0
        self.done: set[str] = set()
        self._working: set[asyncio.Task[None]] = set()

    async def call(self, event: CloudEvent, headers: Headers, within: float | None) -> Answer | None:
        self.calls += 1
        work = asyncio.create_task(self._work(event.attributes["id"]))
        self._working.add(work)
        work.add_done_callback(self._working.discard)
        try:
            async with asyncio.timeout(within):
                await asyncio.shield(work)
        except TimeoutError:
            return None
        return Answer(204)

    async def _work(self, event_id: str) -> None:
        left = self.seconds
        while left > 0:
            share = len(self._working)
            step = min(self.seconds, left * share)
            await asyncio.sleep(step)
            left -= step / share
        self.done.add(event_id)


class NoAnswer:
    """A subscriber that closes the connection, is refused, or has no address."""

    def __init__(self, address: str = "http://nobody") -> None:
        self.address = address
        self.times: list[float] = []

    async def call(self, event: CloudEvent, headers: Headers, within: float | None) -> Answer | None:
        self.times.append(asyncio.get_running_loop().time())
        return None


def local(functions: Mapping[str, Scripted], *others: tuple[str, Subscriber]) -> dict[str, Subscriber]:
    """Subscribers by service, at the addresses that the wiring would give them."""
    subscribers: dict[str, Subscriber] = {
        name: LocalSubscriber(f"http://{name}.chat4all.svc.cluster.local", function)
        for name, function in functions.items()
    }
    return subscribers | dict(others)

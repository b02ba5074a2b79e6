"""How long it takes until a function that is at zero has done what an event asks, alone and as a chain."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from events import CloudEvent
from infra.cluster import pods
from infra.cluster.layout import NAMESPACE
from infra.cluster.pods import Pod, Running
from shared.adapters.kafka.event_log import appended_at
from shared.ports import Clock, Ports
from shared.ports.event_log import EventLog
from shared.runtime.timers import ticked
from shared.runtime.wiring import Trigger, Wiring
from shared.testing.live import Caller, eventually

_PATIENCE = 200.0
_ENDING = 45.0
"""Seconds that a pod may take to end: queue-proxy waits half a minute for who may still call it."""
_SETTLED = 30.0
"""Seconds until what was still under way after the last message has been handled."""
_LOOK_BACK = 20_000
_WRITTEN = 1.0
"""Seconds until what a pod said is in its log."""
_PACE = 1.0
"""Seconds between two messages: each is some fifteen events, and two cores that are full show how long they wait."""
_AWAKE = 30
"""Messages after which every function of their way is awake, and has done what waited for it."""
CHAIN = ("route", "deliver-whatsapp", "record-status")
"""What a message to WhatsApp wakes, one after the other."""
_LOGGED_AS = ("route", "deliver", "record-status")


@dataclass(frozen=True, slots=True)
class Wake:
    """
    seconds: from the request to the answer; memory: of the process then, in bytes; events: whether it takes any;
    status: 0 without an answer; alone: whether no pod of before was still ending.
    """

    service: str
    events: bool
    seconds: float
    status: int
    memory: int
    alone: bool


def good(told: Mapping[str, Any]) -> bool:
    """Whether a Wake, as it is kept, was one: what Knative or the function refused took no time to be handled."""
    return bool(200 <= told["status"] < 300)


async def until_at_zero(services: Iterable[str], patience: float = _PATIENCE) -> None:
    """
    As Knative counts: a pod that is leaving is none.

    Raises:
        TimeoutError: some of them have pods after so many seconds.
    """
    wanted, until = set(services), time.monotonic() + patience
    while awake := wanted & pods.knative(await asyncio.to_thread(pods.pods)).keys():
        if time.monotonic() > until:
            raise TimeoutError(f"not at zero: {', '.join(sorted(awake))}")
        await asyncio.sleep(1)


async def until_gone(services: Iterable[str], patience: float = _ENDING) -> bool:
    """
    Until they are at zero, and their last pods have ended.

    What a timer wakes every minute may never come to that where all is slow, so nobody waits for it for ever.

    Returns:
        Whether none is there any more.

    Raises:
        TimeoutError: they are not at zero.
    """
    wanted = set(services)
    await until_at_zero(wanted)
    until = time.monotonic() + patience
    while any(pod.revision and pod.service in wanted for pod in await asyncio.to_thread(pods.pods)):
        if time.monotonic() > until:
            await until_at_zero(wanted)
            return False
        await asyncio.sleep(1)
    return True


async def real_events(log: EventLog, clock: Clock, wiring: Wiring) -> dict[str, CloudEvent]:
    """The newest event that went to each Service of a Trigger; a tick for those that timers wake."""
    found: dict[str, CloudEvent] = {}
    seen = [one.event for one in await log.latest(_LOOK_BACK)]
    for trigger in wiring.triggers:
        for event in reversed(seen):
            if _wanted(trigger, event):
                found.setdefault(trigger.subscriber, event)
                break
        timers = [one for one in wiring.timers if one.name == trigger.filter.get("timer")]
        for timer in timers:
            found[trigger.subscriber] = ticked(timer, int(clock.now().timestamp() / timer.every)).to_cloudevent()
    some = seen[-1]
    found["dead-letter"] = CloudEvent({**some.attributes, "knativeerrordest": "http://figures.invalid/"}, some.data)
    return found


def _wanted(trigger: Trigger, event: CloudEvent) -> bool:
    return all(event.attributes.get(name) == value for name, value in trigger.filter.items())


@asynccontextmanager
async def inside() -> AsyncIterator[httpx.AsyncClient]:
    """A client of the Services by the way that events take: the private side of Knative's network layer."""
    ask = ("-n", "ingress", "get", "service", "ingress-private", "-o", "jsonpath={.spec.clusterIP}")
    address = await asyncio.to_thread(pods.kubectl, *ask)
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=_PATIENCE, trust_env=False) as client:
        yield client


async def wake(client: httpx.AsyncClient, service: str, event: CloudEvent | None) -> Wake:
    """The event, again, to a Service that is at zero; one that takes no events is asked whether it is ready."""
    alone = await until_gone([service])
    host = (b"host", f"{service}.{NAMESPACE}.svc.cluster.local".encode())
    if event is None:
        request = client.build_request("GET", "/health/readiness", headers=[host])
    else:
        headers, body = event.to_binary()
        request = client.build_request("POST", "/", headers=[*headers, host], content=body)
    started = time.perf_counter()
    try:
        answer = await client.send(request)
    except httpx.HTTPError:
        return Wake(service, event is not None, round(time.perf_counter() - started, 2), 0, 0, alone)
    seconds = time.perf_counter() - started
    # Whoever could not be woken may have no process.
    memory = memory_of(service, await asyncio.to_thread(pods.pods), pods.processes()) if answer.is_success else 0
    return Wake(service, event is not None, round(seconds, 2), answer.status_code, memory, alone)


def memory_of(service: str, seen: Iterable[Pod], running: Iterable[Running]) -> int:
    """
    Of its largest process, in bytes; not of one whose pod is leaving.

    Raises:
        LookupError: none of the processes is in a pod of the Service.
    """
    mine = {pod.uid for pod in seen if pod.service == service and not pod.leaving}
    found = [one.memory for one in running if one.pod in mine]
    if not found:
        raise LookupError(f"{service} has no process")
    return max(found)


@dataclass(frozen=True, slots=True)
class Talk:
    """Somebody on WhatsApp, and the conversation with them."""

    caller: Caller
    conversation: str

    def send(self) -> str:
        sent: str = self.caller.send(self.conversation, "agent", channels=["whatsapp"])["message_id"]
        return sent

    def until_sent(self, message_id: str) -> None:
        eventually(lambda: self.caller.status(message_id) in ("SENT", "DELIVERED", "READ"), within=30)


async def chain_from_zero(talk: Talk, log: EventLog) -> dict[str, float]:
    """Seconds until the 202 of a send that was at zero, and from then on to the end of each function of the chain."""
    if not await until_gone(("send", *CHAIN), _PATIENCE):
        raise TimeoutError("the pods of the chain do not end")
    started = time.perf_counter()
    message_id = await asyncio.to_thread(talk.send)
    answered = round(time.perf_counter() - started, 2)
    until = time.monotonic() + _PATIENCE
    while len(done := handled(_said(), message_id)) < len(CHAIN):
        if time.monotonic() > until:
            raise TimeoutError("the chain does not come to its end")
        await asyncio.sleep(_WRITTEN)
    (begin,) = (_made(one.event) for one in await log.about(message_id, limit=1))
    return {"send": answered, **{name: round(at - begin, 2) for name, at in done.items()}}


def handled(lines: Iterable[Mapping[str, Any]], message_id: str) -> dict[str, float]:
    """When each function of the chain had first handled an event of the message, in seconds since 1970."""
    found: dict[str, float] = {}
    for line in lines:
        if _done(line) and line.get("message_id") == message_id:
            at = datetime.fromisoformat(line["timestamp"]).timestamp()
            found[line["function"]] = min(at, found.get(line["function"], at))
    return {name: found[name] for name in _LOGGED_AS if name in found}


def _done(line: Mapping[str, Any]) -> bool:
    """An attempt that failed has a line, too."""
    return line.get("message") == "event handled" and line.get("outcome") == "done"


def _made(event: CloudEvent) -> float:
    return datetime.fromisoformat(event.attributes["time"]).timestamp()


@dataclass(frozen=True, slots=True)
class Hops:
    """
    By function. taken: milliseconds from Kafka's having an event to the moment at which its handling began; missing:
    how many events it should have had and was not done with, half a minute after the last message.
    """

    taken: Mapping[str, Sequence[float]]
    missing: Mapping[str, int]


async def warm_hops(talk: Talk, ports: Ports, wiring: Wiring, times: int) -> Hops:
    await _said_often(talk, _AWAKE)
    begin = ports.clock.now().timestamp()
    await _said_often(talk, times)
    logged = [one for one in await ports.log.latest(_LOOK_BACK) if appended_at(one.offset) > begin]
    appended = {one.event.attributes["id"]: appended_at(one.offset) for one in logged}
    wanted = awaited(wiring, [one.event for one in logged])
    until = time.monotonic() + _SETTLED
    while True:
        found = hops(_said(), appended)
        without = missing(wanted, found)
        if not any(without.values()) or time.monotonic() > until:
            return Hops({name: list(of_it.values()) for name, of_it in found.items()}, without)
        await asyncio.sleep(_WRITTEN)


async def _said_often(talk: Talk, times: int) -> None:
    """Returns when the last message is sent; what else follows from it may still be under way."""
    for _ in range(times):
        message_id = await asyncio.to_thread(talk.send)
        await asyncio.sleep(_PACE)
    await asyncio.to_thread(talk.until_sent, message_id)


def hops(lines: Iterable[Mapping[str, Any]], appended: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """
    Milliseconds by function and event; of an event that came more than once, the first that was done.

    ``lines``: of the functions' logs. ``appended``: when the events were, in seconds since 1970, by id.
    """
    found: dict[str, dict[str, float]] = {}
    for line in lines:
        if _done(line) and line.get("event_id") in appended:
            event_id: str = line["event_id"]
            began = datetime.fromisoformat(line["timestamp"]).timestamp() - line["ms"] / 1000
            took = 1000 * (began - appended[event_id])
            of_it = found.setdefault(line["function"], {})
            of_it[event_id] = min(took, of_it.get(event_id, took))
    return found


def awaited(wiring: Wiring, events: Iterable[CloudEvent]) -> dict[str, set[str]]:
    """Ids of those of the events that Triggers want, by function: logs say its name, not that of a Service."""
    found: dict[str, set[str]] = {}
    for event in events:
        for trigger in wiring.triggers:
            if _wanted(trigger, event):
                function = wiring.services[trigger.subscriber].function
                found.setdefault(function, set()).add(event.attributes["id"])
    return found


def missing(wanted: Mapping[str, Set[str]], found: Mapping[str, Mapping[str, float]]) -> dict[str, int]:
    """How many of the events each function has no line of; of one without any line, all."""
    return {function: len(ids - found.get(function, {}).keys()) for function, ids in wanted.items()}


def _said() -> Iterable[Mapping[str, Any]]:
    for file in Path("/var/log/pods").glob(f"{NAMESPACE}_*/user-container/*.log"):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")  # its last letter may be half written
        except FileNotFoundError:  # its pod has gone, and the log with it
            continue
        yield from lines_of(text)


def lines_of(log: str) -> Iterator[Mapping[str, Any]]:
    """
    What a function said, of a file that the kubelet keeps.

    The last line is still being written until it ends; P is the kubelet's mark of one that it cut.
    """
    for line in log.split("\n")[:-1]:
        _, _, part, text = line.split(" ", 3)
        if part == "F" and text.startswith("{"):
            yield json.loads(text)

"""How long it takes until a function that is at zero has done what an event asks, alone and as a chain."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx

from events import CloudEvent
from infra.cluster import logs, machine, pods
from infra.cluster.layout import NAMESPACE
from infra.cluster.pods import Pod, Running
from infra.cluster.talk import Talk
from shared.ports import Clock
from shared.ports.event_log import EventLog
from shared.runtime.timers import ticked
from shared.runtime.wiring import Wiring

_PATIENCE = 200.0
_ENDING = 45.0
"""Seconds that a pod may take to end: queue-proxy waits half a minute for who may still call it."""
_STARTING = timedelta(seconds=3)
_LOOK_BACK = 20_000
_TRIED = 50
"""Events of which a Service must handle one; the flow tests end with some that it is meant to refuse."""
CHAIN = ("route", "deliver-whatsapp", "record-status")
"""What a message to WhatsApp wakes, one after the other."""
_BESIDE = ("push", "inbound")
"""What wakes meanwhile: where somebody holds a socket, and by the provider's reports."""
_LOGGED_AS = ("route", "deliver", "record-status")


@dataclass(frozen=True, slots=True)
class Wake:
    """
    seconds: from the request to the answer; memory: of the process then, in bytes; events: whether it takes any;
    status: 0 without an answer; alone: whether no pod of before was still ending, and the machine at rest; beside: the
    Services of pods that started meanwhile, as timers have it every minute; cpu, read: what all that runs on the
    machine has taken of it meanwhile, seconds of CPU and bytes from its disks.
    """

    service: str
    events: bool
    seconds: float
    status: int
    memory: int
    alone: bool
    beside: tuple[str, ...] = ()
    cpu: float = 0.0
    read: int = 0


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


async def until_at_rest(services: Iterable[str]) -> bool:
    """
    Until they are gone, the machine is at rest, and no timer has woken them meanwhile.

    Returns:
        Whether it came to both; who never does is at zero, and begins all the same.

    Raises:
        TimeoutError: they are not at zero.
    """
    wanted = set(services)
    while True:
        alone = await until_gone(wanted)
        alone = await machine.at_rest() and alone
        if not wanted & pods.knative(await asyncio.to_thread(pods.pods)).keys():
            return alone


async def real_events(log: EventLog, clock: Clock, wiring: Wiring) -> dict[str, list[CloudEvent]]:
    """The newest events that went to each Service of a Trigger, newest first; a tick for those that timers wake."""
    found: dict[str, list[CloudEvent]] = {}
    seen = [one.event for one in await log.latest(_LOOK_BACK)]
    for trigger in wiring.triggers:
        wanted = [event for event in reversed(seen) if trigger.wants(event.attributes)]
        if wanted:
            found.setdefault(trigger.subscriber, wanted[:_TRIED])
        for timer in wiring.timers:
            if timer.name == trigger.filter.get("timer"):
                tick = ticked(timer, int(clock.now().timestamp() / timer.every))
                found[trigger.subscriber] = [tick.to_cloudevent()]
    some = seen[-1]
    found["dead-letter"] = [CloudEvent({**some.attributes, "knativeerrordest": "http://figures.invalid/"}, some.data)]
    return found


async def only_for(service: str, log: EventLog, wiring: Wiring) -> list[CloudEvent]:
    """The newest events that this Service takes and no other, newest first."""
    seen = [one.event for one in reversed(await log.latest(_LOOK_BACK))]
    takers = ({one.subscriber for one in wiring.triggers if one.wants(event.attributes)} for event in seen)
    return [event for event, taken_by in zip(seen, takers, strict=True) if taken_by == {service}][:_TRIED]


async def handled_before(client: httpx.AsyncClient, service: str, events: Sequence[CloudEvent]) -> CloudEvent:
    """
    The first of them that the Service handles: some it refuses, and that takes no time.

    Raises:
        LookupError: it handles none.
    """
    for event in events:
        if (await client.send(_request(client, service, event))).is_success:
            return event
    raise LookupError(f"{service} handles none of the {len(events)} newest events for it")


@asynccontextmanager
async def inside() -> AsyncIterator[httpx.AsyncClient]:
    """A client of the Services by the way that events take: the private side of Knative's network layer."""
    ask = ("-n", "ingress", "get", "service", "ingress-private", "-o", "jsonpath={.spec.clusterIP}")
    address = await asyncio.to_thread(pods.kubectl, *ask)
    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=_PATIENCE, trust_env=False) as client:
        yield client


async def wake(client: httpx.AsyncClient, clock: Clock, service: str, event: CloudEvent | None) -> Wake:
    """The event, again, to a Service that is at zero; one that takes no events is asked whether it is ready."""
    alone = await until_at_rest([service])
    request = _request(client, service, event)
    before, began, started = machine.taken(), clock.now(), time.perf_counter()
    try:
        answer = await client.send(request)
    except httpx.HTTPError:
        return Wake(service, event is not None, round(time.perf_counter() - started, 2), 0, 0, alone)
    seconds = round(time.perf_counter() - started, 2)
    cost = machine.taken() - before
    seen = await asyncio.to_thread(pods.pods)
    # Whoever could not be woken may have no process.
    memory = memory_of(service, seen, pods.processes()) if answer.is_success else 0
    others = beside(service, seen, began)
    return Wake(
        service, event is not None, seconds, answer.status_code, memory, alone, others, cpu=cost.cpu, read=cost.read
    )


def beside(service: str, seen: Iterable[Pod], began: datetime) -> tuple[str, ...]:
    """The other Services of which a pod was made since, or so shortly before that it still started then."""
    since = began - _STARTING
    return tuple(sorted({pod.service for pod in seen if pod.service != service and pod.made >= since}))


def _request(client: httpx.AsyncClient, service: str, event: CloudEvent | None) -> httpx.Request:
    host = (b"host", f"{service}.{NAMESPACE}.svc.cluster.local".encode())
    if event is None:
        return client.build_request("GET", "/health/readiness", headers=[host])
    headers, body = event.to_binary()
    return client.build_request("POST", "/", headers=[*headers, host], content=body)


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


async def chain_from_zero(talk: Talk, log: EventLog) -> dict[str, float | str]:
    """
    Seconds until the 202 of a send that was at zero, and from then on to the end of each function of the chain; and
    what all that runs on the machine took of it: seconds of CPU, MiB from its disks. At rest: whether it began so.
    """
    alone = await until_at_rest(("send", *CHAIN, *_BESIDE))
    before, started = machine.taken(), time.perf_counter()
    message_id = await asyncio.to_thread(talk.send)
    answered = round(time.perf_counter() - started, 2)
    until = time.monotonic() + _PATIENCE
    while len(done := handled(logs.said(), message_id)) < len(CHAIN):
        if time.monotonic() > until:
            raise TimeoutError("the chain does not come to its end")
        await asyncio.sleep(logs.WRITTEN)
    cost = machine.taken() - before
    (begin,) = (_made(one.event) for one in await log.about(message_id, limit=1))
    took = {name: round(at - begin, 2) for name, at in done.items()}
    read = round(cost.read / 2**20, 1)
    return {"at rest": "yes" if alone else "no", "send": answered, **took, "CPU": cost.cpu, "MiB read": read}


def handled(lines: Iterable[Mapping[str, Any]], message_id: str) -> dict[str, float]:
    """When each function of the chain had first handled an event of the message, in seconds since 1970."""
    found: dict[str, float] = {}
    for line in lines:
        if logs.done(line) and line.get("message_id") == message_id:
            at = datetime.fromisoformat(line["timestamp"]).timestamp()
            found[line["function"]] = min(at, found.get(line["function"], at))
    return {name: found[name] for name in _LOGGED_AS if name in found}


def _made(event: CloudEvent) -> float:
    return datetime.fromisoformat(event.attributes["time"]).timestamp()

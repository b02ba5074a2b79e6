"""
What load does to the pods of one Service, and whether a request is lost when pods go (E6, E8).

While pods come and go each of them is meant to have few requests at once: what a node can start, and not what one pod
can bear, is tried.
Every request is a message that must be answered with 202; whatever else comes, or nothing, is a request lost.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from infra.cluster import inside, pods
from infra.cluster.revisions import annotate, pods_of, roll, until_pods
from infra.cluster.wakes import until_at_zero
from shared.testing.history import now
from shared.testing.http1 import Answer, Client
from shared.testing.load import MessageIds
from shared.testing.tenant import Tenant

SERVICE = "send"
_ACCEPTED = 202
_MANY = 2
"""Pods without which nothing was scaled."""
AT_ONCE = "20"
"""Requests that a pod is meant to have; 100 by its manifest, which two cores cannot use up in more than two pods."""
_TARGET = "autoscaling.knative.dev/target"
_TURN = 0.2
"""Seconds between two requests of a trickle."""
_PATIENCE = 200.0


@dataclass(slots=True)
class Load:
    """Closed-loop: each of ``clients`` sends its next message when the one before was answered."""

    tenant: Tenant
    conversation: str
    seed: str
    answers: Counter[int] = field(default_factory=Counter)
    longest: float = 0.0
    _clients: int = 0

    @asynccontextmanager
    async def sent_by(self, clients: int, pause: float = 0.0) -> AsyncIterator[None]:
        """Until the context ends. What is under way is waited for: a request that nobody waits for cannot be lost."""
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                self._clients += 1
                group.create_task(self._send(f"{self.seed} {self._clients}", pause, stopping))
            yield
            stopping.set()

    async def _send(self, seed: str, pause: float, stopping: asyncio.Event) -> None:
        ids = MessageIds(seed)
        while not stopping.is_set():
            request = self.tenant.sending(
                message_id=ids(), conversation=self.conversation, sender="agent", text="canary of a load"
            )
            began = now()
            status = (await _answered(self.tenant.client, request)).status
            self.answers[status] += 1
            self.longest = max(self.longest, now() - began)
            await asyncio.sleep(pause)

    @property
    def lost(self) -> int:
        return sum(times for status, times in self.answers.items() if status != _ACCEPTED)

    def told(self) -> dict[str, Any]:
        return {
            "requests": self.answers.total(),
            "lost": self.lost,
            "answers": {str(status): times for status, times in self.answers.items()},
            "longest": round(self.longest, 2),
        }


async def _answered(client: Client, request: bytes) -> Answer:
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    client.send(request, future.set_result)
    return await future


def findings(scale: Mapping[str, Any] | None) -> list[str]:
    """What did not come true, of what up_and_down and rollout found, if they were run."""
    if scale is None:
        return []
    found = []
    if lost := scale["up and down"]["lost"] + scale["rollout"]["lost"]:
        found.append(f"{lost} requests were lost")
    if scale["up and down"]["most"] < _MANY:
        found.append(f"{SERVICE} never had more than one pod")
    return found


async def up_and_down(load: Load, clients: int, seconds: float) -> dict[str, Any]:
    """From zero to many pods under load, to few under a trickle, to zero without any."""
    began = time.monotonic()
    seen: list[tuple[float, int, int]] = []
    async with inside.beside(_watch(began, seen)):
        async with load.sent_by(clients):
            await asyncio.sleep(seconds)
        async with load.sent_by(2, _TURN):
            await _until(lambda: bool(seen) and seen[-1][1] <= 1)
        stopped = time.monotonic()
        await until_at_zero([SERVICE])
        zero = time.monotonic() - stopped
    return {
        **load.told(),
        "clients": clients,
        "most": max(ready for _, _, ready in seen),
        "first ready": next(at for at, _, ready in seen if ready),
        "to zero": round(zero, 1),
        "pods": seen,
    }


async def rollout(load: Load, clients: int) -> dict[str, Any]:
    """A new revision takes over under load, and the pods of the old one go."""
    async with load.sent_by(clients, 0.05):
        before = {pod.revision for pod in await until_pods(SERVICE, lambda seen: any(pod.ready for pod in seen))}
        began = time.monotonic()
        await roll(SERVICE)
        await until_pods(SERVICE, lambda seen: any(pod.ready and pod.revision not in before for pod in seen))
        ready = time.monotonic() - began
        await until_pods(SERVICE, lambda seen: all(pod.revision not in before for pod in seen))
        gone = time.monotonic() - began
        await asyncio.sleep(2)
    return {**load.told(), "clients": clients, "ready": round(ready, 1), "old gone": round(gone, 1)}


@asynccontextmanager
async def few_at_once() -> AsyncIterator[None]:
    """The Service as it is for ``up_and_down``: at zero, in a revision of its own; then as its manifest says again."""
    await _revised({_TARGET: AT_ONCE})
    try:
        yield
    finally:
        await _revised({_TARGET: None})


async def _revised(annotations: Mapping[str, str | None]) -> None:
    generation = await asyncio.to_thread(annotate, SERVICE, annotations)
    # Until it is looked at, the Service is Ready with the revision before.
    for condition in (f"jsonpath={{.status.observedGeneration}}={generation}", "condition=Ready"):
        wait = ("wait", "ksvc", SERVICE, f"--for={condition}", f"--timeout={_PATIENCE:g}s")
        await asyncio.to_thread(pods.kubectl, *wait)
    await until_at_zero([SERVICE])


async def _watch(began: float, seen: list[tuple[float, int, int]]) -> None:
    """(seconds since the beginning, pods that do not go yet, those of them that are ready)"""
    while True:
        mine = [pod for pod in await asyncio.to_thread(pods_of, SERVICE) if not pod.leaving]
        seen.append((round(time.monotonic() - began, 1), len(mine), sum(pod.ready for pod in mine)))
        await asyncio.sleep(0.5)


async def _until(look: Any) -> None:
    until = time.monotonic() + _PATIENCE
    while not look():
        if time.monotonic() > until:
            raise TimeoutError(f"{SERVICE} does not come down")
        await asyncio.sleep(0.5)

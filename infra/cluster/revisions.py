"""Another revision of a Knative Service, and the pods of both."""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence

from infra.cluster import pods
from infra.cluster.pods import Pod

_PATIENCE = 200.0


def annotate(service: str, annotations: Mapping[str, str | None]) -> str:
    """
    Another template of the pods, and thus a new revision; None takes an annotation away.

    Returns:
        The generation of the Service.
    """
    change = json.dumps({"spec": {"template": {"metadata": {"annotations": dict(annotations)}}}})
    return pods.kubectl("patch", "ksvc", service, "--type=merge", "-p", change, "-o", "jsonpath={.metadata.generation}")


async def roll(service: str) -> None:
    """A new revision that differs in nothing that counts."""
    await asyncio.to_thread(annotate, service, {"chat4all.dev/rollout": str(time.time_ns())})


def pods_of(service: str) -> list[Pod]:
    return [pod for pod in pods.pods() if pod.service == service]


async def until_pods(service: str, look: Callable[[Sequence[Pod]], bool]) -> Sequence[Pod]:
    """
    Those that are as they should be.

    Raises:
        TimeoutError: they are not, after so many seconds.
    """
    until = time.monotonic() + _PATIENCE
    while not look(seen := await asyncio.to_thread(pods_of, service)):
        if time.monotonic() > until:
            raise TimeoutError(f"the pods of {service} are not as they should be")
        await asyncio.sleep(0.5)
    return seen

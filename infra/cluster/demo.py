"""
Functions that sleep, wake and sleep again, two revisions that share the traffic, and a way back: for people to watch.

Run inside the cluster, on the deployed platform; ``kn`` is used where it is installed.
"""

import argparse
import asyncio
import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager, suppress
from typing import Any

import httpx

from infra.cluster import inside, pods
from infra.cluster.inside import say
from infra.cluster.layout import NAMESPACE
from infra.cluster.talk import Talk, talk_of
from infra.cluster.wakes import CHAIN, until_at_zero
from infra.deploy.__main__ import main as deploy
from shared.testing import measure
from shared.testing.live import Deployed, Providers, fresh_id

_SHARED = "send"
_MESSAGES = 60
_ASLEEP = 300.0
"""Seconds until all sleep: timers wake some of them every minute."""
_AWAKE = 120.0
"""Seconds until a message has woken all that it needs, and is sent."""


async def run(given: argparse.Namespace, deployed: Deployed) -> dict[str, Any]:
    caller = await asyncio.to_thread(deployed.tenant, f"demo-{fresh_id()[:8]}")
    with Providers(caller.tenant, deployed.url) as providers:
        providers.start("--pace", "0.05").enter(caller)
        talk = talk_of(caller)
        _title("Every function, and who is awake")
        say(_services())
        await _until_all_sleep()
        _title("A message to WhatsApp wakes a chain")
        with _listed_by_kn():
            await _watched(talk)
        _title("Nobody asks for anything: they go back to zero")
        await _until_all_sleep()
        _title(f"Two revisions of {_SHARED} share the traffic, then one takes it back")
        await _split(talk)
    return {}


@contextmanager
def _listed_by_kn() -> Iterator[None]:
    """``kn service list -w`` beside what is shown, where there is a kn; our own lines say the same."""
    kn = shutil.which("kn")
    watching = subprocess.Popen((kn, "service", "list", "-w", "-n", NAMESPACE)) if kn else None
    try:
        yield
    finally:
        if watching:
            watching.terminate()
            watching.wait()


def _title(words: str) -> None:
    say(f"\n== {words}\n")


def _services() -> str:
    if shutil.which("kn"):
        return subprocess.run(("kn", "service", "list", "-n", NAMESPACE), capture_output=True, text=True).stdout
    return pods.kubectl("get", "ksvc")


async def _until_all_sleep() -> None:
    """All Knative Services: what is a Deployment holds sockets, or the consumer groups."""
    began = time.monotonic()
    services = json.loads(await asyncio.to_thread(pods.kubectl, "get", "ksvc", "-o", "json"))["items"]
    await until_at_zero([one["metadata"]["name"] for one in services], _ASLEEP)
    seconds = time.monotonic() - began
    seen = await asyncio.to_thread(pods.pods)
    stay, end = ({pod.service for pod in seen if bool(pod.revision) is ends} for ends in (False, True))
    say(f"{len(services)} functions, all at zero after {seconds:.0f} s; Deployments, which stay: {_listed(stay)}")
    if end:
        say(f"their last pods still end: {_listed(end)}")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


async def _watched(talk: Talk) -> None:
    """
    Raises:
        ExceptionGroup: the message was not sent.
        TimeoutError: a function of its way does not wake.
    """
    began = time.monotonic()
    async with asyncio.timeout(_AWAKE), asyncio.TaskGroup() as group:
        group.create_task(asyncio.to_thread(_send, talk, began))
        await _until_awake({"send", *CHAIN}, began)


async def _until_awake(services: Set[str], began: float) -> None:
    awake: set[str] = set()
    while not awake >= services:
        for pod in await asyncio.to_thread(pods.pods):
            if pod.revision and pod.ready and not pod.leaving and pod.service not in awake:
                awake.add(pod.service)
                say(f"{time.monotonic() - began:6.2f} s  {pod.service} is awake: {pod.name}")
        await asyncio.sleep(0.2)


def _send(talk: Talk, began: float) -> None:
    message_id = talk.send()
    say(f"{time.monotonic() - began:6.2f} s  202: {message_id} is accepted")
    talk.until_sent(message_id)
    say(f"{time.monotonic() - began:6.2f} s  it is {talk.caller.status(message_id)}")


async def _split(talk: Talk) -> None:
    before = _service()["status"]["latestReadyRevisionName"]
    _change({"template": {"metadata": {"annotations": {"chat4all.dev/demo": fresh_id()}}}})
    after = await asyncio.to_thread(_other_revision, before)
    try:
        for given in (("--traffic", f"{before}=50", f"{after}=50"), ("--rollback", before)):
            await asyncio.to_thread(_deploy, *given)
            await asyncio.to_thread(pods.kubectl, "wait", "ksvc", _SHARED, "--for=condition=Ready", "--timeout=120s")
            seen = await _served(talk)
            say(f"{_MESSAGES} messages went to {_told(seen)}")
            if (gone := _MESSAGES - seen.total()) > 0:
                say(f"{gone} more were taken by pods that have ended since, and their counts with them")
    finally:
        await asyncio.to_thread(_deploy, "--latest", _SHARED)


def _deploy(*given: str) -> None:
    """As people do it: by kn where there is one, and by kubectl where there is none."""
    say(f"$ scripts/deploy {' '.join(given)}")
    if deploy(given):
        raise RuntimeError("the traffic was not shifted")


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _service() -> Any:
    return json.loads(pods.kubectl("get", "ksvc", _SHARED, "-o", "json"))


def _change(spec: Mapping[str, Any]) -> None:
    pods.kubectl("patch", "ksvc", _SHARED, "--type=merge", "-p", json.dumps({"spec": spec}))


def _other_revision(than: str) -> str:
    until = time.monotonic() + 120
    while (name := str(_service()["status"]["latestReadyRevisionName"])) == than:
        if time.monotonic() > until:
            raise TimeoutError("the new revision is not ready")
        time.sleep(0.5)
    return name


async def _served(talk: Talk) -> Counter[str]:
    """How many messages each revision took, as its pods count them."""
    before = await asyncio.to_thread(_taken)
    await asyncio.to_thread(lambda: [talk.send() for _ in range(_MESSAGES)])
    seen: Counter[str] = Counter()
    for (revision, pod), count in (await asyncio.to_thread(_taken)).items():
        seen[revision] += count - before.get((revision, pod), 0)
    return +seen


def _taken() -> dict[tuple[str, str], int]:
    """
    By revision and pod. Of those that leave, too: they tell until they end, and the API server calls them not ready at
    once.
    """
    counts = {}
    for pod in pods.pods():
        if pod.service == _SHARED and pod.address:
            with suppress(httpx.TransportError):  # it does not listen yet, or no more
                page = httpx.get(f"http://{pod.address}:8080/metrics", timeout=2, trust_env=False).content
                counts[pod.revision, pod.name] = int(measure.parse(page).total("chat4all_messages_accepted_total"))
    return counts


def main() -> None:
    inside.main(argparse.ArgumentParser(prog="infra.cluster.demo", description=__doc__), run)


if __name__ == "__main__":
    main()

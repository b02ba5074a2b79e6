"""The faults of reliability.md 4.4 that this campaign does, by their numbers there."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path

from shared.testing.faults import events
from shared.testing.faults.drill import PARKED, Deed, Fault, Scene
from shared.testing.faults.rig import WORKERS
from shared.testing.faults.stack import ROOT, Toxic
from shared.testing.history import now

FUNCTIONS = ("route", "deliver-whatsapp", "deliver-instagram", "record-status")
"""Those of a message's way to a provider and back, each killed as a process of its own."""

SKEW = Path(__file__).with_name("skew")

POINTS = (
    "channel.send.before",
    "channel.send.after",
    "sink.emit.before",
    "sink.emit.after",
    "tables.put.after",
    "tables.update_if.after",
)


async def _kill_front(scene: Scene) -> None:
    await scene.rig.processes["front"].kill()
    scene.meanwhile(scene.rig.start_front())


async def _kill_worker(scene: Scene) -> None:
    await scene.rig.processes["worker-1"].kill()


async def _start_workers(scene: Scene) -> None:
    await scene.rig.start_workers(*(name for name in WORKERS if not scene.rig.runs(name)))


def _kill_in_turn(names: Sequence[str]) -> Deed:
    turn = cycle(names)

    async def strike(scene: Scene) -> None:
        name = next(turn)
        await scene.rig.processes[name].kill()
        scene.meanwhile(scene.rig.start_function(name))

    return strike


async def _one_process_each(scene: Scene) -> None:
    await scene.rig.stop_workers()
    await asyncio.gather(*(scene.rig.start_function(name) for name in FUNCTIONS))
    await scene.rig.start("others", triggers="push,send,redrive,sweep")


async def _workers_again(scene: Scene) -> None:
    await scene.rig.start_workers()
    await scene.rig.stop(*FUNCTIONS, "others")


def _die_at_points() -> Deed:
    turn = cycle(POINTS)

    async def strike(scene: Scene) -> None:
        point = next(turn)
        await scene.rig.processes["worker-1"].stop()
        await scene.rig.start_doomed("worker-1", f"{point}=3", within=60)
        scene.meanwhile(scene.rig.start_workers("worker-1"))

    return strike


async def _nobody_for_a_while(scene: Scene) -> None:
    await scene.rig.stop_workers()
    await asyncio.sleep(20)
    await scene.rig.start_workers()


def _kill(*servers: str) -> Deed:
    async def strike(scene: Scene) -> None:
        await asyncio.gather(*(scene.rig.stack.kill(server) for server in servers))

    return strike


def _start(*servers: str) -> Deed:
    async def heal(scene: Scene) -> None:
        for server in servers:
            await scene.rig.stack.start(server)

    return heal


def _gone(seconds: float, *servers: str) -> Deed:
    async def strike(scene: Scene) -> None:
        await asyncio.gather(*(scene.rig.stack.kill(server) for server in servers))
        await asyncio.sleep(seconds)
        for server in servers:
            await scene.rig.stack.start(server)

    return strike


def _all_at_once(*servers: str) -> Deed:
    """Kafka's controllers need each other, so none answers before the second is there."""

    async def strike(scene: Scene) -> None:
        await asyncio.gather(*(scene.rig.stack.kill(server) for server in servers))
        await scene.rig.stack.up_again()

    return strike


def _one_after_the_other(*servers: str) -> Deed:
    async def strike(scene: Scene) -> None:
        for server in servers:
            await scene.rig.stack.kill(server, "TERM")
            await scene.rig.stack.ended(server)
            await scene.rig.stack.start(server)

    return strike


def _pauses(server: str, seconds: float, times: int) -> Deed:
    async def strike(scene: Scene) -> None:
        for _ in range(times):
            await scene.rig.stack.kill(server, "STOP")
            await asyncio.sleep(seconds)
            await scene.rig.stack.kill(server, "CONT")
            await asyncio.sleep(1)

    return strike


async def _everything_thrice(scene: Scene) -> None:
    echo = events.Echo(scene.rig.engines, late=10)
    await echo.start()
    await asyncio.sleep(15)
    await echo.stop()
    if not echo.said:
        raise RuntimeError("no event was said again")


async def _from_the_beginning(scene: Scene) -> None:
    await scene.rig.stop_workers()
    await events.begin_again(scene.rig.engines)
    await scene.rig.start_workers()


async def _flush(scene: Scene) -> None:
    from redis.asyncio import Redis

    until = now() + 10
    async with Redis.from_url(scene.rig.engines.redis_url) as redis:
        while now() < until:
            await redis.flushall()
            await asyncio.sleep(0.2)


def _toxic(proxies: Callable[[Scene], Sequence[str]], toxic: Toxic, seconds: float) -> Deed:
    async def strike(scene: Scene) -> None:
        for proxy in proxies(scene):
            await scene.rig.toxiproxy.add(proxy, toxic)
        await asyncio.sleep(seconds)
        await scene.rig.toxiproxy.heal()

    return strike


def _redis(scene: Scene) -> Sequence[str]:
    return (scene.rig.proxy("redis"),)


def _first_tenants_providers(scene: Scene) -> Sequence[str]:
    """Only those of the one: the other tenant must not notice."""
    return (f"provider-{scene.tenants[0]}",)


def _providers_say_500(seconds: float) -> Deed:
    async def strike(scene: Scene) -> None:
        client = scene.providers.clients[scene.tenants[0]]
        for channel in ("whatsapp", "instagram"):
            await client.call("POST", f"/{channel}/_sim/down", {"down": True})
        await asyncio.sleep(seconds)
        for channel in ("whatsapp", "instagram"):
            await client.call("POST", f"/{channel}/_sim/down", {"down": False})

    return strike


def _skewed(minutes: int) -> dict[str, str]:
    """The wall clock of one process only; what measures durations goes on as it did."""
    return {"PYTHONPATH": f"{SKEW}:{ROOT}", "FAULTS_SKEW": f"{60 * minutes}"}


async def _clocks_disagree(scene: Scene) -> None:
    await scene.rig.stop_workers()
    await asyncio.gather(
        scene.rig.start_workers("worker-1", settings=_skewed(10)),
        scene.rig.start_workers("worker-2", settings=_skewed(-10)),
    )
    await asyncio.sleep(10)


async def _clocks_agree(scene: Scene) -> None:
    await scene.rig.stop_workers()
    await scene.rig.start_workers()


async def _front_ahead(scene: Scene) -> None:
    await scene.rig.processes["front"].stop()
    await scene.rig.start_front(_skewed(10))
    await asyncio.sleep(8)
    await scene.rig.processes["front"].stop()
    await scene.rig.start_front()


async def _poison(scene: Scene) -> None:
    await events.poison(scene.rig.engines, scene.tenants)


async def _roll(scene: Scene) -> None:
    """A new process before each old one is asked to end."""
    await scene.rig.replace_front()
    for name in WORKERS:
        await scene.rig.replace(name)


async def _spread(scene: Scene) -> None:
    has = await events.partitions(scene.rig.engines)
    await events.spread(scene.rig.engines, 2 * has)


KAFKA = ("kafka-1", "kafka-2", "kafka-3")

CATALOGUE: tuple[Fault, ...] = (
    Fault("1a", "front killed, a new one started", _kill_front, times=2),
    Fault("1b", "one of two workers killed", _kill_worker, heal=_start_workers, within=5, times=3),
    Fault(
        "1c", "each function, as a process of its own, killed in turn",
        _kill_in_turn(FUNCTIONS), before=_one_process_each, after=_workers_again, times=len(FUNCTIONS),
    ),
    Fault("1d", "worker dies at named points", _die_at_points(), times=len(POINTS)),
    Fault("2", "no worker for 20 s", _nobody_for_a_while),
    Fault(
        "3a", "one Kafka broker of three killed",
        _kill("kafka-1"), heal=_start("kafka-1"), within=15, hold=3, nodes=3,
    ),
    Fault("3b", "Kafka brokers restarted one after the other", _one_after_the_other(*KAFKA), nodes=3),
    Fault("3c", "all Kafka brokers killed at once", _all_at_once(*KAFKA), nodes=3),
    Fault("4", "every event three times, up to 10 s late, out of order", _everything_thrice, repeats=False),
    Fault("5", "all offsets back to 0", _from_the_beginning, repeats=False),
    Fault("6a", "Redis FLUSHALL five times a second, for 10 s", _flush, repeats=False, refusals=False),
    Fault("6b", "Redis killed, back after 15 s", _gone(15, "redis"), repeats=False),
    Fault("6c", "Redis takes everything and answers nothing for 10 s",
          _toxic(_redis, Toxic("timeout", {"timeout": 0}), 10), repeats=False),
    Fault(
        "7a", "one Cassandra node of three killed",
        _kill("cassandra-2"), heal=_start("cassandra-2"), refusals=False, hold=5, repeats=False, nodes=3,
    ),
    Fault(
        "7b", "two Cassandra nodes of three killed, back after 10 s",
        _gone(10, "cassandra-2", "cassandra-3"), nodes=3, uncertain=PARKED,
    ),
    Fault("7c", "a Cassandra node pauses for 2 s, five times", _pauses("cassandra-3", 2, 5), repeats=False, nodes=3),
    Fault("8a", "clocks of the workers 10 min ahead and 10 min behind",
          _clocks_disagree, heal=_clocks_agree, hold=5, repeats=False),
    Fault("8b", "clock of the front 10 min ahead, then back", _front_ahead, repeats=False),
    Fault("10a", "providers of a tenant take 20 s to answer",
          _toxic(_first_tenants_providers, Toxic("latency", {"latency": 20_000}), 25)),
    Fault("10b", "providers of a tenant take messages and never answer",
          _toxic(_first_tenants_providers, Toxic("timeout", {"timeout": 0}), 15)),
    Fault("10c", "connections to the providers of a tenant are reset",
          _toxic(_first_tenants_providers, Toxic("reset_peer", {"timeout": 50}), 15)),
    Fault("10d", "answers of a tenant's providers are cut after 100 bytes",
          _toxic(_first_tenants_providers, Toxic("limit_data", {"bytes": 100}), 15)),
    Fault("10e", "providers of a tenant answer 500 for 15 s", _providers_say_500(15), repeats=False),
    Fault("11", "poison among the events", _poison, within=30, repeats=False, refusals=False),
    Fault("14", "every process replaced under load (TERM)", _roll, refusals=False, repeats=False),
    Fault("15", "NATS killed, back after 10 s", _gone(10, "nats"), refusals=False, repeats=False),
    Fault("16", "twice as many partitions, while events flow", _spread, refusals=False, repeats=False),
)  # fmt: skip

SHORT = ("1b", "4", "6a")
"""What CI does; on one node of each engine."""

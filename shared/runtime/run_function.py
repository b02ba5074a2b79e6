"""
One service as a process of its own, in the modes without Knative: func-python's contract on a port, and in the mode
`servers` its Triggers beside it. Start more of them and they share the partitions (E6).
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from shared.observability import metrics
from shared.observability.log import log
from shared.ports import Ports
from shared.runtime import functions, wiring
from shared.runtime.function_service import FUNCTION, FunctionService
from shared.runtime.open_ports import open_by
from shared.runtime.opened import Opened
from shared.runtime.secret_key import check_key
from shared.runtime.serve import Announce, serve
from shared.runtime.subscribers import subscribers, triggers_of
from shared.runtime.trigger_runner import Pace
from shared.runtime.webhook_policy import CONCURRENCY
from shared.runtime.wiring import Wiring
from shared.runtime.wiring_error import WiringError

DRAIN = 10.0
"""Seconds that events under way are given at the end."""


def run_function(
    service: str,
    cfg: Mapping[str, str],
    *,
    host: str,
    port: int,
    woken: bool,
    concurrency: int,
    new: Callable[[str, Ports], Any] = functions.new,
    announce: Announce | None = None,
) -> None:
    """
    Until SIGTERM or SIGINT; SystemExit(3) when it does not start.

    Args:
        service: of a manifest under knative/services, or a function's name, which stands for all its services; with
            the underscores of a folder under functions/ too.
        woken: take its events from Kafka; without, it answers only what is POSTed to it.
        concurrency: events that each Trigger has under way here.
        new: makes the functions that events wake.

    Raises:
        WiringError: there is no such service or function.
    """
    wired = wiring.read()
    service = functions.name_of(service)
    function = _function(wired, service)
    called = {trigger.subscriber for trigger in wired.triggers}
    takes = service in called or function in {wired.services[name].function for name in called}

    @asynccontextmanager
    async def open_checked(cfg: Mapping[str, str]) -> AsyncIterator[Opened]:
        async with open_by(cfg) as opened:
            await check_key(opened.ports)
            if not (woken and takes):
                yield opened
                return
            triggers = triggers_of(wired, service)
            made = {name: new(name, opened.ports) for name in _made(wired, function)}
            runner = opened.runner(triggers, subscribers(wired, triggers, made, opened.ports), Pace(calls=concurrency))
            metrics.REGISTRY.register(runner)
            try:
                await runner.start()
                log.info("takes events", service=service, triggers=len(triggers))
                yield opened
            finally:
                await runner.stop(DRAIN)

    told = {**cfg, FUNCTION: function, CONCURRENCY: str(concurrency)}
    serve(FunctionService(open_checked), told, host=host, port=port, announce=announce)


def _function(wired: Wiring, service: str) -> str:
    found = wired.services.get(service)
    function = found.function if found else service
    if function not in functions.names():
        known = sorted({*wired.services, *functions.names()})
        raise WiringError(f"there is no service or function {service!r}; there are {', '.join(known)}")
    return function


def _made(wired: Wiring, function: str) -> set[str]:
    """The function itself, and the dead letter sinks of its Triggers."""
    sinks = {
        wired.services[trigger.delivery.dead_letter].function
        for trigger in wired.triggers
        if trigger.delivery.dead_letter and wired.services[trigger.subscriber].function == function
    }
    return {function, *sinks}

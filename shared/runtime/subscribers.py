"""Whom the Triggers of this process call: functions of this process, each behind a host of its own."""

from collections.abc import Iterable, Mapping
from typing import Any

from shared.ports import Ports
from shared.runtime.host import FunctionHost
from shared.runtime.subscriber import HostedSubscriber
from shared.runtime.wiring import Trigger, Wiring
from shared.runtime.wiring_error import WiringError

ALL, NONE = "all", "none"


def triggers_of(wired: Wiring, chosen: str) -> list[Trigger]:
    """
    The Triggers of the chosen services: ``all``, ``none``, or names of services or of functions, comma-separated.

    Raises:
        WiringError: a name is neither; the text says which there are.
    """
    if chosen in (ALL, NONE):
        return list(wired.triggers) if chosen == ALL else []
    names = {name.strip() for name in chosen.split(",") if name.strip()}
    called = {trigger.subscriber for trigger in wired.triggers}
    known = called | {wired.services[name].function for name in called}
    if unknown := sorted(names - known):
        raise WiringError(
            f"no Trigger calls {', '.join(unknown)}; those that are called are {', '.join(sorted(known))}, "
            f"and there are {ALL} and {NONE}"
        )
    return [
        trigger
        for trigger in wired.triggers
        if trigger.subscriber in names or wired.services[trigger.subscriber].function in names
    ]


def subscribers(
    wired: Wiring, triggers: Iterable[Trigger], made: Mapping[str, Any], ports: Ports
) -> dict[str, HostedSubscriber]:
    """
    One host for each service that the Triggers call, dead letter sinks among them. ``made``: functions by name.

    Raises:
        WiringError: a service runs a function that is not among them.
    """
    called = {trigger.subscriber for trigger in triggers}
    called |= {trigger.delivery.dead_letter for trigger in triggers if trigger.delivery.dead_letter}
    found = {}
    for name in sorted(called):
        service = wired.services[name]
        if service.function not in made:
            raise WiringError(f"Service {name!r}: there is no function {service.function!r}")
        found[name] = HostedSubscriber(service.address, FunctionHost(name, made[service.function], ports.clock))
    return found

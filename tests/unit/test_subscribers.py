"""Which Triggers a process takes: all, none, a group of them; functions scale by starting more (E6)."""

import pytest

from shared.runtime.subscribers import triggers_of
from shared.runtime.wiring import read
from shared.runtime.wiring_error import WiringError

WIRED = read()


def test_a_process_takes_every_trigger_unless_it_is_told_otherwise() -> None:
    assert triggers_of(WIRED, "all") == list(WIRED.triggers)
    assert triggers_of(WIRED, "none") == []


def test_a_service_is_taken_with_all_its_triggers_and_a_function_with_all_its_services() -> None:
    assert {trigger.subscriber for trigger in triggers_of(WIRED, "deliver-whatsapp, route")} == {
        "deliver-whatsapp",
        "route",
    }
    delivering = {service for service, one in WIRED.services.items() if one.function == "deliver"}
    assert {trigger.subscriber for trigger in triggers_of(WIRED, "deliver")} == delivering
    of_status = [trigger for trigger in WIRED.triggers if trigger.subscriber == "record-status"]
    assert triggers_of(WIRED, "record-status") == of_status
    assert len(of_status) > 1


def test_a_group_and_the_rest_are_everything() -> None:
    names = {trigger.subscriber for trigger in WIRED.triggers}
    rest = ",".join(names - {"route"})
    assert len(triggers_of(WIRED, "route")) + len(triggers_of(WIRED, rest)) == len(WIRED.triggers)


def test_a_name_that_nobody_has_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(WiringError, match=r"no Trigger calls rout; .*route"):
        triggers_of(WIRED, "rout,push")

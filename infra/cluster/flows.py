"""The flow tests that run on the cluster: those of the other modes, but for what is only there in one process."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FLOWS = (
    "messages",
    "conversations",
    "channels",
    "bad_input",
    "tenant_walk",
    "webhooks",
    "realtime",
    "presence",
    "files",
    "file_results",
    "rate_limits",
    "operations",
)
_OWN_PROCESS = "kills or restarts a process of its own"
_ITS_SETTINGS = "starts a process of its own, with other limits"
_TWO_GATEWAYS = "what one gateway remembers; the entry leads to either of two"
_NETWORK_LAYER = "the network layer answers, before any function is asked"
_NO_REGISTRY = "installs a package, and no registry can be reached from inside"
_NOT_AT_THE_ENTRY = "the page of one process, not of the public entry: a pod shows its own"
ONE_PROCESS: Mapping[str, str] = {
    "files::test_an_upload_that_the_server_was_killed_in_goes_on": _OWN_PROCESS,
    "realtime::test_a_killed_process_loses_nobody_a_message": _OWN_PROCESS,
    "realtime::test_sockets_are_told_when_the_process_stops": _OWN_PROCESS,
    "realtime::test_a_user_has_so_many_sockets_and_not_more": _TWO_GATEWAYS,
    "rate_limits::test_who_proves_nobody_on_sockets_is_stopped_and_keeps_nobody_with_a_token_out": _ITS_SETTINGS,
    "rate_limits::test_sockets_that_are_opened_and_say_nothing_are_counted_too": _ITS_SETTINGS,
    "realtime::test_a_slow_reader_is_cut_and_resumes": _NOT_AT_THE_ENTRY,
    "realtime::test_who_comes_back_at_once_has_missed_nothing_that_is_kept_nowhere": _TWO_GATEWAYS,
    "bad_input::test_what_is_no_http_is_refused": _NETWORK_LAYER,
    "bad_input::test_no_path_query_or_header_whatever_breaks_a_route[knative-GET-/metrics]": _NOT_AT_THE_ENTRY,
    "bad_input::test_no_path_query_or_header_whatever_breaks_a_route[knative-GET-/v1/triggers]": _NOT_AT_THE_ENTRY,
    "webhooks::test_a_receiver_in_javascript_verifies_what_it_is_told": _NO_REGISTRY,
    "operations::test_operators_need_the_scope": _NOT_AT_THE_ENTRY,
    "operations::test_the_triggers_stand_where_they_are_and_catch_up": _NOT_AT_THE_ENTRY,
    "operations::test_metrics_move": _NOT_AT_THE_ENTRY,
    "operations::test_the_documentation_is_served": _NOT_AT_THE_ENTRY,
    "tenant_walk::test_nobody_gets_in_without_a_token[knative-GET-/v1/triggers]": _NOT_AT_THE_ENTRY,
    "operations::test_the_simulators_are_there": "simulators are served on loopback only",
}
"""Why a test cannot run on any cluster."""
_LOOKS_BACK = "looks back at the event log, and the in-memory channel keeps none"
LOOKING_BACK: Mapping[str, str] = {
    "channels::test_a_rule_lets_customers_into_a_group_for_all_to_see_and_into_no_private_talk": _LOOKS_BACK,
    "channels::test_a_webhook_that_comes_three_times_is_one_message": _LOOKS_BACK,
    "messages::test_receipts_are_told_to_those_who_asked": _LOOKS_BACK,
    "messages::test_the_log_of_events_is_followed_by_cursor_as_by_after": _LOOKS_BACK,
    "webhooks::test_nobody_pays_for_webhooks_that_are_not_there": _LOOKS_BACK,
    "webhooks::test_a_receiver_that_is_gone_is_switched_off_with_an_event": _LOOKS_BACK,
    "tenant_walk::test_the_same_ids_in_two_tenants_are_two_things": _LOOKS_BACK,
    "operations::test_one_trace_leads_from_the_request_to_the_last_event": _LOOKS_BACK,
    "operations::test_nobody_is_woken_to_push_to_nobody": _LOOKS_BACK,
    "files::test_a_file_goes_up_in_parts_and_comes_down_as_it_was": _LOOKS_BACK,
    "files::test_another_checksum_is_rejected_and_the_bytes_are_gone": _LOOKS_BACK,
}
"""Why a test cannot run over the in-memory channel."""


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one file of tests; seconds: of all of them together."""

    name: str
    passed: int
    failed: int
    left_out: int
    seconds: float


def arguments(left_out: Mapping[str, str], result: Path) -> Sequence[str]:
    """For pytest; its result goes to that file, as JUnit XML."""
    files = [_path(name) for name in FLOWS]
    return [*files, *(f"--deselect={node_id(one)}" for one in left_out), f"--junit-xml={result}"]


def node_id(test: str) -> str:
    """pytest's name of it: ``files::test_a`` is ``tests/flow/test_files.py::test_a``."""
    name, _, rest = test.partition("::")
    return f"{_path(name)}::{rest}"


def rows(result: str, left_out: Mapping[str, str]) -> list[Row]:
    """Of pytest's JUnit XML, a row for each file; a test, or a file, that could not begin counts as failed."""
    return list(_rows(ElementTree.fromstring(result), left_out))


def _rows(root: ElementTree.Element, left_out: Mapping[str, str]) -> Iterator[Row]:
    for name in FLOWS:
        module = f"tests.flow.test_{name}"
        # Of a file that cannot be imported the case itself has the module's name, and no class.
        cases = [case for case in root.iter("testcase") if module in (case.get("classname"), case.get("name"))]
        failed = sum(any(part.tag in ("failure", "error") for part in case) for case in cases)
        skipped = sum(case.find("skipped") is not None for case in cases)
        without = skipped + sum(one.partition("::")[0] == name for one in left_out)
        seconds = sum(float(case.get("time", 0)) for case in cases)
        yield Row(name, len(cases) - failed - skipped, failed, without, round(seconds, 1))


def _path(name: str) -> str:
    return f"tests/flow/test_{name}.py"

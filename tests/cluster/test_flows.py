"""Which flow tests run on the cluster, and what is said of those that do not."""

import ast
from pathlib import Path

import pytest

from infra.cluster.flows import FLOWS, LOOKING_BACK, ONE_PROCESS, arguments, node_id, rows

FOLDER = Path(__file__).resolve().parents[1] / "flow"
ONE_PROCESS_FILES = {"command_line", "restart", "spans", "terminal"}
"""Each starts processes of its own, and asks nothing of the public entry."""


def test_every_file_of_flow_tests_runs_there_or_has_a_process_of_its_own() -> None:
    there = {path.stem.removeprefix("test_") for path in FOLDER.glob("test_*.py")}
    assert there == set(FLOWS) | ONE_PROCESS_FILES


@pytest.mark.parametrize("test", [*ONE_PROCESS, *LOOKING_BACK])
def test_what_is_left_out_exists(test: str) -> None:
    path, _, name = node_id(test).partition("::")
    tree = ast.parse((FOLDER.parents[1] / path).read_text())
    assert name.partition("[")[0] in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_pytest_is_told_what_to_leave_out_and_where_its_result_goes(tmp_path: Path) -> None:
    told = arguments({"files::test_a": "why"}, tmp_path / "result.xml")
    assert "tests/flow/test_files.py" in told
    assert "--deselect=tests/flow/test_files.py::test_a" in told


RESULT = """<testsuites><testsuite>
<testcase classname="tests.flow.test_messages" name="test_a[knative]" time="1.25"/>
<testcase classname="tests.flow.test_messages" name="test_b[knative]" time="0.5"><failure>no</failure></testcase>
<testcase classname="tests.flow.test_messages" name="test_c[knative]" time="0"><skipped/></testcase>
<testcase classname="tests.flow.test_files" name="test_d[knative]" time="2"><error>at setup</error></testcase>
</testsuite></testsuites>"""


def test_a_row_counts_what_passed_failed_and_was_left_out() -> None:
    found = {row.name: row for row in rows(RESULT, {"messages::test_x": "why"})}
    assert set(found) == set(FLOWS)
    messages = found["messages"]
    assert (messages.passed, messages.failed, messages.left_out, messages.seconds) == (1, 1, 2, 1.8)
    assert (found["files"].passed, found["files"].failed) == (0, 1)
    assert (found["webhooks"].passed, found["webhooks"].failed) == (0, 0)


def test_a_file_that_cannot_be_imported_has_failed() -> None:
    result = """<testsuites><testsuite errors="1"><testcase classname="" name="tests.flow.test_messages" time="0">
    <error message="collection failure">ImportError</error></testcase></testsuite></testsuites>"""
    found = {row.name: row for row in rows(result, {})}
    assert (found["messages"].passed, found["messages"].failed) == (0, 1)
    assert found["files"].failed == 0

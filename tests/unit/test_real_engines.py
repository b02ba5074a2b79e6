"""A test that needs a real engine skips where there is none, and fails where CI says that none may (issue 4)."""

from pathlib import Path

import pytest

from shared.testing.real_engines import ADDRESSES

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).parents[1] / "conftest.py"

TESTS = """
import pytest

@pytest.mark.real("redis")
def test_of_an_engine_that_is_not_there(): pass

@pytest.mark.real()
def test_that_decides_by_itself(): pytest.skip("not today")

@pytest.mark.engines
def test_that_starts_servers(): pass

def test_of_no_engine(): pytest.skip("no Node")
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv(ADDRESSES["redis"], raising=False)
    pytester.makeini("[pytest]\nmarkers =\n    real\n    engines\n")
    pytester.makepyfile(TESTS)
    pytester.makeconftest(CONFTEST.read_text())
    return pytester


def test_tests_of_real_engines_skip_where_there_are_none(suite, monkeypatch):
    monkeypatch.delenv("CHAT4ALL_REAL_ENGINES", raising=False)

    suite.runpytest_inprocess("-p", "no:asyncio").assert_outcomes(skipped=4)


def test_none_of_them_may_skip_where_they_are_required(suite, monkeypatch):
    monkeypatch.setenv("CHAT4ALL_REAL_ENGINES", "required")

    result = suite.runpytest_inprocess("-p", "no:asyncio")

    result.assert_outcomes(errors=1, failed=1, passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*needs redis: scripts/stack starts it*none may skip*"])

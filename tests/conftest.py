"""
Hypothesis profiles: ``ci`` (the default) is bounded, ``campaign`` searches for as long as one likes to wait:

    HYPOTHESIS_PROFILE=campaign HYPOTHESIS_EXAMPLES=20000 scripts/test tests/properties

Tests that are marked ``real(engine)`` run where the engine is, those that are marked ``engines`` start servers of their
own; see shared.testing.real_engines.
"""

import os

import pytest
from hypothesis import HealthCheck, settings

from shared.testing import real_engines

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, suppress_health_check=SLOW)
settings.register_profile(
    "campaign",
    deadline=None,
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "5000")),  # noqa: TID251  a test's own settings
    suppress_health_check=SLOW,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))  # noqa: TID251


def pytest_runtest_setup(item):
    if item.get_closest_marker("engines") and not real_engines.required():
        pytest.skip("installs, builds and starts real servers: CHAT4ALL_REAL_ENGINES=required runs it")
    for mark in item.iter_markers("real"):
        for engine in mark.args:
            if real_engines.address(engine) is None:
                pytest.skip(
                    f"needs {engine}: scripts/stack starts it, {real_engines.ADDRESSES[engine]} says where it is"
                )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    real = item.get_closest_marker("real") or item.get_closest_marker("engines")
    if report.skipped and real and real_engines.required():
        *_, reason = report.longrepr
        report.outcome, report.longrepr = "failed", f"{reason}; none may skip: CHAT4ALL_REAL_ENGINES=required"
    return report

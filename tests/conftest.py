"""Tests of real engines run where the engine is; see shared.testing.real_engines."""

import pytest

from shared.testing import real_engines


def pytest_runtest_setup(item):
    for mark in item.iter_markers("real"):
        for engine in mark.args:
            if real_engines.address(engine) is None:
                say = pytest.fail if real_engines.required() else pytest.skip
                say(f"needs {engine}: scripts/stack starts it, {real_engines.ADDRESSES[engine]} says where it is")

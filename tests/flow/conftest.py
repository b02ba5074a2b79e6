"""One platform for all flow tests; every test has a tenant of its own, so none sees another's rows."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.testing.live import CANARY, Caller, Process, Providers
from shared.testing.platform import UNLIMITED

WEBHOOKS = {
    "CHAT4ALL_WEBHOOK_ALLOW_PRIVATE": "true",
    "CHAT4ALL_WEBHOOK_SCHEDULE": "1,1,1",
    "CHAT4ALL_WEBHOOK_TIMEOUT": "5",
}
"""Receivers are at 127.0.0.1, and nobody waits for days."""


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    data = tmp_path_factory.mktemp("flow") / "data"
    with Process(data, settings={**UNLIMITED, **WEBHOOKS}) as running:
        yield running.start()
        assert running.stop() == 0
    # I11, over all that happened: lines of JSON, and never what people wrote.
    lines = running.log.read_text(encoding="utf-8").splitlines()
    assert lines
    for line in lines:
        assert isinstance(json.loads(line), dict)
        assert CANARY not in line, f"in the log: {line}"
        assert "traceback" not in line, f"a bug: {line}"
    assert "Traceback" not in running.said


@pytest.fixture(scope="session")
def new_tenant(platform: Process) -> Callable[[], Caller]:
    count = iter(range(1_000_000))
    return lambda: platform.tenant(f"flow-{next(count)}")


@pytest.fixture
def acme(new_tenant: Callable[[], Caller]) -> Caller:
    """A tenant with ana, bruno and clara."""
    caller = new_tenant()
    caller.users("ana", "bruno", "clara")
    return caller


@pytest.fixture(scope="module")
def shop(platform: Process, new_tenant: Callable[[], Caller]) -> Caller:
    """A tenant that the simulated providers of ``providers`` call."""
    return new_tenant()


@pytest.fixture(scope="module")
def providers(platform: Process, shop: Caller) -> Iterator[Providers]:
    with Providers(shop.tenant, platform.url) as running:
        running.start("--pace", "0.05", "--late", "1", "--uncertain-wait", "1").enter(shop)
        yield running


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).resolve().parents[2]

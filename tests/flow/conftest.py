"""
One platform for all flow tests, in each mode; every test has a tenant of its own, so none sees another's rows.

The same tests run embedded and on the real engines (design.md 2). With the engines: ``scripts/stack up``, and what
``scripts/stack env`` prints in the environment. On Knative: ``scripts/cluster test``.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shared.testing.live import CANARY, Caller, Deployed, Process, Providers, fresh_id
from shared.testing.platform import UNLIMITED
from shared.testing.real_engines import deployed_environment, deployed_url, forget, servers_environment

Environment = Callable[[], dict[str, str]]

SERVERS = pytest.param(
    servers_environment, id="servers", marks=pytest.mark.real("cassandra", "kafka", "redis", "nats", "minio")
)

WEBHOOKS = {
    "CHAT4ALL_WEBHOOK_ALLOW_PRIVATE": "true",
    "CHAT4ALL_WEBHOOK_SCHEDULE": "1,1,1",
    "CHAT4ALL_WEBHOOK_TIMEOUT": "5",
}
"""Receivers are at 127.0.0.1, and nobody waits for days."""


HERE = [pytest.param(dict, id="embedded"), SERVERS]
THERE = [pytest.param(deployed_environment, id="knative")]


@pytest.fixture(scope="session", params=THERE if deployed_url() else HERE)
def environment(request: pytest.FixtureRequest) -> Iterator[Environment]:
    """Makes the environment of a platform that shares nothing with any other; tests run once for each mode."""
    made: list[dict[str, str]] = []

    def make() -> dict[str, str]:
        made.append({**UNLIMITED, **request.param()})
        return made[-1]

    yield make
    for one in made:
        asyncio.run(forget(one))


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, environment: Environment) -> Iterator[Process]:
    data = tmp_path_factory.mktemp("flow") / "data"
    settings = {**environment(), **WEBHOOKS}
    if url := deployed_url():
        running: Process = Deployed(data, host=url.removeprefix("http://"), settings=settings)
    else:
        running = Process(data, settings=settings)
    with running:
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
    # What Redis holds outlives a run of the tests, so no name comes twice.
    return lambda: platform.tenant(f"flow-{fresh_id()[:8]}")


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

"""The API of the identity functions in one process: memory adapters, real crypto, fakes of the channels."""

from collections.abc import AsyncIterator
from dataclasses import fields
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from fastapi import FastAPI

import functions.channels.func
import functions.channels.http
import functions.rate_limits.func
import functions.rate_limits.http
import functions.routing_rules.func
import functions.routing_rules.http
import functions.token.func
import functions.token.http
import functions.users.func
import functions.users.http
from shared.adapters.local.vault import FernetVault
from shared.adapters.memory.cache import MemoryCache
from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.fan_out import MemoryFanOut
from shared.adapters.memory.ids import CountedIds
from shared.adapters.memory.tables import MemoryTables
from shared.http.app import build_app
from shared.http.authenticator import Authenticator
from shared.http.rate_limit import Limits, RateLimiter
from shared.ports import Ports
from shared.repositories.idempotency import IdempotencyKeys
from shared.testing.api import Api, FakeChannels, FastHasher, Member


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


@pytest.fixture
def cache(clock: SettableClock) -> MemoryCache:
    return MemoryCache(monotonic=lambda: clock.now().timestamp())


@pytest.fixture
def ports(clock: SettableClock, cache: MemoryCache) -> Ports:
    # These functions store and look up; what hands events over they do not touch.
    unused: dict[str, Any] = dict.fromkeys(field.name for field in fields(Ports))
    used = {
        "clock": clock,
        "ids": CountedIds(),
        "tables": MemoryTables(clock),
        "cache": cache,
        "fan_out": MemoryFanOut(),
        "vault": FernetVault([Fernet.generate_key()]),
        "hasher": FastHasher(),
        "channels": FakeChannels(),
    }
    return Ports(**unused | used)


@pytest.fixture
def limits() -> Limits:
    return Limits()


@pytest.fixture
def app(ports: Ports, limits: Limits) -> FastAPI:
    return build_app(
        [
            functions.token.http.router(functions.token.func.new(ports)),
            functions.users.http.router(functions.users.func.new(ports)),
            functions.channels.http.router(functions.channels.func.new(ports)),
            functions.routing_rules.http.router(functions.routing_rules.func.new(ports)),
            functions.rate_limits.http.router(functions.rate_limits.func.new(ports)),
        ],
        authenticator=Authenticator.of(ports),
        limiter=RateLimiter.of(ports, limits),
        idempotency_keys=IdempotencyKeys(ports.tables),
        vault=ports.vault,
        clock=ports.clock,
    )


@pytest.fixture
async def api(app: FastAPI, ports: Ports, clock: SettableClock, cache: MemoryCache) -> AsyncIterator[Api]:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://chat4all.test") as http:
        yield Api(app, http, ports, clock, cache)


@pytest.fixture
async def acme(api: Api) -> Member:
    return await api.tenant("acme")


@pytest.fixture
async def rival(api: Api) -> Member:
    return await api.tenant("rival")

"""
Liveness, readiness and what they are made of (E8).

GET /health/live    the process turns: 200
GET /health/ready   every dependency that matters answers: 200, else 503; each with its latency
GET /health         both

One that the platform can do without for a while is "down" in the answer and does not make it 503.
"""

import asyncio
import shutil
from collections.abc import Mapping
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any

from fastapi import APIRouter, Response
from orjson import dumps

from shared.domain.errors import Unavailable
from shared.observability.log import log
from shared.runtime.dependency import Check, Dependency

PATHS = ("/health", "/health/live", "/health/ready")
LEAST_FREE = 32 * 1024 * 1024
"""Bytes; below it a store that still reads will soon refuse to write."""

_MIB = 1024 * 1024
_PATIENCE = 5.0  # seconds for one dependency
_FRESH = 1.0  # seconds that a finding is told again


def room_in(folder: Path, least: int = LEAST_FREE) -> Dependency:
    """Whether the disk under ``folder`` has ``least`` bytes for us."""

    async def check() -> str:
        free = shutil.disk_usage(folder).free
        if free < least:
            raise Unavailable(f"{free // _MIB} MiB free, {least // _MIB} MiB are needed")
        return f"{free // _MIB} MiB free"

    return Dependency(check)


async def examine(dependencies: Mapping[str, Dependency]) -> dict[str, dict[str, Any]]:
    """Each dependency with status, detail, whether it is needed, and latency_ms."""
    results = await asyncio.gather(*(_examine(one.check) for one in dependencies.values()))
    return {
        name: {**result, "needed": one.needed}
        for (name, one), result in zip(dependencies.items(), results, strict=True)
    }


async def _examine(check: Check) -> dict[str, Any]:
    started = perf_counter()
    try:
        async with asyncio.timeout(_PATIENCE):
            status, detail = "ok", await check()
    except (Unavailable, TimeoutError, OSError) as error:
        status, detail = "down", str(error) or "no answer in time"
    return {"status": status, "detail": detail, "latency_ms": round((perf_counter() - started) * 1000, 2)}


class _Findings:
    """One examination at a time, kept for a moment: anybody may ask, and as often as they like."""

    def __init__(self, standing_on: Mapping[str, Dependency]) -> None:
        self._standing_on = standing_on
        self._found: dict[str, dict[str, Any]] = {}
        self._until = -inf
        self._examining = asyncio.Lock()

    async def now(self) -> dict[str, dict[str, Any]]:
        now = asyncio.get_running_loop().time
        async with self._examining:
            if now() >= self._until:
                before, self._found = self._found, await examine(self._standing_on)
                self._until = now() + _FRESH
                for name, one in self._found.items():
                    if one["status"] == "down" and before.get(name, {}).get("status") != "down":
                        log.warning("a dependency is down", dependency=name, why=one["detail"])
            return self._found


def router(standing_on: Mapping[str, Dependency], *, detail: bool = True) -> APIRouter:
    """Without ``detail`` nobody is told what engines say, which may name their addresses; the log is."""
    routes = APIRouter(tags=["Health"])
    findings = _Findings(standing_on)

    async def answer() -> Response:
        dependencies = await findings.now()
        if not detail:
            dependencies = {
                name: {key: value for key, value in one.items() if key != "detail"}
                for name, one in dependencies.items()
            }
        ready = all(one["status"] == "ok" for one in dependencies.values() if one["needed"])
        body = {"status": "ok" if ready else "down", "live": True, "ready": ready, "dependencies": dependencies}
        return Response(dumps(body), 200 if ready else 503, media_type="application/json")

    @routes.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/health/ready", responses={503: {"description": "A dependency that matters is down"}})
    async def ready() -> Response:
        return await answer()

    @routes.get("/health", responses={503: {"description": "A dependency that matters is down"}})
    async def health() -> Response:
        return await answer()

    return routes

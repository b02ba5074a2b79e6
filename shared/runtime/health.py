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
from pathlib import Path
from time import perf_counter
from typing import Any

from fastapi import APIRouter, Response
from orjson import dumps

from shared.domain.errors import Unavailable
from shared.runtime.dependency import Check, Dependency

PATHS = ("/health", "/health/live", "/health/ready")
LEAST_FREE = 32 * 1024 * 1024
"""Bytes; below it a store that still reads will soon refuse to write."""

_MIB = 1024 * 1024
_PATIENCE = 5.0  # seconds for one dependency


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


def router(standing_on: Mapping[str, Dependency]) -> APIRouter:
    routes = APIRouter(tags=["Health"])

    def answer(dependencies: dict[str, dict[str, Any]]) -> Response:
        ready = all(one["status"] == "ok" for one in dependencies.values() if one["needed"])
        body = {"status": "ok" if ready else "down", "live": True, "ready": ready, "dependencies": dependencies}
        return Response(dumps(body), 200 if ready else 503, media_type="application/json")

    @routes.get("/health/live")
    async def live() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/health/ready", responses={503: {"description": "A dependency that matters is down"}})
    async def ready() -> Response:
        return answer(await examine(standing_on))

    @routes.get("/health", responses={503: {"description": "A dependency that matters is down"}})
    async def health() -> Response:
        return answer(await examine(standing_on))

    return routes

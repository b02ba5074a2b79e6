"""
All installed simulators as one ASGI application, each below its channel's name.

GET /{channel}/_sim/account is what a tenant enters to use that simulator, secrets included (they open nothing
else), and the tenant whose webhook it calls.

The embedded mode mounts ``app`` and closes it itself, because a mounted application gets no lifespan:

    simulators = Simulators(callback_base="http://127.0.0.1:8080", tenant="demo", key=key)
    platform.mount("/simulators", simulators.app)
    for channel, account in simulators.accounts("http://127.0.0.1:8080/simulators").items(): ...
    await simulators.aclose()
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint, entry_points
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from shared.simulators.stage import Account, Options, Simulator

GROUP = "chat4all.simulators"


class Simulators:
    """
    ``key`` is the secret that the accounts' secrets are derived from: keep it and they survive a restart.
    ``pace`` and ``late`` are in seconds, as in ``Options``.
    """

    def __init__(
        self,
        *,
        callback_base: str,
        tenant: str = "demo",
        key: str | None = None,
        pace: float = 0.1,
        late: float = 30.0,
        uncertain_wait: float = 2.0,
        installed: Iterable[EntryPoint] | None = None,
    ) -> None:
        found = entry_points(group=GROUP) if installed is None else installed
        self._tenant = tenant
        shared_key = key or Options().key
        self.by_name: dict[str, Simulator] = {}
        for entry in sorted(found, key=lambda entry: entry.name):
            options = Options(
                callback_url=f"{callback_base.rstrip('/')}/v1/inbound/{quote(tenant)}/{entry.name}",
                key=shared_key,
                pace=pace,
                late=late,
                uncertain_wait=uncertain_wait,
            )
            self.by_name[entry.name] = entry.load()(options)
        self.app = Starlette(
            routes=[
                Route("/", self._index, methods=["GET"]),
                Route("/{channel}/_sim/account", self._account, methods=["GET"]),
                *(Mount(f"/{name}", simulator.app) for name, simulator in self.by_name.items()),
            ],
            lifespan=self._lifespan,
        )

    def accounts(self, base_url: str) -> dict[str, Account]:
        """By channel, what a tenant enters; ``base_url`` is where ``app`` is reachable."""
        return {
            name: simulator.demo_account(f"{base_url.rstrip('/')}/{name}") for name, simulator in self.by_name.items()
        }

    async def aclose(self) -> None:
        for simulator in self.by_name.values():
            await simulator.stage.aclose()

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        await self.aclose()

    async def _index(self, request: Request) -> Response:
        return JSONResponse({"simulators": list(self.by_name)})

    async def _account(self, request: Request) -> Response:
        # Not request.base_url, which names the outermost application and not where this one is mounted.
        here = f"{request.url.scheme}://{request.url.netloc}{request.scope.get('root_path', '')}"
        account = self.accounts(here).get(request.path_params["channel"])
        if account is None:
            return JSONResponse({"error": "no such simulator"}, status_code=404)
        return JSONResponse({**account, "tenant": self._tenant}, headers={"cache-control": "no-store"})

"""The FastAPI application that any set of the functions' routers makes."""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from shared.domain.errors import Chat4AllError
from shared.http.authenticator import Authenticator
from shared.http.idempotency import Idempotency
from shared.http.middleware import MAX_BODY, Authentication, Border, RateLimits
from shared.http.problems import problem_response
from shared.http.rate_limit import RateLimiter
from shared.http.routing import Problem
from shared.ports import Clock, Vault
from shared.repositories.idempotency import IdempotencyKeys

DESCRIPTION = """
One API that carries messages between people on every channel.

**Versions**: the version is the first part of the path. Inside `/v1` we only add: optional request fields,
response fields, endpoints, enum members of new features. Anything else becomes `/v2`, and `/v1` stays for at
least twelve months beside it. Ignore response fields that you do not know.

**Errors** are `application/problem+json` (RFC 9457). **Repeating**: `Idempotency-Key` works on every POST;
messages have their `message_id`. A message that was accepted cannot be changed or taken back yet.

**Real time**: a WebSocket at `/ws`; docs/guides/realtime.md in the repository has its frames and a client.
"""

_LIVE = "/health/live"
_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}
"""FastAPI's own spans cost more than the request (python.md 7); we trace at the border."""


def build_app(
    routers: Iterable[APIRouter],
    *,
    authenticator: Authenticator,
    limiter: RateLimiter,
    idempotency_keys: IdempotencyKeys,
    vault: Vault,
    clock: Clock,
    version: str = "0.1.0",
    max_body: int = MAX_BODY,
    lifespan: Any = None,
) -> FastAPI:
    """
    An ASGI application with the routers, ``/docs`` and ``/openapi.json``.

    Everything under /v1 needs a token, whether its route asks for the caller or not.
    """
    app = FastAPI(
        title="Chat4All",
        version=version,
        description=DESCRIPTION,
        telemetry=_TELEMETRY,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        exception_handlers=_HANDLERS,
        middleware=[
            Middleware(Border, max_body=max_body),
            Middleware(Authentication, authenticator=authenticator, limiter=limiter),
            Middleware(RateLimits, limiter=limiter),
            Middleware(Idempotency, keys=idempotency_keys, vault=vault, clock=clock),
        ],
    )
    included = list(routers)
    for router in included:
        app.include_router(router)
    _serve_docs(app)
    app.state.limits = limiter.limits
    app.state.routes = [route for router in included for route in router.routes if isinstance(route, APIRoute)]
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        if "Problem" not in schemas:
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas |= problem.pop("$defs")
            schemas["Problem"] = problem
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    return app


async def _nothing_here(request: Request, error: HTTPException) -> Response:
    """Whoever mistypes an address is led on; one function alone has other health pages."""
    lives = any(route.path == _LIVE for route in request.app.state.routes)
    where = f"/docs shows what there is, {_LIVE} whether the platform lives" if lives else "/docs shows what there is"
    return await _problem(request, HTTPException(error.status_code, f"nothing is at this path; {where}", error.headers))


async def _method_not_allowed(request: Request, error: HTTPException) -> Response:
    """RFC 9110 15.5.6: ``Allow`` names all methods of the path; Starlette knows only those of one route."""
    path, routes = request.scope["path"], request.app.state.routes
    # A fixed path goes before a pattern that it happens to match: messages/batch is no message_id.
    of_path = [one for one in routes if one.path == path] or [one for one in routes if one.path_regex.match(path)]
    allowed = {method for route in of_path for method in route.methods}
    allowed = allowed or set((error.headers or {}).get("Allow", "").split(", "))
    names = ", ".join(sorted(allowed - {""}))
    detail = f"{request.method} is not allowed here; allowed: {names}"
    return await _problem(request, HTTPException(error.status_code, detail, {"Allow": names}))


def _serve_docs(app: FastAPI) -> None:
    """/docs, and the way to it. Swagger UI's files are from here: FastAPI's own page loads them from the internet."""
    app.mount("/docs/assets", StaticFiles(packages=[("fastapi_offline", "static")]))

    @app.get("/", include_in_schema=False)
    async def bare_address() -> RedirectResponse:
        return RedirectResponse("/docs", 307)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=f"{app.title} API",
            swagger_js_url="/docs/assets/swagger-ui-bundle.js",
            swagger_css_url="/docs/assets/swagger-ui.css",
            swagger_favicon_url="/docs/assets/favicon.png",
        )


async def _problem(request: Request, error: Exception) -> Response:
    status, headers, body = problem_response(
        error, instance=request.scope["path"], trace_id=request.scope["state"]["trace_id"]
    )
    response = Response(body, status)
    response.raw_headers = headers
    return response


_HANDLERS: dict[Any, Any] = {
    Chat4AllError: _problem,
    RequestValidationError: _problem,
    HTTPException: _problem,
    404: _nothing_here,
    405: _method_not_allowed,
}

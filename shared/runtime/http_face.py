"""The HTTP face of one function as an ASGI application: functions/<name>/http.py alone, behind the same border."""

from collections.abc import Awaitable, Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from shared.ports import Ports
from shared.runtime.functions import folder_of

App = Callable[[Any, Any, Any], Awaitable[None]]


def http_face(name: str, function: Any, ports: Ports) -> Any | None:
    """None when the function has none. FastAPI is imported only for one that has (design.md 8)."""
    path = f"functions.{folder_of(name)}.http"
    if find_spec(path) is None:
        return None
    from shared.http.app import build_app
    from shared.http.authenticator import Authenticator
    from shared.repositories.idempotency import IdempotencyKeys

    module = import_module(path)
    authenticator = Authenticator.of(ports)
    app = build_app(
        [module.router(function)],
        authenticator=authenticator,
        idempotency_keys=IdempotencyKeys(ports.tables),
        vault=ports.vault,
        clock=ports.clock,
    )
    endpoint = getattr(module, "MessagesEndpoint", None)
    return app if endpoint is None else _HotPath(endpoint(function, authenticator), app)


class _HotPath:
    """POST /v1/messages past FastAPI, as where all functions are one process."""

    def __init__(self, messages: App, app: App) -> None:
        self._messages = messages
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        hot = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == "/v1/messages"
        await (self._messages if hot else self._app)(scope, receive, send)

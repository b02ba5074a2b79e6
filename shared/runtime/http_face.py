"""The HTTP face of one function as an ASGI application: functions/<name>/http.py alone, behind the same border."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from shared.ports import Ports
from shared.runtime.functions import folder_of


def http_face(name: str, function: Any, ports: Ports) -> Any | None:
    """None when the function has none. FastAPI is imported only for one that has (design.md 8)."""
    module = f"functions.{folder_of(name)}.http"
    if find_spec(module) is None:
        return None
    from shared.http.app import build_app
    from shared.http.authenticator import Authenticator
    from shared.repositories.idempotency import IdempotencyKeys

    return build_app(
        [import_module(module).router(function)],
        authenticator=Authenticator.of(ports),
        idempotency_keys=IdempotencyKeys(ports.tables),
        vault=ports.vault,
        clock=ports.clock,
    )

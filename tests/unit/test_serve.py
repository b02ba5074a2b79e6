"""The server of one function (shared/runtime/serve.py)."""

from typing import Any

from shared.runtime.serve import config


class Asked:
    """A function that remembers who asked."""

    def __init__(self) -> None:
        self.client: Any = None

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        self.client = scope["client"]


async def test_nobody_says_by_a_header_who_asks() -> None:
    """uvicorn believes it of everybody on this machine, unless told otherwise: any local process chose its bucket."""
    function = Asked()
    made = config(function, {}, host="127.0.0.1", port=0)
    made.load()
    scope = {
        "type": "http", "method": "GET", "path": "/v1/users", "client": ("127.0.0.1", 4711), "scheme": "http",
        "headers": [(b"x-forwarded-for", b"203.0.113.9")],
    }  # fmt: skip

    async def nothing(*_: object) -> Any:
        return {"type": "http.disconnect"}

    await made.loaded_app(scope, nothing, nothing)
    assert function.client == ("127.0.0.1", 4711)

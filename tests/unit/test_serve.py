"""The server of one function (shared/runtime/serve.py)."""

from typing import Any

import pytest

from shared.runtime.serve import GRACE, SHUTDOWN_GRACE, config
from shared.runtime.start_error import StartError
from shared.settings import Settings


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


def test_what_is_under_way_has_as_long_as_the_setting_says() -> None:
    """The server of a function does not import the settings, which cost a cold start; both have the same default."""
    told = {SHUTDOWN_GRACE: "565"}
    assert config(Asked(), told, host="127.0.0.1", port=0).timeout_graceful_shutdown == 565
    unsaid = config(Asked(), {}, host="127.0.0.1", port=0).timeout_graceful_shutdown
    assert unsaid == GRACE == Settings.model_fields["shutdown_grace"].default


@pytest.mark.parametrize("said", ["", "soon", "0", "-1", "1.5"])
def test_a_grace_that_is_none_stops_the_start(said: str) -> None:
    with pytest.raises(StartError, match=SHUTDOWN_GRACE):
        config(Asked(), {SHUTDOWN_GRACE: said}, host="127.0.0.1", port=0)

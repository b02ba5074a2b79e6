"""Somebody of a tenant holds a socket: where nobody does, nobody is woken to push (ADR 42)."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from shared.testing.sockets import NotOpened, Socket
from shared.testing.tenant import Refused, Tenant

_USER = "listener"
_FIRST = 60.0
"""Seconds that the first socket may take, of a platform that starts from zero."""
_PATIENCE = 20.0
"""Seconds for one of them."""
_AGAIN = 1.0
"""Seconds after which who could not be reached is tried again."""


@asynccontextmanager
async def somebody_listens(tenant: Tenant) -> AsyncIterator[None]:
    """
    A user of the tenant who is in no conversation is connected from here on; where the socket ends, by its gateway's
    death or its token's, another is opened.
    """
    made = await tenant.call("POST", "/v1/users", {"user_id": _USER})
    if made.status not in (201, 409):
        raise Refused(f"POST /v1/users: {made.status} {made.body[:500]!r}")

    ready = asyncio.Event()

    def heard(frame: bytes) -> None:
        if b'"type":"ready"' in frame:
            ready.set()

    async def hold() -> None:
        while True:
            ended = asyncio.Event()
            try:
                token = (await tenant.must("POST", f"/v1/users/{_USER}/tokens"))["access_token"]
                async with asyncio.timeout(_PATIENCE):
                    socket = await Socket.open(
                        tenant.client.port,
                        "/ws",
                        heard=heard,
                        lost=lambda code, ended=ended: ended.set(),  # type: ignore[misc]
                        headers={"authorization": f"Bearer {token}"},
                        host=tenant.client.host,
                    )
            except (NotOpened, OSError, Refused, TimeoutError):
                await asyncio.sleep(_AGAIN)
                continue
            try:
                await ended.wait()  # pings are answered; a gateway that is gone without a word is found by its reset
            finally:
                socket.close()

    holding = asyncio.create_task(hold(), name="somebody listens")
    first = asyncio.create_task(ready.wait(), name="the first socket")
    try:
        await asyncio.wait((holding, first), timeout=_FIRST, return_when=asyncio.FIRST_COMPLETED)
        if not ready.is_set():
            if holding.done():
                await holding
            raise TimeoutError("nobody could open a socket")
        yield
    finally:
        first.cancel()
        holding.cancel()
        with suppress(asyncio.CancelledError):
            await holding  # what ended it, if it did not hold to the end


@asynccontextmanager
async def each_listens(tenants: Iterable[Tenant]) -> AsyncIterator[None]:
    """Somebody of each."""
    async with AsyncExitStack() as stack:
        for tenant in tenants:
            await stack.enter_async_context(somebody_listens(tenant))
        yield

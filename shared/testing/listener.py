"""Somebody of a tenant holds a socket: where nobody does, nobody is woken to push (ADR 42)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from shared.testing.http1 import Client
from shared.testing.sockets import NotOpened, Socket
from shared.testing.tenant import Refused, Tenant

_USER = "listener"
_AGAIN = 1.0
"""Seconds after which who could not be reached is tried again."""

Token = Callable[[], Awaitable[str]]
"""Gives one with which its holder may open a socket."""


@asynccontextmanager
async def somebody_listens(tenant: Tenant) -> AsyncIterator[None]:
    """A user of the tenant who is in no conversation is connected meanwhile."""
    with suppress(Refused):  # there is one already
        await tenant.add_users([_USER])

    async def token() -> str:
        given: str = (await tenant.must("POST", f"/v1/users/{_USER}/tokens"))["access_token"]
        return given

    async with holding_a_socket(tenant.client, token):
        yield


@asynccontextmanager
async def holding_a_socket(client: Client, token: Token) -> AsyncIterator[None]:
    """One is open when this is entered; where it ends, by its gateway's death or its token's, another is opened."""
    opened = asyncio.Event()

    async def hold() -> None:
        while True:
            ended = asyncio.Event()
            try:
                headers = {"authorization": f"Bearer {await token()}"}
                socket = await Socket.open(
                    client.port,
                    "/ws",
                    heard=lambda frame: None,
                    lost=lambda code, ended=ended: ended.set(),  # type: ignore[misc]
                    headers=headers,
                    host=client.host,
                )
            except (NotOpened, OSError, Refused):
                await asyncio.sleep(_AGAIN)
                continue
            opened.set()
            try:
                await ended.wait()
            finally:
                socket.close()

    holding = asyncio.create_task(hold(), name="somebody listens")
    try:
        async with asyncio.timeout(60):
            await opened.wait()
        yield
    finally:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)

"""
Bytes to and from S3 through URLs that are signed here: what passes through is never held.

httpx is imported here and not in ``object_store``: whoever never uses the store does not pay for it.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx

from shared.adapters.s3.refusals import code_of, refusal
from shared.adapters.s3.settings import S3Settings
from shared.domain.errors import Invalid, Unavailable
from shared.ports.object_store import BLOCK

_CONNECTIONS = 32


class Transfer:
    """Close with ``close``."""

    def __init__(self, settings: S3Settings) -> None:
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(settings.timeout, connect=settings.connect_timeout),
            limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
            trust_env=False,
        )

    async def put(self, url: str, headers: Mapping[str, str], blocks: AsyncIterator[bytes], *, size: int) -> str:
        """
        The ETag of what was put.

        Raises:
            Invalid: ``blocks`` are more or fewer bytes than ``size``; nothing was changed.
            Chat4AllError: what ``refusals`` makes of the answer; Unavailable when there is none.
        """
        given = {**headers, "Content-Length": str(size)}
        try:
            answer = await self._http.put(url, content=_exactly(blocks, size), headers=given)
        except httpx.TransportError as error:
            raise _unanswered(error) from error
        if answer.is_success:
            return str(answer.headers["etag"]).strip('"')
        raise refusal(code_of(answer.content), answer.status_code)

    @asynccontextmanager
    async def get(self, url: str, *, offset: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes from ``offset`` on; raises as ``put`` does."""
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
        request = self._http.build_request("GET", url, headers=headers)
        try:
            answer = await self._http.send(request, stream=True)
        except httpx.TransportError as error:
            raise _unanswered(error) from error
        try:
            if answer.status_code == 416:  # from the end on
                yield _nothing()
            elif answer.is_success:
                yield _blocks(answer)
            else:
                raise refusal(code_of(await answer.aread()), answer.status_code)
        finally:
            await answer.aclose()

    async def ask(self, url: str) -> None:
        """
        A HEAD, whose answer may also be that we may not ask.

        Raises:
            Unavailable: there is none, or none that a working store gives.
        """
        try:
            answer = await self._http.head(url)
        except httpx.TransportError as error:
            raise _unanswered(error) from error
        if not answer.is_success and answer.status_code != 403:
            raise Unavailable(f"the object store answers {answer.status_code}")

    async def close(self) -> None:
        await self._http.aclose()


async def _exactly(blocks: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
    """
    ``blocks``, the last of which is only given away once it is known to be the last and all of ``size`` bytes: a
    store that has them all makes the part, whatever we then find out.
    """
    last, count = b"", 0
    async for block in blocks:
        count += len(block)
        if count > size:
            break
        if last and block:
            yield last
        last = block or last
    if count != size:
        raise Invalid(f"{'more' if count > size else 'fewer'} bytes than the {size} that were announced")
    if last:
        yield last


async def _blocks(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for block in answer.aiter_raw():
            for start in range(0, len(block), BLOCK):
                yield block[start : start + BLOCK]
    except httpx.TransportError as error:
        raise _unanswered(error) from error


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""


def _unanswered(error: httpx.TransportError) -> Unavailable:
    return Unavailable(f"the object store does not answer: {type(error).__name__}")

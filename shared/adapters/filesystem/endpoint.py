"""
Presigned URLs, served: PUT of a part, GET of an object with ranges (RFC 9110 13.1, 14), as bare ASGI.

The signature in the URL is all the permission there is; nothing of a request is looked at before it holds. What is
refused is raised, for the border (``shared.http.middleware``) to say.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException

from shared.adapters.filesystem.objects import PREFIX, FilesystemObjects
from shared.domain.errors import Chat4AllError, Forbidden, NotFound, TooSlow
from shared.ports.object_store import Part, Upload

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = Mapping[bytes, bytes]

STALL = 60.0
"""Seconds in which a client must send or take something."""
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})\Z")
_SAFE: Mapping[str, str] = {
    "accept-ranges": "bytes",
    "cache-control": "private, no-transform",
    "content-security-policy": "sandbox; default-src 'none'",
    "x-content-type-options": "nosniff",
}


class ClientGone(Exception):
    """It hung up in the middle of the body: half a part is none."""


class ObjectsEndpoint:
    """Everything under PREFIX of ``shared.adapters.filesystem.objects``."""

    def __init__(self, store: FilesystemObjects, *, stall: float = STALL) -> None:
        self._store = store
        self._stall = stall

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope.get("raw_path") or scope["path"].encode()
        path = raw[raw.find(PREFIX.encode()) :]  # a proxy may keep the prefix that it has for us
        query = self._store.signer.query_of(scope["method"], path, scope["query_string"], self._store.clock.now())
        if query is None:
            raise Forbidden("this URL was changed, has expired or is for another method; ask for a fresh one")
        begun = False

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        key, headers = path.decode("latin-1").removeprefix(PREFIX), dict(scope["headers"])
        try:
            if scope["method"] == "PUT":
                await self._put(key, query, headers, receive, watched)
            else:
                await self._get(key, query, headers, watched)
        except ClientGone:
            return
        except (TimeoutError, Chat4AllError) as error:
            if begun:  # the answer stays short of its length: the server hangs up, and the client sees that
                return
            if isinstance(error, TimeoutError):
                raise TooSlow(f"nothing came for {self._stall:.0f} s; put the part again") from None
            raise

    async def _put(self, key: str, query: Mapping[str, str], headers: Headers, receive: Receive, send: Send) -> None:
        part = Part(int(query["part"]), int(query["size"]), query.get("sha256"))
        length = headers.get(b"content-length")
        if length is not None and length != b"%d" % part.size:
            raise HTTPException(400, f"this part has {part.size} bytes, and {length.decode('latin-1')} came")
        stored = await self._store.put_part(Upload(key, query["upload"]), part, self._body(receive))
        await _answer(send, 200, {"etag": f'"{stored.etag}"', "content-length": "0"}, b"")

    async def _body(self, receive: Receive) -> AsyncIterator[bytes]:
        more = True
        while more:
            async with asyncio.timeout(self._stall):
                message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            if message.get("body"):
                yield message["body"]
            more = message.get("more_body", False)

    async def _get(self, key: str, query: Mapping[str, str], headers: Headers, send: Send) -> None:
        found = await self._store.stat(key)
        if found is None:
            raise NotFound("this file is not there any more")
        etag = f'"{found.etag}"'
        about = {**_SAFE, "etag": etag}
        if not _matches(headers.get(b"if-match", b"*"), etag):
            raise HTTPException(412, "the object has another ETag")
        if b"if-none-match" in headers and _matches(headers[b"if-none-match"], etag):
            await _answer(send, 304, about, b"")
            return
        about |= {
            "content-type": query["content_type"],
            "content-disposition": f"attachment; filename*=UTF-8''{quote(query['filename'], safe='')}",
        }
        wanted = _range(headers, etag, found.size)
        if wanted is None:
            await self._send(send, 200, about, key, range(found.size))
        elif not wanted:
            whole = {"Content-Range": f"bytes */{found.size}"}
            raise HTTPException(416, "nothing of the object is in this range", whole)
        else:
            about["content-range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{found.size}"
            await self._send(send, 206, about, key, wanted)

    async def _send(self, send: Send, status: int, headers: dict[str, str], key: str, wanted: range) -> None:
        left = len(wanted)
        async with self._store.stream(key, offset=wanted.start) as blocks:
            await _start(send, status, {**headers, "content-length": str(left)})
            async for block in blocks:
                block = block[:left]
                left -= len(block)
                async with asyncio.timeout(self._stall):
                    await send({"type": "http.response.body", "body": block, "more_body": left > 0})
                if not left:
                    return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _range(headers: Headers, etag: str, size: int) -> range | None:
    """
    What a single range asks for, empty when nothing of it is there; None: the whole object, which RFC 9110 allows as
    the answer to several ranges too.
    """
    match = _RANGE.match(headers.get(b"range", b"").decode("latin-1"))
    if match is None or match[0] == "bytes=-" or headers.get(b"if-range", etag.encode()) != etag.encode():
        return None
    if not match[1]:
        return range(max(0, size - int(match[2])), size)
    first, last = int(match[1]), int(match[2] or size)
    return None if match[2] and last < first else range(first, min(last + 1, size))


def _matches(given: bytes, etag: str) -> bool:
    return given.strip() == b"*" or etag in [one.strip() for one in given.decode("latin-1").split(",")]


async def _start(send: Send, status: int, headers: Mapping[str, str]) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def _answer(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    await _start(send, status, headers)
    await send({"type": "http.response.body", "body": body})

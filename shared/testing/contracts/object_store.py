"""
What every ObjectStore must do (shared.ports.object_store; B1, B2, B5). Subclass it and say how to open a ``store``,
and an ``http`` client by which its presigned URLs are reached.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from time import monotonic
from urllib.parse import unquote
from uuid import uuid4  # noqa: TID251  a key of its own for each test

import httpx
import pytest

from shared.domain.errors import ChecksumMismatch, Conflict, Invalid, NotFound
from shared.ports.object_store import BLOCK, MIN_PART, ObjectStore, Part, Presigned, StoredPart, Upload

HOUR = timedelta(hours=1)
FIRST = bytes(range(256)) * (MIN_PART // 256)
LAST = b"the last part may be short" * 1000
OTHER = FIRST[::-1]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def in_blocks(content: bytes, size: int = BLOCK) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def put(http: httpx.AsyncClient, presigned: Presigned, content: bytes) -> httpx.Response:
    return await http.put(presigned.url, content=content, headers=dict(presigned.headers))


def parts_of(*contents: bytes, hashed: bool = False) -> list[Part]:
    return [
        Part(number, len(content), sha256(content) if hashed else None) for number, content in enumerate(contents, 1)
    ]


async def until_refused(http: httpx.AsyncClient, method: str, url: str, content: bytes | None, within: float) -> int:
    """The first status that is none of success; asked again and again until then."""
    deadline = monotonic() + within
    while True:
        answer = await http.request(method, url, content=content)
        if answer.status_code >= 400 or monotonic() > deadline:
            return answer.status_code
        await asyncio.sleep(0.05)


class ObjectStoreContract:
    @pytest.fixture
    async def store(self) -> AsyncIterator[ObjectStore]:
        raise NotImplementedError("say how to open an ObjectStore")
        yield

    @pytest.fixture
    async def http(self) -> AsyncIterator[httpx.AsyncClient]:
        raise NotImplementedError("say how presigned URLs are reached")
        yield

    @pytest.fixture
    def key(self) -> str:
        return f"acme/files/{uuid4()}"

    @pytest.fixture
    async def upload(self, store: ObjectStore, key: str) -> Upload:
        return await store.create(key, content_type="application/octet-stream")

    async def stored(self, store: ObjectStore, key: str, *contents: bytes) -> None:
        upload = await store.create(key, content_type="text/plain")
        parts = [
            await store.put_part(upload, part, in_blocks(content))
            for part, content in zip(parts_of(*contents), contents, strict=True)
        ]
        await store.complete(upload, parts)

    async def content(self, store: ObjectStore, key: str, offset: int = 0) -> bytes:
        async with store.stream(key, offset=offset) as blocks:
            found = [block async for block in blocks]
        assert all(0 < len(block) <= BLOCK for block in found)
        return b"".join(found)

    # Uploads

    async def test_parts_put_by_presigned_urls_make_an_object(
        self, store: ObjectStore, http: httpx.AsyncClient, key: str, upload: Upload
    ) -> None:
        urls = await store.presign_parts(upload, parts_of(FIRST, LAST), expires_in=HOUR)
        answers = [
            await put(http, url, content) for url, content in reversed(list(zip(urls, (FIRST, LAST), strict=True)))
        ]
        assert [answer.status_code for answer in answers] == [200, 200]
        parts = await store.list_parts(upload)
        assert [(part.part_number, part.size) for part in parts] == [(1, len(FIRST)), (2, len(LAST))]
        assert [part.etag for part in parts] == [answer.headers["etag"].strip('"') for answer in reversed(answers)]
        made = await store.complete(upload, parts)
        assert made.size == len(FIRST + LAST)
        assert await store.stat(key) == made
        assert await self.content(store, key) == FIRST + LAST
        assert await store.sha256(key) == sha256(FIRST + LAST)

    async def test_parts_put_by_the_platform_are_as_good(self, store: ObjectStore, key: str) -> None:
        await self.stored(store, key, FIRST, OTHER, LAST)
        assert await self.content(store, key) == FIRST + OTHER + LAST
        assert await self.content(store, key, offset=len(FIRST) - 1) == FIRST[-1:] + OTHER + LAST
        assert await self.content(store, key, offset=2 * len(FIRST) + len(LAST)) == b""

    async def test_an_object_of_no_bytes(self, store: ObjectStore, http: httpx.AsyncClient, key: str) -> None:
        upload = await store.create(key, content_type="text/plain")
        (url,) = await store.presign_parts(upload, [Part(1, 0)], expires_in=HOUR)
        assert (await put(http, url, b"")).status_code == 200
        made = await store.complete(upload, await store.list_parts(upload))
        assert made.size == 0
        assert await self.content(store, key) == b""
        assert await store.sha256(key) == sha256(b"")

    async def test_an_upload_without_parts_lists_none(self, store: ObjectStore, upload: Upload) -> None:
        assert await store.list_parts(upload) == []

    async def test_the_last_of_several_puts_of_a_part_stands(
        self, store: ObjectStore, http: httpx.AsyncClient, key: str, upload: Upload
    ) -> None:
        (url,) = await store.presign_parts(upload, [Part(1, len(FIRST))], expires_in=HOUR)
        for content in (FIRST, FIRST, OTHER):
            assert (await put(http, url, content)).status_code == 200
        await store.complete(upload, await store.list_parts(upload))
        assert await self.content(store, key) == OTHER

    async def test_a_part_that_became_another_is_not_what_was_completed(
        self, store: ObjectStore, upload: Upload, key: str
    ) -> None:
        part = Part(1, len(FIRST))
        before = await store.put_part(upload, part, in_blocks(FIRST))
        await store.put_part(upload, part, in_blocks(OTHER))
        with pytest.raises(Conflict):
            await store.complete(upload, [before])
        await store.complete(upload, await store.list_parts(upload))
        assert await self.content(store, key) == OTHER

    async def test_a_missing_part_is_a_conflict_and_the_upload_goes_on(
        self, store: ObjectStore, upload: Upload
    ) -> None:
        first = await store.put_part(upload, Part(1, len(FIRST)), in_blocks(FIRST))
        with pytest.raises(Conflict):
            await store.complete(upload, [first, StoredPart(2, len(FIRST), first.etag)])
        assert [part.part_number for part in await store.list_parts(upload)] == [1]

    async def test_complete_answers_again_with_the_object(self, store: ObjectStore, upload: Upload) -> None:
        parts = [await store.put_part(upload, Part(1, len(LAST)), in_blocks(LAST))]
        made = await store.complete(upload, parts)
        assert await store.complete(upload, parts) == made

    async def test_of_two_who_complete_at_once_both_get_the_object(
        self, store: ObjectStore, upload: Upload, key: str
    ) -> None:
        parts = [await store.put_part(upload, Part(1, len(LAST)), in_blocks(LAST))]
        one, two = await asyncio.gather(store.complete(upload, parts), store.complete(upload, parts))
        assert one == two
        assert await self.content(store, key) == LAST

    async def test_a_completed_upload_takes_no_part(
        self, store: ObjectStore, http: httpx.AsyncClient, upload: Upload, key: str
    ) -> None:
        (url,) = await store.presign_parts(upload, [Part(1, len(LAST))], expires_in=HOUR)
        await store.complete(upload, [await store.put_part(upload, Part(1, len(LAST)), in_blocks(LAST))])
        assert (await put(http, url, LAST[::-1])).status_code == 404
        with pytest.raises(NotFound):
            await store.put_part(upload, Part(1, len(LAST)), in_blocks(LAST[::-1]))
        with pytest.raises(NotFound):
            await store.list_parts(upload)
        assert await self.content(store, key) == LAST

    async def test_an_aborted_upload_is_gone(
        self, store: ObjectStore, http: httpx.AsyncClient, upload: Upload, key: str
    ) -> None:
        (url,) = await store.presign_parts(upload, [Part(1, len(LAST))], expires_in=HOUR)
        stored = await store.put_part(upload, Part(1, len(LAST)), in_blocks(LAST))
        for _ in range(2):
            await store.abort(upload)
        assert (await put(http, url, LAST)).status_code == 404
        with pytest.raises(NotFound):
            await store.list_parts(upload)
        with pytest.raises(NotFound):
            await store.complete(upload, [stored])
        assert await store.stat(key) is None

    async def test_wrong_sizes_are_refused_and_change_nothing(
        self, store: ObjectStore, http: httpx.AsyncClient, upload: Upload
    ) -> None:
        part = Part(1, len(LAST))
        good = await store.put_part(upload, part, in_blocks(LAST))
        (url,) = await store.presign_parts(upload, [part], expires_in=HOUR)
        for wrong in (LAST[:-1], LAST + b"!", b""):
            assert 400 <= (await put(http, url, wrong)).status_code < 500
            with pytest.raises(Invalid):
                await store.put_part(upload, part, in_blocks(wrong))
        assert [(one.part_number, one.etag) for one in await store.list_parts(upload)] == [(1, good.etag)]

    async def test_the_store_refuses_a_part_of_other_bytes_than_were_announced(
        self, store: ObjectStore, http: httpx.AsyncClient, key: str
    ) -> None:
        upload = await store.create(key, content_type="text/plain", hashed=True)
        (part,) = parts_of(LAST, hashed=True)
        (url,) = await store.presign_parts(upload, [part], expires_in=HOUR)
        assert (await put(http, url, LAST)).status_code == 200
        assert 400 <= (await put(http, url, LAST[::-1])).status_code < 500
        with pytest.raises(ChecksumMismatch):
            await store.put_part(upload, part, in_blocks(LAST[::-1]))
        (stored,) = await store.list_parts(upload)
        assert stored.sha256 in (None, sha256(LAST))
        await store.complete(upload, [stored])
        assert await self.content(store, key) == LAST

    async def test_the_platform_puts_announced_parts_too(self, store: ObjectStore, key: str) -> None:
        upload = await store.create(key, content_type="text/plain", hashed=True)
        parts = [
            await store.put_part(upload, part, in_blocks(content, 1000))
            for part, content in zip(parts_of(FIRST, LAST, hashed=True), (FIRST, LAST), strict=True)
        ]
        await store.complete(upload, parts)
        assert await store.sha256(key) == sha256(FIRST + LAST)

    async def test_an_upload_is_not_another(self, store: ObjectStore, upload: Upload, http: httpx.AsyncClient) -> None:
        other = await store.create("umbrella/files/1", content_type="text/plain")
        await store.put_part(other, Part(1, len(LAST)), in_blocks(LAST))
        assert await store.list_parts(upload) == []
        with pytest.raises(NotFound):
            await store.list_parts(Upload(other.key, upload.upload_id))
        await store.abort(other)
        assert await store.list_parts(upload) == []

    # Presigned URLs

    async def test_a_part_url_changed_in_any_byte_is_refused(
        self, store: ObjectStore, http: httpx.AsyncClient, upload: Upload
    ) -> None:
        (presigned,) = await store.presign_parts(upload, [Part(1, 4)], expires_in=HOUR)
        for changed in tampered(presigned.url):
            answer = await http.put(changed, content=b"evil", headers=dict(presigned.headers))
            assert 400 <= answer.status_code < 500, changed
        assert await store.list_parts(upload) == []

    async def test_a_download_url_changed_in_any_byte_is_refused(
        self, store: ObjectStore, http: httpx.AsyncClient, key: str
    ) -> None:
        await self.stored(store, key, LAST)
        url = await store.presign_get(key, filename="a.txt", content_type="text/plain", expires_in=HOUR)
        for changed in tampered(url):
            assert 400 <= (await http.get(changed)).status_code < 500, changed
        assert (await http.get(url)).status_code == 200

    async def test_a_url_is_for_one_method(
        self, store: ObjectStore, http: httpx.AsyncClient, upload: Upload, key: str
    ) -> None:
        (presigned,) = await store.presign_parts(upload, [Part(1, 4)], expires_in=HOUR)
        await self.stored(store, f"{key}-2", LAST)
        url = await store.presign_get(f"{key}-2", filename="a.txt", content_type="text/plain", expires_in=HOUR)
        for method, address in (("GET", presigned.url), ("DELETE", presigned.url), ("PUT", url), ("DELETE", url)):
            assert 400 <= (await http.request(method, address)).status_code < 500
        assert await self.content(store, f"{key}-2") == LAST

    async def test_urls_expire(self, store: ObjectStore, http: httpx.AsyncClient, upload: Upload, key: str) -> None:
        await self.stored(store, f"{key}-2", LAST)
        short = timedelta(seconds=1)
        url = await store.presign_get(f"{key}-2", filename="a.txt", content_type="text/plain", expires_in=short)
        (presigned,) = await store.presign_parts(upload, [Part(1, 4)], expires_in=short)
        assert 400 <= await until_refused(http, "GET", url, None, within=10) < 500
        assert 400 <= await until_refused(http, "PUT", presigned.url, b"late", within=10) < 500

    # Downloads

    async def test_a_download_is_an_attachment_of_its_name_and_type(
        self, store: ObjectStore, http: httpx.AsyncClient, key: str
    ) -> None:
        await self.stored(store, key, LAST)
        name = 'Relatório "final"; x=1.pdf'
        url = await store.presign_get(key, filename=name, content_type="application/pdf", expires_in=HOUR)
        answer = await http.get(url)
        assert (answer.status_code, answer.content) == (200, LAST)
        assert answer.headers["content-type"] == "application/pdf"
        disposition = answer.headers["content-disposition"]
        assert disposition.startswith("attachment")
        encoded = re.search(r"filename\*=UTF-8''([^;\s]+)", disposition)
        assert encoded is not None and unquote(encoded[1]) == name
        made = await store.stat(key)
        assert made is not None and answer.headers["etag"].strip('"') == made.etag

    async def test_a_download_goes_on_where_it_was_cut(
        self, store: ObjectStore, http: httpx.AsyncClient, key: str
    ) -> None:
        await self.stored(store, key, FIRST, LAST)
        url = await store.presign_get(key, filename="a.bin", content_type="text/plain", expires_in=HOUR)
        whole = FIRST + LAST
        etag = (await http.get(url, headers={"Range": "bytes=0-0"})).headers["etag"]
        for asked, start, end in (
            (f"bytes={len(FIRST) - 2}-{len(FIRST) + 2}", len(FIRST) - 2, len(FIRST) + 3),
            (f"bytes={len(FIRST)}-", len(FIRST), len(whole)),
            ("bytes=-5", len(whole) - 5, len(whole)),
            (f"bytes=3-{len(whole) * 2}", 3, len(whole)),
        ):
            answer = await http.get(url, headers={"Range": asked, "If-Match": etag})
            assert (answer.status_code, answer.content) == (206, whole[start:end])
            assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(whole)}"
        assert (await http.get(url, headers={"Range": f"bytes={len(whole)}-"})).status_code == 416

    async def test_a_deleted_object_is_gone(self, store: ObjectStore, http: httpx.AsyncClient, key: str) -> None:
        await self.stored(store, key, LAST)
        url = await store.presign_get(key, filename="a.bin", content_type="text/plain", expires_in=HOUR)
        for _ in range(2):
            await store.delete(key)
        assert await store.stat(key) is None
        assert (await http.get(url)).status_code == 404
        with pytest.raises(NotFound):
            await store.sha256(key)
        with pytest.raises(NotFound):
            await self.content(store, key)

    # Small objects

    async def test_a_small_object_is_put_as_a_whole_and_over_another(self, store: ObjectStore, key: str) -> None:
        for content in (LAST, b"", b"short"):
            assert (await store.put(key, in_blocks(content, 999), size=len(content))).size == len(content)
            assert await self.content(store, key) == content
        for wrong in (b"shor", b"shorts"):
            with pytest.raises(Invalid):
                await store.put(key, in_blocks(wrong), size=5)
        assert await self.content(store, key) == b"short"

    async def test_what_a_source_of_bytes_raises_leaves_and_changes_nothing(
        self, store: ObjectStore, upload: Upload, key: str
    ) -> None:
        async def cut() -> AsyncIterator[bytes]:
            yield LAST[:100]
            raise ConnectionResetError("the client hung up")

        with pytest.raises(ConnectionResetError):
            await store.put_part(upload, Part(1, len(LAST)), cut())
        with pytest.raises(ConnectionResetError):
            await store.put(f"{key}-2", cut(), size=len(LAST))
        assert await store.list_parts(upload) == []
        assert await store.stat(f"{key}-2") is None


def tampered(url: str) -> list[str]:
    """
    The URL with each character of its path and query changed into another one, one at a time; never only from A to a,
    for %2a is %2A.
    """
    start = url.index("/", url.index("://") + 3) + 1
    return [url[:n] + ("b" if url[n] in "aA" else "a") + url[n + 1 :] for n in range(start, len(url))]

"""
An object store that is cut, hangs, is gone, restarted, keeps another time or does not know us (B1, B2; issue 6).

What must hold: the right error in bounded time, what was stored still is, and the same call works again afterwards.
"""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from urllib.parse import urlsplit
from uuid import uuid4  # noqa: TID251  a key of its own for each test

import httpx
import pytest

from shared.adapters.s3.object_store import S3ObjectStore
from shared.adapters.s3.settings import S3Settings
from shared.domain.errors import NotFound, Unavailable
from shared.ports.object_store import MIN_PART, Part
from shared.testing import real_engines
from shared.testing.proxy import proxy

HOUR = timedelta(hours=1)
BLOCK = bytes(65536)
PART = Part(1, MIN_PART)

pytestmark = pytest.mark.real("minio")


async def whole() -> AsyncIterator[bytes]:
    for _ in range(MIN_PART // len(BLOCK)):
        yield BLOCK


@pytest.fixture
def key():
    return f"acme/{uuid4()}"


@pytest.fixture
async def way():
    parts = urlsplit(real_engines.address("minio"))
    async with proxy(parts.hostname, parts.port) as made:
        yield made


@pytest.fixture
async def store(way):
    """On the way that can be cut; impatient."""
    async with real_engines.s3_object_store(
        "minio", endpoint=f"http://127.0.0.1:{way.port}", timeout=1.0, connect_timeout=1.0, tries=2
    ) as store:
        yield store


@pytest.fixture
async def direct():
    async with real_engines.s3_object_store("minio") as store:
        yield store


@pytest.fixture
async def http():
    async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
        yield http


@pytest.fixture
def hours_off(monkeypatch):
    """Another time on this machine than on the store's."""

    def set_to(hours):
        monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: datetime.now(UTC) + timedelta(hours=hours))  # noqa: TID251

    return set_to


async def test_a_part_that_is_cut_in_its_middle_is_not_there_and_can_be_put_again(store, way, key):
    upload = await store.create(key, content_type="text/plain")

    async def cut_in_the_middle():
        async for block in whole():
            yield block
            await way.cut()

    with pytest.raises(Unavailable):
        await store.put_part(upload, PART, cut_in_the_middle())
    await way.start()
    assert await store.list_parts(upload) == []
    stored = await store.put_part(upload, PART, whole())
    assert await store.list_parts(upload) == [stored]
    await store.abort(upload)


async def test_a_client_that_stops_in_the_middle_of_a_part_leaves_the_one_that_was_there(direct, http, key):
    upload = await direct.create(key, content_type="text/plain")
    before = await direct.put_part(upload, PART, whole())
    (presigned,) = await direct.presign_parts(upload, [PART], expires_in=HOUR)

    async def half():
        for _ in range(10):
            yield b"x" * 1000
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await http.put(presigned.url, content=half(), headers={"Content-Length": str(PART.size)})
    assert await direct.list_parts(upload) == [before]
    await direct.abort(upload)


async def test_a_download_that_is_cut_is_an_error_and_not_a_short_file(store, way, key):
    made = await store.complete(
        upload := await store.create(key, content_type="text/plain"), [await store.put_part(upload, PART, whole())]
    )
    with pytest.raises(Unavailable):
        async with store.stream(key) as blocks:
            async for _ in blocks:
                await way.cut()
    await way.start()
    assert await store.stat(key) == made
    await store.delete(key)


async def test_a_store_that_hangs_is_given_up_in_time(store, way, key):
    upload = await store.create(key, content_type="text/plain")
    way.hang()
    before = monotonic()
    for ask in (
        lambda: store.stat(key),
        lambda: store.list_parts(upload),
        lambda: store.put_part(upload, PART, whole()),
    ):
        with pytest.raises(Unavailable):
            await ask()
    assert monotonic() - before < 15
    way.heal()
    assert await store.stat(key) is None


async def test_a_store_that_is_not_there_yet_is_used_once_it_is(store, way, key):
    await way.cut()
    with pytest.raises(Unavailable):
        await store.stat(key)
    with pytest.raises(OSError):
        await store.ping()
    await way.start()
    assert await store.stat(key) is None
    await store.ping()


async def test_keys_that_the_store_does_not_know_are_said(key):
    for wrong, word in (({"secret_key": "wrong"}, "SECRET_KEY"), ({"access_key": "nobody"}, "ACCESS_KEY")):
        async with real_engines.s3_object_store("minio", **wrong) as store:
            with pytest.raises(Unavailable, match=word):
                await store.create(key, content_type="text/plain")


async def test_nobody_reads_or_writes_without_a_signature(direct, http, key):
    await direct.put(key, one(b"secret"), size=6)
    settings = real_engines.s3_settings("minio")
    for method in ("GET", "PUT", "DELETE"):
        answer = await http.request(method, f"{settings.endpoint}/{settings.bucket}/{key}")
        assert answer.status_code == 403
    assert (await http.get(f"{settings.endpoint}/{settings.bucket}/")).status_code == 403
    await direct.delete(key)


async def test_a_clock_that_is_a_little_off_does_not_matter(direct, http, key, hours_off):
    await direct.put(key, one(b"hello!"), size=6)
    for minutes in (-10, 10):
        hours_off(minutes / 60)
        url = await direct.presign_get(key, filename="a.txt", content_type="text/plain", expires_in=HOUR)
        assert (await http.get(url)).content == b"hello!"
        assert await direct.stat(key)
    hours_off(0)
    await direct.delete(key)


async def test_a_clock_that_is_wrong_is_said_and_its_urls_are_refused(direct, http, key, hours_off):
    upload = await direct.create(key, content_type="text/plain")
    for hours in (-2, 2):
        hours_off(hours)
        (presigned,) = await direct.presign_parts(upload, [Part(1, 1)], expires_in=HOUR)
        assert (await http.put(presigned.url, content=b"1")).status_code == 403
        with pytest.raises(Unavailable, match="clocks"):
            await direct.list_parts(upload)
    hours_off(0)
    assert await direct.list_parts(upload) == []
    await direct.abort(upload)


async def test_after_a_url_has_expired_another_one_goes_on(direct, http, key, hours_off):
    upload = await direct.create(key, content_type="text/plain")
    hours_off(-0.2)
    (expired,) = await direct.presign_parts(upload, [Part(1, 1)], expires_in=timedelta(minutes=5))
    assert (await http.put(expired.url, content=b"1")).status_code == 403
    hours_off(0)
    (fresh,) = await direct.presign_parts(upload, [Part(1, 1)], expires_in=timedelta(minutes=5))
    assert (await http.put(fresh.url, content=b"1")).status_code == 200
    await direct.abort(upload)


async def test_urls_name_the_address_that_clients_have(way, http, key):
    public = f"http://localhost:{way.port}"
    async with real_engines.s3_object_store("minio", public_endpoint=public) as store:
        upload = await store.create(key, content_type="text/plain")
        (presigned,) = await store.presign_parts(upload, [Part(1, 1)], expires_in=HOUR)
        assert presigned.url.startswith(f"{public}/")
        assert (await http.put(presigned.url, content=b"1")).status_code == 200
        await store.complete(upload, await store.list_parts(upload))
        url = await store.presign_get(key, filename="a.txt", content_type="text/plain", expires_in=HOUR)
        assert url.startswith(f"{public}/")
        assert (await http.get(url)).content == b"1"
        await way.cut()  # our own way is another one
        assert (await store.stat(key)).size == 1
        await store.delete(key)


async def test_more_parts_are_listed_than_one_page_holds(direct, key):
    upload = await direct.create(key, content_type="text/plain")
    turns = asyncio.Semaphore(16)

    async def put(number: int) -> None:
        async with turns:
            await direct.put_part(upload, Part(number, 1), one(b"x"))

    await asyncio.gather(*(put(number) for number in range(1, 1006)))
    assert [part.part_number for part in await direct.list_parts(upload)] == list(range(1, 1006))
    await direct.abort(upload)


@pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=pytest.mark.real(name)) for name in ("minio", "versitygw")]
)
async def test_uploads_that_nobody_finished_are_discarded(engine):
    key = f"acme/files/{uuid4()}"  # what is elsewhere in the bucket is not ours
    async with real_engines.s3_object_store(engine, bucket=f"chat4all-{uuid4()}") as store:
        old = await store.create(key, content_type="text/plain")
        await store.put_part(old, Part(1, 1), one(b"x"))
        now = datetime.now(UTC)  # noqa: TID251  the store's own time is the machine's
        assert await store.discard_stale(now - HOUR) == 0
        assert len(await store.list_parts(old)) == 1
        assert await store.discard_stale(now + HOUR) == 1
        with pytest.raises(NotFound):
            await store.list_parts(old)
        await (await store._client()).call("delete_bucket")


async def one(content: bytes) -> AsyncIterator[bytes]:
    yield content


class OwnMinio:
    """Killed and started again without anybody else noticing."""

    def __init__(self, folder: Path) -> None:
        self._environment = os.environ | {"CHAT4ALL_STACK_DIR": str(folder)}  # noqa: TID251
        self._script = str(Path(__file__).resolve().parents[2] / "scripts" / "stack")

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run([self._script, *arguments], env=self._environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def settings(self) -> S3Settings:
        told = dict(line.split("=", 1) for line in self("env").splitlines())
        return S3Settings(
            endpoint=told["CHAT4ALL_MINIO_ENDPOINT"],
            access_key=told["CHAT4ALL_MINIO_ACCESS_KEY"],
            secret_key=told["CHAT4ALL_MINIO_SECRET_KEY"],
        )


@pytest.fixture
def own_minio(tmp_path):
    stack = OwnMinio(tmp_path)
    stack("up", "--only", "minio", "--port-offset", "13000")
    yield stack
    stack("wipe")


@pytest.mark.engines
@pytest.mark.timeout(600)
async def test_minio_killed_in_the_middle_of_a_part_keeps_every_part_before_it(own_minio, key):
    store = S3ObjectStore(own_minio.settings())
    first, second = Part(1, MIN_PART), Part(2, MIN_PART)
    upload = await store.create(key, content_type="text/plain")
    stored = await store.put_part(upload, first, whole())

    async def killed_in_the_middle():
        async for block in whole():
            yield block
            if block is BLOCK and not killed:
                killed.append(await asyncio.to_thread(own_minio, "kill", "minio"))

    killed: list[str] = []
    with pytest.raises(Unavailable):
        await store.put_part(upload, second, killed_in_the_middle())
    await asyncio.to_thread(own_minio, "start", "minio")
    assert await store.list_parts(upload) == [stored]
    again = await store.put_part(upload, second, whole())
    assert (await store.complete(upload, [stored, again])).size == 2 * MIN_PART
    await store.close()

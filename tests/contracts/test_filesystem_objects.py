"""The object store of the embedded mode against the contract, and what is its own: B1, B2, B5, B7."""

import asyncio
import os
import resource
from datetime import timedelta

import httpx
import pytest

from shared.adapters.filesystem.endpoint import ObjectsEndpoint
from shared.adapters.filesystem.objects import FilesystemObjects
from shared.adapters.local.clock import SystemClock
from shared.domain.errors import Conflict, Invalid, StorageFull
from shared.domain.file import MAX_SIZE
from shared.http.middleware import Border
from shared.ports.object_store import Part
from shared.testing.api import problem
from shared.testing.contracts.object_store import FIRST, HOUR, LAST, ObjectStoreContract, in_blocks, put, sha256

KEY = "acme/files/1"


@pytest.fixture
def store(tmp_path):
    opened = FilesystemObjects(tmp_path, key=b"k" * 32, base_url="http://store", clock=SystemClock(), reserve=0)
    yield opened
    opened.close()


@pytest.fixture
async def http(store):
    app = Border(ObjectsEndpoint(store, stall=0.2), max_body=MAX_SIZE)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        yield client


def leftovers(folder):
    return [name for part in ("drafts", "trash") for name in os.listdir(folder / part)]


class TestFilesystem(ObjectStoreContract):
    @pytest.fixture
    def store(self, store):
        return store

    @pytest.fixture
    def http(self, http):
        return http


class TestDownloads:
    @pytest.fixture
    async def url(self, store):
        await ObjectStoreContract().stored(store, KEY, LAST)
        return await store.presign_get(KEY, filename="a.html", content_type="text/html", expires_in=HOUR)

    async def test_a_browser_never_runs_or_guesses_what_it_gets(self, http, url):
        headers = (await http.get(url)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("sandbox")
        assert headers["content-disposition"] == "attachment; filename*=UTF-8''a.html"

    async def test_if_range_of_another_object_is_answered_with_the_whole(self, http, url):
        answer = await http.get(url, headers={"Range": "bytes=5-", "If-Range": '"other"'})
        assert (answer.status_code, answer.content) == (200, LAST)
        etag = answer.headers["etag"]
        answer = await http.get(url, headers={"Range": "bytes=5-", "If-Range": etag})
        assert (answer.status_code, answer.content) == (206, LAST[5:])
        assert (await http.get(url, headers={"If-Match": '"other"'})).status_code == 412
        assert (await http.get(url, headers={"If-None-Match": f'"other", {etag}'})).status_code == 304

    @pytest.mark.parametrize("asked", ["bytes=0-1,5-9", "bytes=9-5", "bytes=-", "lines=1-2", "bytes=x-"])
    async def test_a_range_that_is_none_is_ignored(self, http, url, asked):
        answer = await http.get(url, headers={"Range": asked})
        assert (answer.status_code, answer.content) == (200, LAST)


class TestTrouble:
    @pytest.fixture
    async def upload(self, store):
        return await store.create(KEY, content_type="text/plain")

    async def test_what_is_refused_is_a_whole_problem(self, store, http, upload):
        (url,) = await store.presign_parts(upload, [Part(1, len(LAST))], expires_in=HOUR)
        short, changed = await put(http, url, LAST[:-1]), await http.put(url.url + "0", content=LAST)
        said = problem(short, 400, "malformed")["detail"]
        assert f"{len(LAST)} bytes" in said and f"{len(LAST) - 1} came" in said
        problem(changed, 403, "forbidden")

    async def test_a_client_that_stalls_is_told_and_leaves_nothing(self, store, http, upload, tmp_path):
        async def slow():
            yield LAST[:100]
            await asyncio.sleep(30)

        (url,) = await store.presign_parts(upload, [Part(1, len(LAST))], expires_in=HOUR)
        assert (await http.put(url.url, content=slow())).status_code == 408
        assert leftovers(tmp_path) == []
        assert (await put(http, url, LAST)).status_code == 200

    async def test_a_full_disk_is_507_and_heals(self, store, http, upload, tmp_path):
        """The kernel's own refusal: a file may not grow beyond a limit that is lifted again."""
        (url,) = await store.presign_parts(upload, [Part(1, len(FIRST))], expires_in=HOUR)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024 * 1024, hard))
        try:
            assert (await put(http, url, FIRST)).status_code == 507
            with pytest.raises(StorageFull):
                await store.put_part(upload, Part(1, len(FIRST)), in_blocks(FIRST))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert leftovers(tmp_path) == []
        assert await store.list_parts(upload) == []
        assert (await put(http, url, FIRST)).status_code == 200

    async def test_the_reserve_is_left_to_the_database(self, store, upload, tmp_path):
        disk = os.statvfs(tmp_path)
        store.shelf.reserve = disk.f_blocks * disk.f_frsize
        with pytest.raises(StorageFull):
            await store.put_part(upload, Part(1, 4), in_blocks(b"late"))
        store.shelf.reserve = 0
        assert (await store.put_part(upload, Part(1, 4), in_blocks(b"late"))).size == 4

    async def test_what_is_stored_outlives_the_process(self, store, upload, tmp_path):
        part = await store.put_part(upload, Part(1, len(LAST)), in_blocks(LAST))
        other = FilesystemObjects(tmp_path, key=b"k" * 32, base_url="http://store", clock=SystemClock(), reserve=0)
        try:
            assert await other.list_parts(upload) == [part]
            await other.complete(upload, [part])
        finally:
            other.close()
        assert await store.sha256(KEY) == sha256(LAST)

    async def test_a_part_in_flight_while_the_upload_completes_changes_nothing(self, store, upload, tmp_path):
        part, under_way, completed = Part(1, len(LAST)), asyncio.Event(), asyncio.Event()
        stored = await store.put_part(upload, part, in_blocks(LAST))

        async def late():
            under_way.set()
            await completed.wait()
            yield LAST[::-1]

        flying = asyncio.create_task(store.put_part(upload, part, late()))
        await under_way.wait()
        await store.complete(upload, [stored])
        completed.set()
        assert type((await asyncio.gather(flying, return_exceptions=True))[0]).__name__ == "NotFound"
        assert await store.sha256(KEY) == sha256(LAST)
        assert leftovers(tmp_path) == []

    async def test_stale_uploads_and_what_dead_processes_wrote_are_discarded(self, store, upload, tmp_path):
        now = store.clock.now()
        (tmp_path / "drafts" / "abandoned").write_bytes(b"half")
        assert await store.discard_stale(now - HOUR) == 0
        assert len(os.listdir(tmp_path / "drafts")) == 1
        assert await store.discard_stale(now + timedelta(seconds=5)) == 1
        assert os.listdir(tmp_path / "uploads") == leftovers(tmp_path) == []

    async def test_of_two_files_of_one_part_the_newer_counts(self, store, upload, tmp_path):
        """Who replaced it died before the older was removed."""
        older = await store.put_part(upload, Part(1, len(LAST)), in_blocks(LAST))
        folder = tmp_path / "uploads" / upload.upload_id
        kept = (folder / f"00001-{older.etag}").read_bytes()
        newer = await store.put_part(upload, Part(1, len(LAST)), in_blocks(LAST[::-1]))
        (folder / f"00001-{older.etag}").write_bytes(kept)
        os.utime(folder / f"00001-{older.etag}", (1, 1))
        assert await store.list_parts(upload) == [newer]
        with pytest.raises(Conflict):
            await store.complete(upload, [older, newer])
        await store.complete(upload, [newer])
        assert await store.sha256(KEY) == sha256(LAST[::-1])

    @pytest.mark.parametrize("key", ["acme/files/x?expires=1", "acme/files/x#y", "acme/files/%2e", "acme/files/\n"])
    async def test_no_url_is_signed_for_a_name_in_which_something_can_hide(self, store, key):
        with pytest.raises(Invalid):
            await store.presign_get(key, filename="a", content_type="a/b", expires_in=HOUR)

    async def test_an_object_that_goes_while_it_is_sent_ends_the_answer_that_has_begun(self, store, upload):
        whole = FIRST + LAST
        parts = [
            await store.put_part(upload, Part(1, len(FIRST)), in_blocks(FIRST)),
            await store.put_part(upload, Part(2, len(LAST)), in_blocks(LAST)),
        ]
        await store.complete(upload, parts)
        url = httpx.URL(await store.presign_get(KEY, filename="a", content_type="a/b", expires_in=HOUR))
        sent = []

        async def send(message):
            sent.append(message)
            await store.delete(KEY)

        scope = {"type": "http", "method": "GET", "path": url.path, "raw_path": url.raw_path.partition(b"?")[0],
                 "query_string": url.query, "headers": []}  # fmt: skip
        await ObjectsEndpoint(store)(scope, None, send)
        assert [one["type"] for one in sent].count("http.response.start") == 1
        assert sum(len(one.get("body", b"")) for one in sent) < len(whole)

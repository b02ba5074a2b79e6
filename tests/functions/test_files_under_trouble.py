"""
Whichever call to a port fails, or whenever the process dies, a repeat ends as a run without trouble: one file, one
object, one verdict, nothing left over (B1 to B4, B8; "kill -9 between store-complete and table-update").

The n-th call fails for n = 1, 2, 3 … until there are no more calls: before it was made, unanswered with effect, or the
process dies at it. The object store is the real one of the embedded mode.
"""

import asyncio
import hashlib
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events import CATALOGUE, FileCompleteRequested, FileInitiateRequested, TimerTicked, from_cloudevent
from functions.complete_upload import func as complete_upload
from functions.files import func as files
from functions.initiate_upload import func as initiate_upload
from functions.reap import func as reap
from functions.redrive import func as redrive
from functions.verify_upload import func as verify_upload
from shared.adapters.filesystem.objects import FilesystemObjects
from shared.adapters.local.scanner import NoScanner
from shared.adapters.memory.cache import MemoryCache
from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.ids import CountedIds
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.adapters.memory.tables import Fault, MemoryTables
from shared.domain.conversation import Conversation
from shared.domain.errors import ChecksumMismatch, Conflict, Invalid, NotFound, Unavailable
from shared.domain.file import GRACE, State
from shared.observability import metrics
from shared.ports import Ports
from shared.ports.scanner import Infected, NotScanned
from shared.repositories.blobs import Blobs
from shared.repositories.conversations import Conversations
from shared.repositories.file_schema import BLOB_FILES, BLOBS, FILE_CHUNKS, FILE_HOLDERS, FILES, OPEN_UPLOADS
from shared.repositories.files import Files, upload_of
from shared.repositories.tenants import Tenants
from shared.repositories.uploads import Uploads
from shared.runtime.wiring import read
from shared.testing.build import an_event
from shared.testing.contracts.object_store import in_blocks
from shared.testing.trouble import Died
from shared.ticks import AT_ONCE

TENANT, CONTENT = "acme", b"what is in the file" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Trouble(Enum):
    UNREACHED = Fault.UNREACHED
    LOST_ANSWER = Fault.LOST_ANSWER
    DEATH = None


class Failing:
    """A port whose calls may fail, as the house says."""

    def __init__(self, house, port):
        self._house, self._port = house, port

    def __getattr__(self, name):
        called = getattr(self._port, name)
        if name == "stream":
            return self._streamed(called)

        async def call(*args, **kwargs):
            fault = self._house.next_call(name, None)
            if fault is Fault.UNREACHED:
                raise Unavailable(f"{name} was not reached")
            done = await called(*args, **kwargs)
            if fault is Fault.LOST_ANSWER:
                raise Unavailable(f"{name} was not answered")
            return done

        return call

    def _streamed(self, called):
        @asynccontextmanager
        async def stream(*args, **kwargs):
            if self._house.next_call("stream", None) is not None:
                raise Unavailable("stream")
            async with called(*args, **kwargs) as blocks:
                yield blocks

        return stream


@dataclass
class House:
    store: FilesystemObjects
    clock: SettableClock
    calls: int = 0
    failing: tuple[int, Trouble] | None = None
    scanner: object = field(default_factory=NoScanner)

    def __post_init__(self):
        self.log = MemoryRecordLog()
        self.tables = MemoryTables(self.clock, fault=self.next_call)
        self.quiet = self.tables.quiet()
        unused = dict.fromkeys(Ports.__dataclass_fields__)
        self.ports = Ports(**unused | {
            "clock": self.clock, "ids": CountedIds(), "tables": self.tables, "sink": Failing(self, self.log),
            "log": self.log, "cache": MemoryCache(), "objects": Failing(self, self.store), "scanner": self.scanner,
        })  # fmt: skip
        self.calm = replace(self.ports, tables=self.quiet, sink=self.log, objects=self.store)

    def next_call(self, method, table):
        if self.failing is None:
            return None
        self.calls += 1
        n, trouble = self.failing
        if trouble is Trouble.DEATH and self.calls >= n:
            raise Died
        return trouble.value if self.calls == n else None

    async def settle(self):
        await Tenants(self.quiet, self.clock).create(TENANT)
        conversation = Conversation(
            conversation_id="c1", type="private", created_at=self.clock.now(), created_by="ana", metadata={}
        )
        await Conversations(self.quiet, self.clock).create(TENANT, conversation, ("ana", "bia"))

    async def uploaded(self, file_id="f1", content=CONTENT):
        asked = FileInitiateRequested(
            conversation_id="c1", filename="a.txt", content_type="text/plain", size=len(content), sender="ana"
        )
        file = (await initiate_upload.new(self.calm).initiate(TENANT, asked, file_id=file_id)).file
        await self.store.put_part(upload_of(TENANT, file), file.part(1), in_blocks(content))
        return file

    async def complete(self, ports=None, file_id="f1", checksum=SHA256):
        function = complete_upload.new(ports or self.calm)
        asked = FileCompleteRequested(file_id=file_id, checksum=checksum)
        return await function.complete(TENANT, asked, traceparent=None)

    async def troubled(self, n, trouble, work):
        """Run it with the n-th call failing; whether there was an n-th call."""
        self.calls, self.failing = 0, (n, trouble)
        try:
            with suppress(Unavailable, Died):
                await work(self.ports)
            return self.calls >= n
        finally:
            self.failing = None

    async def come_what_was_promised(self):
        """Time passes and redrive wakes what is due; verify-upload gets what its Trigger brings."""
        self.clock.advance(complete_upload.LEASE + timedelta(minutes=1))
        before = len(self.log.records)
        await redrive.new(self.calm).handle(an_event(TimerTicked(name="redrive")))
        for record in self.log.records[before:]:
            if record.event.attributes.get("verification") == "needed":
                await verify_upload.new(self.calm).handle(from_cloudevent(record.event, CATALOGUE))

    async def file(self, file_id="f1"):
        return await files.new(self.calm).files.find(TENANT, file_id)

    async def reap(self, after=timedelta(0)):
        self.clock.advance(after)
        await reap.new(self.calm).handle(an_event(TimerTicked(name="reap")))

    def told(self, kind):
        return {
            one.event.attributes["id"]
            for one in self.log.records
            if one.event.attributes["type"].endswith(f"{kind}.v1")
        }

    def objects(self):
        return sum(len(names) for _, names, _ in os.walk(self.store.shelf._objects)) - len(
            os.listdir(self.store.shelf._objects)
        )

    def uploads(self):
        return len(os.listdir(self.store.shelf._uploads))

    async def check_one_good_file(self):
        file = await self.file()
        assert (file.state, file.checksum) == (State.READY, SHA256)
        assert await self.store.sha256(file.object_key) == SHA256
        assert (self.objects(), self.uploads()) == (1, 0)
        assert len(self.told("file.ready")) == 1
        assert self.told("file.rejected") == set()
        assert list(self.quiet.rows(OPEN_UPLOADS)) == list(self.quiet.rows(FILE_CHUNKS)) == []
        assert [row["conversation_id"] for row in self.quiet.rows(FILE_HOLDERS)] == ["c1"]
        assert len(list(self.quiet.rows(BLOB_FILES))) == 1


@pytest.fixture
async def new_house(tmp_path):
    opened = []

    async def make(**more):
        clock = SettableClock()
        folder = tmp_path / str(len(opened))
        store = FilesystemObjects(folder, key=b"k", base_url="http://store", clock=clock, reserve=0)
        opened.append(store)
        house = House(store, clock, **more)
        await house.settle()
        return house

    yield make
    for store in opened:
        store.close()


@pytest.mark.parametrize("trouble", list(Trouble))
async def test_whoever_completes_may_die_anywhere_and_a_repeat_ends_well(new_house, trouble):
    for n in range(1, 200):
        house = await new_house()
        await house.uploaded()
        was_one = await house.troubled(n, trouble, house.complete)
        await house.complete()
        await house.come_what_was_promised()
        await house.check_one_good_file()
        if not was_one:
            assert n > 10
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("trouble", list(Trouble))
async def test_what_was_begun_to_be_verified_gets_its_verdict_though_nobody_asks_again(new_house, trouble):
    for n in range(1, 200):
        house = await new_house()
        await house.uploaded()
        was_one = await house.troubled(n, trouble, house.complete)
        await house.come_what_was_promised()
        assert (await house.file()).state in (State.UPLOADING, State.INITIATED, State.READY)
        if (await house.file()).state is State.READY:
            await house.reap()
            await house.check_one_good_file()
        if not was_one:
            assert (await house.file()).state is State.READY
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("trouble", list(Trouble))
async def test_a_second_file_of_the_same_bytes_leaves_one_object_whatever_happens(new_house, trouble):
    for n in range(1, 200):
        house = await new_house()
        await house.uploaded("f0")
        await house.complete(file_id="f0")
        await house.uploaded()
        was_one = await house.troubled(n, trouble, house.complete)
        await house.complete()
        await house.come_what_was_promised()
        first, second = await house.file("f0"), await house.file()
        assert first.object_key == second.object_key
        assert (house.objects(), house.uploads()) == (1, 0)
        assert len(list(house.quiet.rows(BLOB_FILES))) == 2
        if not was_one:
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("trouble", list(Trouble))
async def test_an_announcement_that_is_repeated_is_one_upload(new_house, trouble):
    asked = FileInitiateRequested(
        conversation_id="c1", filename="a.txt", content_type="text/plain", size=len(CONTENT), sender="ana"
    )

    async def initiate(ports):
        await initiate_upload.new(ports).initiate(TENANT, asked, file_id="f1")

    for n in range(1, 100):
        house = await new_house()
        was_one = await house.troubled(n, trouble, initiate)
        file = await house.uploaded()
        assert len(list(house.quiet.rows(OPEN_UPLOADS))) == 1
        await house.complete()
        assert (await house.file()).checksum == SHA256
        if not was_one:
            assert file.upload_id is not None
            return
    raise AssertionError("it never ends")


@pytest.mark.parametrize("trouble", list(Trouble))
async def test_what_is_removed_is_gone_after_the_grace_period_whatever_happened(new_house, trouble):
    async def remove(ports):
        await files.new(ports).remove(TENANT, "f1", "ana")

    for n in range(1, 100):
        house = await new_house()
        await house.uploaded()
        await house.complete()
        was_one = await house.troubled(n, trouble, remove)
        await remove(house.calm)
        with pytest.raises(NotFound):
            await house.file()
        assert list(house.quiet.rows(FILE_HOLDERS)) == []
        await house.reap()
        assert house.objects() == 1
        await house.reap(GRACE + timedelta(minutes=1))
        await house.reap(GRACE + timedelta(minutes=1))
        assert house.objects() == 0
        assert list(house.quiet.rows(BLOBS)) == []
        if not was_one:
            return
    raise AssertionError("it never ends")


async def test_bytes_that_are_wanted_again_in_the_grace_period_stay(new_house):
    house = await new_house()
    await house.uploaded()
    await house.complete()
    await files.new(house.calm).remove(TENANT, "f1", "ana")
    await house.reap(GRACE - timedelta(minutes=1))
    await house.uploaded("f2")
    await house.complete(file_id="f2")
    await house.reap(GRACE)
    assert await house.store.sha256((await house.file("f2")).object_key) == SHA256
    assert house.objects() == 1


async def test_an_upload_that_nobody_finishes_is_aborted_after_a_week_and_frees_its_place(new_house):
    house = await new_house()
    file = await house.uploaded()
    await house.reap(timedelta(days=6))
    assert (await house.file()).state is State.INITIATED
    await house.reap(timedelta(days=2))
    assert (await house.file()).state is State.ABORTED
    assert list(house.quiet.rows(OPEN_UPLOADS)) == []
    assert house.uploads() == 0
    with pytest.raises(NotFound):
        await house.store.list_parts(upload_of(TENANT, file))


async def test_an_orphan_in_the_store_is_discarded_when_no_upload_can_be_so_old(new_house):
    house = await new_house()
    await house.store.create("acme/files/nobody", content_type="text/plain")
    await house.reap(timedelta(days=7))
    assert house.uploads() == 1
    await house.reap(timedelta(days=2))
    assert house.uploads() == 0


async def test_an_upload_that_the_store_forgot_begins_anew(new_house):
    house = await new_house()
    file = await house.uploaded()
    await house.store.abort(upload_of(TENANT, file))
    progress = await files.new(house.calm).status(TENANT, "f1", "ana")
    assert [number for number, _ in progress.missing] == [1]
    again = await house.file()
    assert again.upload_id != file.upload_id
    await house.store.put_part(upload_of(TENANT, again), again.part(1), in_blocks(CONTENT))
    assert (await house.complete()).state is State.READY


class Finds:
    def __init__(self, finding):
        self.finding = finding

    async def scan(self, blocks):
        assert b"".join([block async for block in blocks]) == CONTENT
        if self.finding is None:
            raise Unavailable("the scanner is busy")
        return self.finding


@pytest.mark.parametrize(
    ("finding", "reason"), [(Infected("Eicar-Signature"), "infected"), (NotScanned("too long"), "not_scanned")]
)
async def test_what_the_scanner_finds_is_rejected_and_its_bytes_go(new_house, finding, reason):
    house = await new_house(scanner=Finds(finding))
    await house.uploaded()
    for _ in range(2):
        with pytest.raises(Exception, match=reason) as refused:
            await house.complete()
        assert refused.value.status == 422
    assert (await house.file()).reason == reason
    assert (house.objects(), house.uploads()) == (0, 0)
    assert len(house.told("file.rejected")) == 1


async def test_a_scanner_that_is_busy_leaves_the_file_verifying_until_it_is_not(new_house):
    scanner = Finds(None)
    house = await new_house(scanner=scanner)
    await house.uploaded()
    assert (await house.complete()).state is State.VERIFYING
    scanner.finding = Infected("Eicar-Signature")
    await house.come_what_was_promised()
    assert (await house.file()).state is State.REJECTED


async def test_bytes_of_another_checksum_go_and_the_same_claim_is_answered_the_same(new_house):
    house = await new_house()
    await house.uploaded()
    for _ in range(2):
        with pytest.raises(ChecksumMismatch):
            await house.complete(checksum="0" * 64)
    assert (house.objects(), house.uploads()) == (0, 0)


async def test_a_part_that_is_replaced_after_it_was_counted_lets_the_upload_go_on(new_house):
    house = await new_house()
    file = await house.uploaded()
    listed = house.store.list_parts

    async def replaced_meanwhile(upload):
        parts = await listed(upload)
        await house.store.put_part(upload, file.part(1), in_blocks(CONTENT[::-1]))
        return parts

    house.store.list_parts = replaced_meanwhile
    with pytest.raises(Exception, match="other bytes by now"):
        await house.complete()
    house.store.list_parts = listed
    assert (await house.file()).state is State.UPLOADING
    await house.store.put_part(upload_of(TENANT, file), file.part(1), in_blocks(CONTENT))
    assert (await house.complete()).state is State.READY
    await house.check_one_good_file()


async def test_an_upload_that_goes_on_has_its_place_among_the_open_ones_again(new_house):
    house = await new_house()
    file = await house.uploaded()
    completed = house.store.complete

    async def replaced_meanwhile(upload, parts):
        await house.store.put_part(upload, file.part(1), in_blocks(CONTENT[::-1]))
        return await completed(upload, parts)

    house.store.complete = replaced_meanwhile
    with pytest.raises(Conflict):
        await house.complete()
    assert (await house.file()).state is State.UPLOADING
    assert [row["file_id"] for row in house.quiet.rows(OPEN_UPLOADS)] == ["f1"]


async def test_a_file_that_is_removed_while_it_is_verified_leaves_the_bytes_to_who_shares_them(new_house):
    """f1 dies after it shared its bytes and before it is ready; f2 has the same bytes, and is ready with those."""
    house = await new_house()
    await house.uploaded()
    change = Files.change

    async def dies_at_the_verdict(self, tenant, file, **changes):
        if changes.get("state") is State.READY:
            raise Died
        return await change(self, tenant, file, **changes)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Files, "change", dies_at_the_verdict)
        with suppress(Died):
            await house.complete()
    assert (await house.file()).state is State.VERIFYING
    await house.uploaded("f2")
    await house.complete(file_id="f2")
    await files.new(house.calm).remove(TENANT, "f1", "ana")
    assert await house.store.sha256((await house.file("f2")).object_key) == SHA256
    await house.reap(GRACE + timedelta(minutes=1))
    assert await house.store.sha256((await house.file("f2")).object_key) == SHA256


async def test_bytes_in_common_are_given_back_when_the_file_is_not_made(new_house):
    house = await new_house()
    await house.uploaded("f0")
    await house.complete(file_id="f0")
    asked = FileInitiateRequested(
        conversation_id="c1", filename="b.txt", content_type="text/plain", size=len(CONTENT), sender="ana",
        checksum=SHA256,
    )  # fmt: skip

    async def initiate(ports):
        await initiate_upload.new(ports).initiate(TENANT, asked)

    create = Files.create

    async def not_made(self, tenant, file):
        raise Unavailable("create was not reached")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Files, "create", not_made)
        with suppress(Unavailable):
            await initiate(house.calm)
    assert len(list(house.quiet.rows(BLOB_FILES))) == len(list(house.quiet.rows(FILE_HOLDERS))) == 1

    async def not_answered(self, tenant, file):
        await create(self, tenant, file)
        raise Unavailable("create was not answered")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Files, "create", not_answered)
        with suppress(Unavailable):
            await initiate(house.calm)
    assert len(list(house.quiet.rows(BLOB_FILES))) == len(list(house.quiet.rows(FILE_HOLDERS))) == 2


async def test_a_chunk_that_comes_while_the_upload_ends_is_not_kept(new_house):
    house = await new_house()
    await house.uploaded(content=CONTENT)
    desk = files.new(house.calm)
    put = house.store.put

    async def aborted_meanwhile(*args, **kwargs):
        stored = await put(*args, **kwargs)
        await files.new(house.calm).remove(TENANT, "f3", "ana")
        return stored

    asked = FileInitiateRequested(
        conversation_id="c1", filename="c.txt", content_type="text/plain", size=len(CONTENT), sender="ana"
    )
    await initiate_upload.new(house.calm).initiate(TENANT, asked, file_id="f3")
    house.store.put = aborted_meanwhile
    with pytest.raises(Conflict, match="aborted"):
        await desk.append(TENANT, "f3", "ana", 0, 5, in_blocks(CONTENT[:5]))
    assert list(house.quiet.rows(FILE_CHUNKS)) == []
    assert house.objects() == 0


async def test_one_tenant_that_cannot_be_reaped_does_not_stop_the_others(new_house):
    house = await new_house()
    await house.uploaded()
    await Tenants(house.quiet, house.clock).create("aaa")
    function = reap.new(house.calm)
    opened = Uploads.open

    async def not_of_aaa(self, tenant, **more):
        if tenant == "aaa":
            raise Unavailable("aaa is away")
        return await opened(self, tenant, **more)

    house.clock.advance(timedelta(days=8))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Uploads, "open", not_of_aaa)
        with pytest.raises(Unavailable, match="aaa is away"):
            await function.handle(an_event(TimerTicked(name="reap")))
    assert (await house.file()).state is State.ABORTED


async def test_reap_looks_at_many_tenants_at_a_time_and_ends_when_its_time_is_up(new_house, monkeypatch):
    """One after the other ten thousand tenants took longer than the Trigger waits, each time as far as the last."""
    house = await new_house()
    names = [f"t{number:03}" for number in range(120)]
    for name in names:
        await Tenants(house.quiet, house.clock).create(name)
    looked, under_way, most = [], 0, 0

    async def slowly(self, tenant, **more):
        nonlocal under_way, most
        looked.append(tenant)
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        if len(looked) > 60:
            house.clock.advance(reap.BUDGET)
        return []

    monkeypatch.setattr(Uploads, "open", slowly)
    await house.reap()
    first = list(looked)
    assert len(set(first)) == len(first) and 60 < len(first) < 120
    assert 1 < most <= AT_ONCE
    looked.clear()
    await house.reap(timedelta(minutes=10))
    assert looked[0] != first[0]
    assert set(looked) - set(first)


async def test_a_tenant_with_much_to_do_is_gone_on_with_by_the_next_tick(new_house):
    """A hundred thousand files deleted at once made every tick fail, though each got on: it was repeated and parked."""
    house = await new_house()
    for n in range(4):
        await house.uploaded(f"f{n}")
    blobs = Blobs(house.quiet, house.store, house.clock)
    for n in range(3):
        await blobs.share(TENANT, f"{n:064x}", "f", f"acme/files/{n}")
        await blobs.release(TENANT, f"{n:064x}", "f")

    def slow(work):
        async def takes_half_of_the_time(*args):
            house.clock.advance(reap.BUDGET / 2)
            return await work(*args)

        return takes_half_of_the_time

    house.store.abort, house.store.delete = slow(house.store.abort), slow(house.store.delete)
    house.clock.advance(timedelta(days=8))
    left = []
    for _ in range(4):
        await house.reap(timedelta(minutes=10))
        left.append((len(house.quiet.rows(OPEN_UPLOADS)), len(house.quiet.rows(BLOBS))))
        assert metrics.uploads_open._value.get() == left[-1][0]
    assert left == [(2, 3), (0, 3), (0, 1), (0, 0)]


async def test_orphans_are_discarded_though_a_tenant_takes_all_the_time(new_house, monkeypatch):
    house = await new_house()
    monkeypatch.setattr(reap, "BUDGET", timedelta(milliseconds=20))
    monkeypatch.setattr(reap, "UNDER_WAY", timedelta(milliseconds=30))
    discarded = []

    async def never(self, tenant, **more):
        await asyncio.sleep(60)

    async def discard_stale(before):
        await asyncio.sleep(0)
        discarded.append(before)
        raise Unavailable("the store is away")

    monkeypatch.setattr(Uploads, "open", never)
    house.store.discard_stale = discard_stale
    with pytest.raises(Unavailable, match="the store is away"):  # the first of what failed
        await house.reap()
    assert len(discarded) == 1


async def test_orphans_are_looked_for_once_an_hour(new_house):
    """For them alone the store's client is imported, half a second of CPU at each start from zero."""
    house = await new_house()
    (timer,) = (timer for timer in read().timers if timer.name == "reap")
    looked = []

    async def discard_stale(before):
        looked.append(before)

    house.store.discard_stale = discard_stale
    house.clock.advance(timedelta(minutes=3))  # a tick may come late
    for _ in range(0, 24 * 60 * 60, int(timer.every)):
        await house.reap()
        house.clock.advance(timer.every)
    assert len(looked) == 24


@given(tenants=st.integers(1, 3_000), first=st.integers(29_000_000, 31_000_000))
@example(tenants=7_919, first=29_700_000)
@example(tenants=15_838, first=29_700_000)
@example(tenants=8_798, first=29_700_000)
@example(tenants=9_898, first=29_700_000)
@example(tenants=11_312, first=29_700_000)
def test_where_a_tick_has_time_for_a_third_every_tenant_has_its_turn_within_hours(tenants, first):
    names = range(tenants)
    unseen = set(names)
    for minute in range(first, first + 4 * 60, 10):
        unseen.difference_update(reap.in_turn(names, minute)[: max(1, tenants * 3 // 10)])
        if not unseen:
            return
    raise AssertionError(f"{len(unseen)} have waited for hours")


async def test_a_file_id_that_is_no_uuid_makes_no_file(new_house):
    house = await new_house()
    asked = FileInitiateRequested(
        conversation_id="c1", filename="a.txt", content_type="text/plain", size=1, sender="ana",
        file_id="x?expires=9999999999",
    )  # fmt: skip
    with pytest.raises(Invalid):
        await initiate_upload.new(house.calm).handle(an_event(asked))
    assert list(house.quiet.rows(FILES)) == []


async def test_an_old_doomed_blob_is_buried_though_many_younger_ones_stand_before_it(new_house):
    house = await new_house()
    blobs = Blobs(house.quiet, house.store, house.clock)

    async def doom(n):
        await blobs.share(TENANT, f"{n:064x}", "f", f"acme/files/{n}")
        await blobs.release(TENANT, f"{n:064x}", "f")

    await doom(500)
    house.clock.advance(GRACE)
    for n in range(500):
        await doom(n)
    await house.reap(timedelta(minutes=1))
    assert [row["checksum"] for row in house.quiet.rows(BLOBS)] == [f"{n:064x}" for n in range(500)]


async def test_a_large_file_is_promised_once_however_often_it_is_completed(new_house, monkeypatch):
    monkeypatch.setattr(complete_upload, "SMALL", 10)
    house = await new_house()
    await house.uploaded()
    for _ in range(3):
        assert (await house.complete()).state is State.VERIFYING
    kinds = [record.event.attributes["type"] for record in house.log.records]
    assert kinds.count("chat4all.file.completed.v1") == 1
    house.clock.advance(timedelta(minutes=7))
    await house.come_what_was_promised()  # ten minutes: as long as a verification may take
    assert (await house.file()).state is State.VERIFYING
    await house.come_what_was_promised()
    await house.check_one_good_file()


async def test_a_file_that_is_removed_while_it_is_scanned_leaves_nothing(new_house):
    class Removed:
        async def scan(self, blocks):
            await files.new(house.calm).remove(TENANT, "f1", "ana")
            return await NoScanner().scan(blocks)

    house = await new_house()
    await house.uploaded("f0")
    await house.complete(file_id="f0")
    await house.uploaded()
    removed_meanwhile = replace(house.calm, scanner=Removed())
    with pytest.raises(NotFound):
        await house.complete(removed_meanwhile)
    assert house.objects() == 1
    assert len(list(house.quiet.rows(BLOB_FILES))) == len(list(house.quiet.rows(FILE_HOLDERS))) == 1

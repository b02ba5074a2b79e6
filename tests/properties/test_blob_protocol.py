"""
Files of the same bytes come and go in many processes at once, some die in the middle, and reap runs all the time
(B8): no file ever points at bytes that are gone, and what nobody uses goes in the end.
"""

from collections import Counter
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.tables import MemoryTables
from shared.domain.errors import Unavailable
from shared.ports.object_store import StoredObject
from shared.repositories.blobs import Blobs
from shared.repositories.file_schema import BLOB_FILES, BLOBS
from shared.testing.schedule import Crashed, Schedule, play
from shared.ticks import Tick

TENANT, CHECKSUM = "acme", "0" * 64


class Store:
    """Objects by key, as far as Blobs asks for them."""

    def __init__(self, checkpoint):
        self.checkpoint, self.kept = checkpoint, set()

    async def stat(self, key):
        await self.checkpoint()
        there = StoredObject(1, "e") if key in self.kept else None
        await self.checkpoint()
        return there

    async def delete(self, key):
        await self.checkpoint()
        self.kept.discard(key)
        await self.checkpoint()


class House:
    """Each file is one process: it shares its bytes, is there for a while, and is removed or not."""

    def __init__(self, choices):
        self.schedule = Schedule(choices)
        self.clock = SettableClock()
        self.tables = MemoryTables(self.clock, checkpoint=self.schedule.checkpoint)
        self.store = Store(self.schedule.checkpoint)
        self.blobs = Blobs(self.tables, self.store, self.clock)
        self.pointing = {}
        self.seen = Counter()

    async def file(self, name, *, removed):
        own = f"acme/files/{name}"
        self.store.kept.add(own)
        key = None
        while key is None:
            try:
                key = await self.blobs.share(TENANT, CHECKSUM, name, own)
            except Unavailable:
                self.seen["busy"] += 1
        self.pointing[name] = key
        self.check()
        if key != own:
            await self.store.delete(own)
        if removed:
            del self.pointing[name]
            await self.blobs.release(TENANT, CHECKSUM, name)

    async def reap(self):
        self.clock.advance(timedelta(seconds=1))
        before = self.clock.now() + timedelta(days=1)
        self.seen["buried"] += await self.blobs.bury(TENANT, before, Tick(self.clock))
        self.check()

    def check(self):
        for name, key in self.pointing.items():
            assert key in self.store.kept, f"the bytes of {name} are gone"


@settings(deadline=None)
@given(choices=st.binary(max_size=300), removed=st.lists(st.booleans(), min_size=2, max_size=5), dies=st.booleans())
def test_no_file_points_at_bytes_that_are_gone_and_unused_ones_go(choices, removed, dies):
    async def story():
        house = House(choices)
        work = [house.schedule.start(f"f{n}", house.file(f"f{n}", removed=gone)) for n, gone in enumerate(removed)]
        work += [house.schedule.start(f"reap{n}", house.reap()) for n in range(4)]
        if dies:
            house.schedule.start("killer", _kill(house.schedule))
        await house.schedule.until_idle()
        for outcome in work:
            if not isinstance(outcome.exception(), Crashed):
                outcome.result()
        house.check()
        house.schedule.close()
        if not dies:
            for _ in range(3):
                await house.reap()
            kept = set(house.pointing.values())
            assert house.store.kept == kept
            assert len(house.tables.rows(BLOBS)) == len(kept) <= 1
            assert {row["file_id"] for row in house.tables.rows(BLOB_FILES)} == set(house.pointing)

    play(story)


async def _kill(schedule):
    await schedule.checkpoint()
    schedule.crash("f0")

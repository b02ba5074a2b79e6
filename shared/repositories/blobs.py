"""
The bytes that files of one tenant share (B8), and when they go.

A file puts its reference first and looks at the blob afterwards; who takes the last reference away dooms the blob
after it. Whichever came first, either the blob is seen doomed and is revived by compare-and-set, or the reaper finds
the reference when the grace period is over. Nobody is told that bytes were here before (reliability.md 2.5).
"""

from dataclasses import dataclass
from datetime import datetime

from shared.domain.errors import Unavailable
from shared.ports import Clock, ObjectStore, Tables
from shared.ports.tables import Put, Row
from shared.repositories.file_schema import BLOB_FILES, BLOBS, DOOMED_BLOBS
from shared.ticks import Tick

_LIVE, _DOOMED, _GOING = "live", "doomed", "going"
_ATTEMPTS = 5
_PAGE = 500


@dataclass(frozen=True, slots=True)
class Blobs:
    tables: Tables
    objects: ObjectStore
    clock: Clock

    async def share(self, tenant: str, checksum: str, file_id: str, own_key: str) -> str:
        """
        Where the bytes with this checksum are to be found from now on: ``own_key``, or where they were already.

        Raises:
            Unavailable: the blob is being removed or changed this moment.
        """
        reference: Row = {"tenant": tenant, "checksum": checksum, "file_id": file_id, "at": self.clock.now()}
        await self.tables.put(Put(BLOB_FILES, reference))
        fresh: Row = {
            "tenant": tenant,
            "checksum": checksum,
            "object_key": own_key,
            "state": _LIVE,
            "doomed_at": None,
            "version": 1,
        }
        for _ in range(_ATTEMPTS):
            there = await self.tables.put_if_absent(BLOBS, fresh)
            if not there:
                return own_key
            (blob,) = there
            key = str(blob["object_key"])
            if blob["state"] == _GOING:
                break
            lost = key != own_key and await self.objects.stat(key) is None
            if blob["state"] == _LIVE and not lost:
                return key
            if await self._change(tenant, blob, state=_LIVE, doomed_at=None, object_key=own_key if lost else key):
                return own_key if lost else key
        raise Unavailable("these bytes are being removed by somebody else this moment; try again")

    async def users(self, tenant: str, checksum: str) -> list[str]:
        """Ids of files that use the bytes; not all of very many."""
        rows = await self.tables.slice(BLOB_FILES, (tenant, checksum), limit=_PAGE)
        return [str(row["file_id"]) for row in rows]

    async def named(self, tenant: str, checksum: str, key: str) -> bool:
        """Whether the bytes with this checksum are to be found there: then only ``bury`` may delete them."""
        blob = await self.tables.get(BLOBS, (tenant, checksum), serial=True)
        return blob is not None and blob["object_key"] == key

    async def release(self, tenant: str, checksum: str, file_id: str) -> None:
        """The file does not use the bytes any more; the last one dooms them. Repeating it is harmless."""
        await self.tables.delete(BLOB_FILES, (tenant, checksum, file_id))
        if await self.users(tenant, checksum):
            return
        now = self.clock.now()
        await self.tables.put(Put(DOOMED_BLOBS, {"tenant": tenant, "checksum": checksum, "since": now}))
        blob = await self.tables.get(BLOBS, (tenant, checksum), serial=True)
        if blob is not None and blob["state"] == _LIVE:
            await self._change(tenant, blob, state=_DOOMED, doomed_at=now)

    async def bury(self, tenant: str, before: datetime, tick: Tick) -> int:
        """Delete the bytes that no file has used since then, as far as ``tick`` has time; how many blobs."""
        buried = 0
        after: str | None = None
        while tick.goes_on and (rows := await self.tables.slice(DOOMED_BLOBS, (tenant,), after=after, limit=_PAGE)):
            for row in rows:
                after, since = str(row["checksum"]), row["since"]
                assert isinstance(since, datetime)
                if since < before and tick.goes_on:
                    buried += await self._bury(tenant, after, before)
        return buried

    async def _bury(self, tenant: str, checksum: str, before: datetime) -> bool:
        blob = await self.tables.get(BLOBS, (tenant, checksum), serial=True)
        if blob is not None and blob["state"] != _GOING:
            if not await self._claimed(tenant, blob, before):
                return False
            blob = await self.tables.get(BLOBS, (tenant, checksum), serial=True)
        if blob is not None:
            if blob["state"] != _GOING:  # somebody else has buried it, and a file has put it anew
                return False
            await self.objects.delete(str(blob["object_key"]))
            if not await self._change(tenant, blob, state=_GOING):  # somebody else buries it too: one removes the row
                return False
            await self.tables.delete(BLOBS, (tenant, checksum))
        await self.tables.delete(DOOMED_BLOBS, (tenant, checksum))
        return blob is not None

    async def _claimed(self, tenant: str, blob: Row, before: datetime) -> bool:
        """Whether the blob is ours to delete: doomed for long enough, and nobody uses it or begins to."""
        checksum, doomed_at = str(blob["checksum"]), blob["doomed_at"]
        if await self.users(tenant, checksum):
            if blob["state"] == _LIVE or await self._change(tenant, blob, state=_LIVE, doomed_at=None):
                await self.tables.delete(DOOMED_BLOBS, (tenant, checksum))
            return False
        if blob["state"] == _LIVE:  # who took the last reference away died before this
            await self._change(tenant, blob, state=_DOOMED, doomed_at=self.clock.now())
            return False
        assert isinstance(doomed_at, datetime)
        return doomed_at < before and await self._change(tenant, blob, state=_GOING)

    async def _change(self, tenant: str, blob: Row, **changes: str | datetime | None) -> bool:
        version = blob["version"]
        assert isinstance(version, int)
        return await self.tables.update_if(
            BLOBS,
            (tenant, blob["checksum"]),
            expected={"version": version},
            changes={**changes, "version": version + 1},
        )

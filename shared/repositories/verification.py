"""
From "all parts are there" to ready or rejected (B4, B8): the object is made, read once for its SHA-256, scanned, and
shared with the tenant's other files of the same bytes.

Every step may be repeated, by another process too: what was done is found done. The verdict is one compare-and-set.
"""

from dataclasses import dataclass
from typing import Any

from events import Event, FileReady, FileRejected, derived_id
from shared.domain.errors import Conflict, NotFound
from shared.domain.file import State
from shared.observability import metrics
from shared.ports import Clock, EventSink, ObjectStore, Ports, Scanner
from shared.ports.scanner import Infected, NotScanned
from shared.repositories.blobs import Blobs
from shared.repositories.files import FileRecord, Files, object_key, upload_of
from shared.repositories.uploads import Uploads


@dataclass(frozen=True, slots=True)
class _Verdict:
    """``reason`` None: ready."""

    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """Shared by who completes small files and who verifies large ones."""

    files: Files
    uploads: Uploads
    blobs: Blobs
    objects: ObjectStore
    scanner: Scanner
    sink: EventSink
    clock: Clock

    async def finish(self, tenant: str, file_id: str, *, source: str, traceparent: str | None) -> FileRecord:
        """
        The file with its verdict, which is told; one that has a verdict is told again, under the same event id.

        Raises:
            NotFound: there is no such file.
            Conflict: a part was replaced while the upload was completed; the upload goes on.
            Unavailable: the store or the scanner cannot answer; it is still verifying.
        """
        file = await self.files.find(tenant, file_id)
        if file.state is State.VERIFYING:
            file = await self._judge(tenant, file)
        if file.state not in (State.READY, State.REJECTED):
            return file
        await self._tidy(tenant, file)
        await self._tell(tenant, file, source, traceparent)
        return file

    async def _judge(self, tenant: str, file: FileRecord) -> FileRecord:
        try:
            verdict = await self._examine(tenant, file)
        except NotFound:
            # Somebody else was faster and has moved the bytes; or the store has lost them, and keeps nothing to judge.
            again = await self.files.find(tenant, file.file_id)
            if again.version != file.version:
                return again
            verdict = _Verdict("lost", "the store does not have the parts any more; upload the file again")
        changes: dict[str, Any]
        if verdict.reason is None:
            assert file.claimed is not None
            own = object_key(tenant, file.file_id)
            key = await self.blobs.share(tenant, file.claimed, file.file_id, own)
            await self.files.hold(tenant, file.file_id, file.conversation_id, file.owner)
            changes = {"state": State.READY, "checksum": file.claimed, "object_key": key}
        else:
            changes = {"state": State.REJECTED, "reason": verdict.reason, "detail": verdict.detail}
        judged = await self.files.change(tenant, file, **changes)
        if judged is None:
            return await self._overtaken(tenant, file)
        metrics.file_verified(judged.state, judged.size)
        return judged

    async def _overtaken(self, tenant: str, file: FileRecord) -> FileRecord:
        """What somebody else made of it meanwhile; of one that was deleted, what we took is given back."""
        try:
            return await self.files.find(tenant, file.file_id)
        except NotFound:
            assert file.claimed is not None
            await self.blobs.release(tenant, file.claimed, file.file_id)
            await self.files.let_go(tenant, file.file_id)
            own = object_key(tenant, file.file_id)
            if not await self.blobs.named(tenant, file.claimed, own):  # made after who deleted the file looked for it
                await self.objects.delete(own)
            raise

    async def _examine(self, tenant: str, file: FileRecord) -> _Verdict:
        key = object_key(tenant, file.file_id)
        try:
            made = await self.objects.complete(upload_of(tenant, file), file.manifest)
        except Conflict:
            await self.uploads.take_place(tenant, file.owner, file.file_id, file.expires_at)
            await self.files.change(tenant, file, state=State.UPLOADING, claimed=None, manifest=())
            raise
        found = await self.objects.sha256(key)
        if (made.size, found) != (file.size, file.claimed):
            return _Verdict("checksum_mismatch", f"the bytes have the SHA-256 {found}, not {file.claimed}")
        async with self.objects.stream(key) as blocks:
            match await self.scanner.scan(blocks):
                case Infected(signature=signature):
                    return _Verdict("infected", signature)
                case NotScanned(why=why):
                    return _Verdict("not_scanned", why)
                case _:
                    return _Verdict()

    async def _tidy(self, tenant: str, file: FileRecord) -> None:
        """Bytes that nobody uses: of a rejected file, or of one whose bytes the tenant had already."""
        own = object_key(tenant, file.file_id)
        checksum = file.checksum or file.claimed
        if file.state is State.REJECTED and checksum is not None:  # another verification of it may have shared them
            await self.blobs.release(tenant, checksum, file.file_id)
        if file.object_key != own and not (checksum and await self.blobs.named(tenant, checksum, own)):
            await self.objects.delete(own)
        await self.uploads.clear(tenant, file)

    async def _tell(self, tenant: str, file: FileRecord, source: str, traceparent: str | None) -> None:
        about: dict[str, Any] = {
            "file_id": file.file_id,
            "conversation_id": file.conversation_id,
            "owner": file.owner,
            "filename": file.filename,
            "content_type": file.content_type,
            "size": file.size,
            "at": file.updated_at,
        }
        data: FileReady | FileRejected
        if file.state is State.READY:
            assert file.checksum is not None
            data = FileReady(**about, checksum=file.checksum)
        else:
            data = FileRejected(**about, reason=file.reason or "", detail=file.detail or "")
        await self.sink.emit(
            Event(
                id=derived_id(data.TYPE, tenant, file.file_id),
                source=source,
                tenant=tenant,
                time=file.updated_at,
                data=data,
                traceparent=traceparent,
            )
        )


def verification(ports: Ports) -> Verification:
    """Over these ports."""
    files = Files(ports.tables, ports.clock)
    return Verification(
        files=files,
        uploads=Uploads(ports.tables, files, ports.objects, ports.clock),
        blobs=Blobs(ports.tables, ports.objects, ports.clock),
        objects=ports.objects,
        scanner=ports.scanner,
        sink=ports.sink,
        clock=ports.clock,
    )

"""
Uploads and objects as folders of files. Everything here blocks.

    drafts/                what is being written
    uploads/<upload id>/   a file for each part that is stored: its number and its ETag, the SHA-256 of its bytes
    objects/ab/<hash>/     an object: the same folder, renamed, with its manifest. No byte is copied to complete it
    trash/                 on its way out

Many processes may work in one folder: what changes an upload or an object holds the lock of its folder.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from secrets import token_hex

import msgspec

from shared.adapters.filesystem.drafts import Draft, sync_folder
from shared.domain.errors import ChecksumMismatch, Conflict, Invalid, NotFound, StorageFull
from shared.ports.object_store import BLOCK, Part, StoredObject, StoredPart, Upload

MANIFEST = "manifest.json"


class Manifest(msgspec.Struct, frozen=True):
    """What an object is made of: names and sizes of its files, in order."""

    key: str
    etag: str
    size: int
    files: tuple[tuple[str, int], ...]


class Shelf:
    def __init__(self, folder: Path, *, reserve: int) -> None:
        """
        Args:
            reserve: bytes of the disk that are left to others.

        Raises:
            OSError: the folder cannot be used.
        """
        self._drafts, self._uploads, self._objects, self._trash = (
            folder / name for name in ("drafts", "uploads", "objects", "trash")
        )
        for one in (self._drafts, self._uploads, self._objects, self._trash):
            one.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.reserve = reserve

    def create(self, key: str, begun: int) -> Upload:
        upload = Upload(key, f"{_digest(key)[:32]}-{begun:x}-{token_hex(8)}")
        (self._uploads / upload.upload_id).mkdir(mode=0o700)
        sync_folder(self._uploads)
        return upload

    def draft(self, size: int) -> Draft:
        """
        Raises:
            StorageFull: there is no room for so many bytes.
        """
        disk = os.statvfs(self._drafts)
        if disk.f_bavail * disk.f_frsize < size + self.reserve:
            raise StorageFull
        return Draft(self._drafts)

    def check_open(self, upload: Upload) -> None:
        """
        Raises:
            NotFound: there is no such upload (any more).
        """
        if not self._folder_of(upload).is_dir():
            raise _no_upload()

    def keep_part(self, upload: Upload, part: Part, draft: Draft) -> StoredPart:
        check_size(draft, part.size)
        if part.sha256 not in (None, draft.sha256):
            raise ChecksumMismatch(f"part {part.part_number} has the SHA-256 {draft.sha256}, not {part.sha256}")
        draft.sync()
        name = f"{part.part_number:05d}-{draft.sha256}"
        with _locked(self._folder_of(upload)) as folder:
            draft.name(folder / name)
            for other in folder.glob(f"{part.part_number:05d}-*"):
                if other.name != name:
                    other.unlink()
            sync_folder(folder)
        return StoredPart(part.part_number, part.size, draft.sha256, draft.sha256)

    def parts(self, upload: Upload) -> list[StoredPart]:
        """The newest of each number: whoever replaced one may have died before the older was removed."""
        found: dict[int, tuple[int, StoredPart]] = {}
        try:
            with os.scandir(self._folder_of(upload)) as entries:
                for entry in entries:
                    number, _, etag = entry.name.partition("-")
                    if etag:
                        with suppress(FileNotFoundError):  # replaced meanwhile: its successor is there
                            about = entry.stat()
                            one = about.st_mtime_ns, StoredPart(int(number), about.st_size, etag, etag)
                            found[int(number)] = max(found.get(int(number), one), one, key=lambda each: each[0])
        except FileNotFoundError:
            raise _no_upload() from None
        return [found[number][1] for number in sorted(found)]

    def complete(self, upload: Upload, parts: Sequence[StoredPart]) -> StoredObject:
        if not parts:
            raise Conflict("an object is made of at least one part")
        if len({part.part_number for part in parts}) < len(parts):
            raise Conflict("an object has one part of each number")
        target = self._object(upload.key)
        try:
            with _locked(self._folder_of(upload)) as folder:
                manifest = self._manifest(upload.key, folder, parts)
                for file in folder.iterdir():
                    if file.name not in dict(manifest.files):
                        file.unlink()
                _write(folder / MANIFEST, msgspec.json.encode(manifest))
                target.parent.mkdir(exist_ok=True, mode=0o700)
                folder.rename(target)
                for changed in (target.parent, self._objects, self._uploads):
                    sync_folder(changed)
        except NotFound:
            made = self.stat(upload.key)
            if made is None:
                raise
            return made
        return StoredObject(manifest.size, manifest.etag)

    def _manifest(self, key: str, folder: Path, parts: Sequence[StoredPart]) -> Manifest:
        files = []
        for part in sorted(parts, key=lambda one: one.part_number):
            name = f"{part.part_number:05d}-{part.etag}"
            try:
                files.append((name, (folder / name).stat().st_size))
            except FileNotFoundError:
                raise Conflict(f"part {part.part_number} is not there, or has other bytes by now") from None
        together = hashlib.sha256(b"".join(bytes.fromhex(part.etag) for part in parts)).hexdigest()
        return Manifest(key, f"{together}-{len(files)}", sum(size for _, size in files), tuple(files))

    def abort(self, upload: Upload) -> None:
        self._discard(self._folder_of(upload))

    def put(self, key: str, size: int, draft: Draft) -> StoredObject:
        check_size(draft, size)
        draft.sync()
        target = self._object(key)
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"whole-{draft.sha256}"
        with _locked(target) as folder:
            draft.name(folder / name)
            _write(folder / MANIFEST, msgspec.json.encode(Manifest(key, draft.sha256, size, ((name, size),))))
            for other in folder.iterdir():
                if other.name not in (name, MANIFEST):
                    other.unlink()
            for changed in (folder, target.parent, self._objects):
                sync_folder(changed)
        return StoredObject(size, draft.sha256)

    def delete(self, key: str) -> None:
        self._discard(self._object(key))

    def stat(self, key: str) -> StoredObject | None:
        try:
            manifest = self.manifest(key)
        except NotFound:
            return None
        return StoredObject(manifest.size, manifest.etag)

    def manifest(self, key: str) -> Manifest:
        """
        Raises:
            NotFound: there is no such object.
        """
        try:
            return msgspec.json.decode((self._object(key) / MANIFEST).read_bytes(), type=Manifest)
        except FileNotFoundError:
            raise NotFound("there is no such object") from None

    def sha256(self, key: str) -> str:
        hashed, block = hashlib.sha256(), memoryview(bytearray(BLOCK))
        for name, _ in self.manifest(key).files:
            with self.open(key, name) as file:
                while read := file.readinto(block):
                    hashed.update(block[:read])
        return hashed.hexdigest()

    def open(self, key: str, name: str) -> FileIO:
        """
        Raises:
            NotFound: the object has gone meanwhile.
        """
        try:
            return (self._object(key) / name).open("rb", buffering=0)
        except FileNotFoundError:
            raise NotFound("there is no such object any more") from None

    def discard_begun_before(self, begun: int) -> int:
        stale = [one for one in self._uploads.iterdir() if int(one.name.split("-")[1], 16) < begun]
        for one in stale:
            self._discard(one)
        self._tidy(begun)
        return len(stale)

    def _tidy(self, before: int) -> None:
        """What a process that died was writing or removing."""
        for one in self._drafts.iterdir():
            with suppress(FileNotFoundError):
                if one.stat().st_mtime < before:
                    one.unlink()
        for one in self._trash.iterdir():
            shutil.rmtree(one, ignore_errors=True)

    def _discard(self, folder: Path) -> None:
        trash = self._trash / token_hex(16)
        with suppress(FileNotFoundError):
            folder.rename(trash)
            sync_folder(folder.parent)
            shutil.rmtree(trash, ignore_errors=True)

    def _folder_of(self, upload: Upload) -> Path:
        if not upload.upload_id.startswith(f"{_digest(upload.key)[:32]}-") or "/" in upload.upload_id:
            raise _no_upload()
        return self._uploads / upload.upload_id

    def _object(self, key: str) -> Path:
        digest = _digest(key)
        return self._objects / digest[:2] / digest


def check_size(draft: Draft, size: int) -> None:
    """
    Raises:
        Invalid: it has not ``size`` bytes.
    """
    if draft.size != size:
        raise Invalid(f"{draft.size} bytes came; {size} are expected")


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    """
    The folder, while nobody else changes it.

    Raises:
        NotFound: there is no such upload (any more).
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        raise _no_upload() from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if not os.path.samestat(os.fstat(descriptor), folder.stat()):
                raise _no_upload()
        except FileNotFoundError:  # completed or aborted while we waited
            raise _no_upload() from None
        yield folder
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes) -> None:
    """At once and durably, over what is there."""
    draft = path.with_suffix(f".{token_hex(8)}")
    with draft.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _no_upload() -> NotFound:
    return NotFound("there is no such upload (any more)")

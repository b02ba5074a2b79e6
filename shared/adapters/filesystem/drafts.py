"""A file that is being written: hashed on the way, on disk before it gets its name, gone if it never does."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from secrets import token_hex
from threading import Lock


class Draft:
    """Every method blocks, and may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / token_hex(16)
        self._file = self._path.open("xb", buffering=0)
        self._hash = hashlib.sha256()
        self._lock = Lock()
        self.size = 0

    def write(self, blocks: Sequence[bytes]) -> None:
        with self._lock:
            content = memoryview(blocks[0] if len(blocks) == 1 else b"".join(blocks))
            self._hash.update(content)
            self.size += len(content)
            while content:
                content = content[self._file.write(content) :]

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def sync(self) -> None:
        """Everything that was written is on disk."""
        os.fsync(self._file.fileno())

    def name(self, path: Path) -> None:
        """Give it its place, over what is there."""
        self._path.replace(path)

    def close(self) -> None:
        """Without a name it is removed."""
        with self._lock:
            self._file.close()
            self._path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """The names in the folder are on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

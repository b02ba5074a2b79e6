"""SHA-256 of what is on disk, read in blocks."""

import hashlib
from collections.abc import Callable
from pathlib import Path

BLOCK = 1024 * 1024

Seen = Callable[[int], None]
"""Called with how many bytes more were seen."""


def sha256(path: Path, seen: Seen) -> str:
    """In lower case hex."""
    hashed = hashlib.sha256()
    buffer = memoryview(bytearray(BLOCK))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            hashed.update(buffer[:size])
            seen(size)
    return hashed.hexdigest()

"""
What a file may be, how it is cut into parts, and what becomes of it (B1 to B4, B6).

    initiated ──► uploading ──► verifying ──► ready ──► deleted
        │             │   ▲         │  └────► rejected
        └─────────────┴───┼─► aborted
                          └──────── a part was replaced while it was completed
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from shared.domain.errors import FieldError, Invalid, TooLarge

MIB = 1024 * 1024
MAX_SIZE = 2048 * MIB
PART = 16 * MIB
"""What a part has when nobody says: larger ones were slower, smaller ones are more requests (measured)."""
MIN_PART = 5 * MIB
"""S3 takes no smaller one, but for the last."""
MAX_PARTS = 10_000
MAX_FILENAME = 255  # bytes of UTF-8
MAX_CAPTION = 4096  # characters
OPEN_PER_USER = 20
OPEN_PER_TENANT = 200
UPLOAD_LIFE = timedelta(days=7)
"""After it an unfinished upload is removed; stores that forget uploads by themselves must wait longer."""
PART_URL_LIFE = timedelta(hours=1)
DOWNLOAD_URL_LIFE = timedelta(hours=1)
LINK_LIFE = timedelta(days=7)
"""Of a download URL that a person gets on a channel; S3 signs none for longer."""
GRACE = timedelta(hours=24)
"""How long the bytes stay after the last file that has them was removed."""
SMALL = 64 * MIB
"""Up to it a file is verified while its uploader waits: a tenth of a second."""

_HEX = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})\Z")
_TOKEN = r"[A-Za-z0-9!#$&^_.+-]{1,64}"
_CONTENT_TYPE = re.compile(rf'{_TOKEN}/{_TOKEN}(?: ?; ?{_TOKEN}=(?:{_TOKEN}|"[A-Za-z0-9 !#$&^_.+-]*"))*\Z')
_FORBIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They make an .exe look like a .pdf."""


class State(StrEnum):
    INITIATED = "initiated"
    UPLOADING = "uploading"
    VERIFYING = "verifying"
    READY = "ready"
    REJECTED = "rejected"
    ABORTED = "aborted"
    DELETED = "deleted"


OPEN = frozenset({State.INITIATED, State.UPLOADING})
"""Parts are taken."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is cut; the numbers of its parts begin at 1."""

    size: int
    part_size: int

    @property
    def numbers(self) -> range:
        return range(1, -(-self.size // self.part_size) + 1)

    def offset_of(self, number: int) -> int:
        return (number - 1) * self.part_size

    def size_of(self, number: int) -> int:
        return min(self.part_size, self.size - self.offset_of(number))

    def missing(self, stored: Iterable[tuple[int, int]]) -> list[int]:
        """
        Numbers of the parts that are not among those stored (number, size), or have another size.

        >>> Layout(size=25, part_size=10).missing([(1, 10), (3, 10)])
        [2, 3]
        """
        there = set(stored)
        return [number for number in self.numbers if (number, self.size_of(number)) not in there]

    def contiguous(self, stored: Iterable[tuple[int, int]]) -> int:
        """
        Bytes from the beginning without a gap.

        >>> Layout(size=25, part_size=10).contiguous([(1, 10), (3, 5)])
        10
        """
        missing = self.missing(stored)
        return self.offset_of(missing[0]) if missing else self.size


def check_size(size: int) -> None:
    """
    Raises:
        Invalid: no byte, or fewer.
        TooLarge: more than 2 GiB.
    """
    if size < 1:
        raise Invalid(errors=[{"pointer": "/size", "detail": "a file has at least one byte"}])
    if size > MAX_SIZE:
        raise TooLarge(f"a file may have {MAX_SIZE:,} bytes (2 GiB); this one has {size:,}")


def layout(size: int, part_size: int | None) -> Layout:
    """
    Raises:
        Invalid: the parts would be too small, too large or too many.
    """
    cut = Layout(size, PART if part_size is None else part_size)
    if part_size is not None and not MIN_PART <= part_size <= MAX_SIZE:
        detail = f"a part has {MIN_PART:,} to {MAX_SIZE:,} bytes, so that a file has at most {MAX_PARTS:,}"
        raise Invalid(errors=[{"pointer": "/part_size", "detail": detail}])
    return cut


def filename(given: str) -> str:
    """
    The name as it is kept, in NFC.

    Raises:
        Invalid: empty, too long, a path, or with characters that hide what it is.

    >>> filename("relatorio.pdf")
    'relatorio.pdf'
    """
    name = unicodedata.normalize("NFC", given)
    detail = None
    if not name.strip() or name.strip() in (".", ".."):
        detail = "give the file a name"
    elif "/" in name or "\\" in name:
        detail = "a name, not a path: leave out / and \\"
    elif any(unicodedata.category(one) in _FORBIDDEN for one in name) or _REORDERING & set(name):
        detail = "leave out control characters"
    elif len(name.encode()) > MAX_FILENAME:
        detail = f"at most {MAX_FILENAME} bytes of UTF-8"
    if detail is not None:
        raise Invalid(errors=[{"pointer": "/filename", "detail": detail}])
    return name


def content_type(given: str) -> str:
    """
    Raises:
        Invalid: no media type (RFC 9110 8.3.1).

    >>> content_type("text/plain; charset=utf-8")
    'text/plain; charset=utf-8'
    """
    if len(given) > 255 or not _CONTENT_TYPE.match(given):
        raise Invalid(errors=[{"pointer": "/content_type", "detail": "a media type, such as application/pdf"}])
    return given


def checksum(given: str, *, pointer: str = "/checksum") -> str:
    """
    The SHA-256 in lower case hex.

    Raises:
        Invalid: it is none.

    >>> checksum("sha256:" + "AB" * 32) == "ab" * 32
    True
    """
    match = _HEX.match(given)
    if match is None:
        detail = 'the SHA-256 of the whole file in hex, alone or after "sha256:"'
        raise Invalid(errors=[{"pointer": pointer, "detail": detail}])
    return match[1].lower()


def part_checksums(given: Sequence[str], cut: Layout) -> tuple[str, ...]:
    """
    One for each part, or none.

    Raises:
        Invalid: one is no SHA-256, or there are more or fewer than parts.
    """
    if given and len(given) != len(cut.numbers):
        detail = f"{len(given)} checksums for {len(cut.numbers)} parts of {cut.part_size:,} bytes"
        raise Invalid(errors=[{"pointer": "/part_checksums", "detail": detail}])
    return tuple(checksum(one, pointer=f"/part_checksums/{index}") for index, one in enumerate(given))


def same_parts(given: Collection[tuple[int, str]], stored: Collection[tuple[int, str]]) -> list[FieldError]:
    """
    What is wrong with the parts (number, ETag) that somebody names, beside those that are stored.

    >>> same_parts([(1, '"a"')], [(1, "a")])
    []
    """
    there, errors = dict(stored), list[FieldError]()
    for index, (number, etag) in enumerate(given):
        if number not in there:
            errors.append({"pointer": f"/parts/{index}", "detail": f"there is no part {number}"})
        elif etag.strip('"') != there[number]:
            errors.append({"pointer": f"/parts/{index}/etag", "detail": f"part {number} has the ETag {there[number]}"})
    return errors[:20]

"""What of a message goes to a channel: its text in pieces, its media, its file as the channel takes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import quote

import msgspec

from events.vocabulary import File, Media, Payload, Text
from shared.domain.file import DOWNLOAD_URL_LIFE, LINK_LIFE, State
from shared.domain.text import split
from shared.ports import ObjectStore
from shared.ports.channel import Limits
from shared.repositories.files import FileRecord, Files

AS_LINK = "file_as_link"
"""The reason of a SENT whose file was too much for the channel: the recipient got a link to it."""
GONE = "file_gone"
LINK_TOO_LONG = "link_too_long"
_NAME_IN_LINK = 90
"""Bytes of a quoted file name in a link: of the 1,000 that Instagram takes, an S3 signature has half."""

MediaType = Literal["image", "audio", "video", "document"]


@dataclass(frozen=True, slots=True)
class Content:
    """In order, a call each; ``note`` is the reason that the delivery tells. Without parts there is none."""

    parts: Sequence[Payload]
    note: str | None = None


def parts_of(payload: Payload, limits: Limits) -> list[Payload]:
    """The payload in the pieces that the channel takes, in order."""
    match payload:
        case Text(text=text):
            return [Text(text=piece) for piece in split(text, limits.text, in_bytes=limits.text_in_bytes)]
        case Media(media_type=kind, caption=str(caption)) if len(caption) > limits.caption_of(kind):
            pieces = split(caption, limits.text, in_bytes=limits.text_in_bytes)
            return [msgspec.structs.replace(payload, caption=None), *(Text(text=piece) for piece in pieces)]
        case _:
            return [payload]


def media_type(content_type: str, size: int, limits: Limits) -> MediaType | None:
    """
    As what the channel takes such a file, itself before a document; None: it does not.

    >>> from datetime import timedelta
    >>> limits = Limits(text=1, uncertain_wait=timedelta(0), media={"image": 10, "document": 20})
    >>> [media_type("image/png", size, limits) for size in (10, 20, 21)]
    ['image', 'document', None]
    """
    plain = content_type.partition(";")[0].strip().lower()
    for kind in (plain.partition("/")[0], "document"):
        taken = limits.content_types.get(kind)
        if size <= limits.media.get(kind, -1) and (taken is None or plain in taken):
            return cast(MediaType, kind)
    return None


def link(file: FileRecord, url: str, limits: Limits) -> Text | None:
    """Name, size and URL, or the URL alone; None: not even that fits into one text."""
    for words in (f"{file.filename} ({_readable(file.size)})\n{url}", url):
        if len(words.encode() if limits.text_in_bytes else words) <= limits.text:
            return Text(text=words)
    return None


@dataclass(frozen=True, slots=True)
class Contents:
    files: Files
    objects: ObjectStore

    async def of(self, tenant: str, payload: Payload, limits: Limits) -> Content:
        """The number of parts is the same each time, for correlators count them; URLs are fresh."""
        if not isinstance(payload, File):
            return Content(parts_of(payload, limits))
        file = await self.files.get(tenant, payload.file_id)
        if file is None or file.state is not State.READY or file.object_key is None:
            return Content((), GONE)
        kind = media_type(file.content_type, file.size, limits)
        if kind is None:
            return await self._as_link(file, payload, limits)
        media = Media(
            media_type=kind,
            url=await self.objects.presign_get(
                file.object_key,
                filename=file.filename,
                content_type=file.content_type,
                expires_in=DOWNLOAD_URL_LIFE,
            ),
            mime_type=file.content_type,
            filename=file.filename,
            caption=payload.caption or None,
        )
        return Content(parts_of(media, limits))

    async def _as_link(self, file: FileRecord, payload: File, limits: Limits) -> Content:
        assert file.object_key is not None
        url = await self.objects.presign_get(
            file.object_key,
            filename=_shortened(file.filename),
            content_type=file.content_type,
            expires_in=LINK_LIFE,
        )
        linked = link(file, url, limits)
        if linked is None:
            return Content((), LINK_TOO_LONG)
        caption = parts_of(Text(text=payload.caption), limits) if payload.caption else []
        return Content([*caption, linked], AS_LINK)


def _shortened(name: str) -> str:
    """
    The name, or its beginning and its suffix, so that it takes few bytes of a URL.

    >>> _shortened("report.pdf"), _shortened("x" * 100 + ".pdf") == "x" * 86 + ".pdf"
    ('report.pdf', True)
    """
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(quote(suffix)) > _NAME_IN_LINK // 3:
        stem, dot, suffix = name, "", ""
    while stem and len(quote(stem + dot + suffix)) > _NAME_IN_LINK:
        stem = stem[:-1]
    return stem + dot + suffix


def _readable(size: int) -> str:
    """
    >>> _readable(999), _readable(1_500_000), _readable(2 * 1024**3)
    ('999 B', '1.5 MB', '2.1 GB')
    """
    for unit, step in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= step:
            return f"{size / step:.1f} {unit}"
    return f"{size} B"

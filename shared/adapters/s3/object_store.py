"""
The object store on S3: control by boto3 in threads, bytes by httpx through URLs that are signed here.

Nothing is imported or asked until the store is first used; the first use also makes the bucket.
"""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from shared.adapters.s3.settings import S3Settings
from shared.domain.errors import NotFound, Unavailable
from shared.ports.object_store import Part, Presigned, StoredObject, StoredPart, Upload

if TYPE_CHECKING:
    from shared.adapters.s3.client import S3Client
    from shared.adapters.s3.transfer import Transfer

_OWN_URL = timedelta(minutes=15)  # for a request that leaves at once
_PING = 1.0
_CLIENT = ("shared.adapters.s3.client", "shared.adapters.s3.transfer")
_OURS = "*/files/*"  # keys of uploads; a bucket may be shared with others


class _Opened(NamedTuple):
    client: "S3Client"
    transfer: "Transfer"


class S3ObjectStore:
    """Close with ``close``."""

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._opened: _Opened | None = None
        self._opening: asyncio.Task[_Opened] | None = None

    async def create(self, key: str, *, content_type: str, hashed: bool = False) -> Upload:
        algorithm = {"ChecksumAlgorithm": "SHA256"} if hashed else {}
        made = await self._call("create_multipart_upload", Key=key, ContentType=content_type, **algorithm)
        return Upload(key, made["UploadId"])

    async def presign_parts(self, upload: Upload, parts: Sequence[Part], *, expires_in: timedelta) -> list[Presigned]:
        return await self._presign_parts(upload, parts, expires_in=expires_in, outside=True)

    async def put_part(self, upload: Upload, part: Part, blocks: AsyncIterator[bytes]) -> StoredPart:
        (presigned,) = await self._presign_parts(upload, [part], expires_in=_OWN_URL, outside=False)
        _, transfer = await self._open()
        etag = await transfer.put(presigned.url, presigned.headers, blocks, size=part.size)
        return StoredPart(part.part_number, part.size, etag, part.sha256)

    async def list_parts(self, upload: Upload) -> list[StoredPart]:
        client = await self._client()
        pages = await client.pages("list_parts", Key=upload.key, UploadId=upload.upload_id)
        return [_stored(each) for page in pages for each in page.get("Parts", ())]

    async def complete(self, upload: Upload, parts: Sequence[StoredPart]) -> StoredObject:
        given = [_named(part) for part in sorted(parts, key=lambda part: part.part_number)]
        with suppress(NotFound):
            await self._call(
                "complete_multipart_upload",
                Key=upload.key,
                UploadId=upload.upload_id,
                MultipartUpload={"Parts": given},
            )
        # Not its own answer: whoever comes second, or did not hear the first one, gets the same.
        if made := await self.stat(upload.key):
            return made
        raise NotFound("there is no such upload (any more)")

    async def abort(self, upload: Upload) -> None:
        with suppress(NotFound):
            await self._call("abort_multipart_upload", Key=upload.key, UploadId=upload.upload_id)

    async def presign_get(self, key: str, *, filename: str, content_type: str, expires_in: timedelta) -> str:
        client = await self._client()
        asked = {
            "Key": key,
            "ResponseContentDisposition": _attachment(filename),
            "ResponseContentType": content_type,
        }
        (url,) = await client.presign("get_object", [asked], expires_in=expires_in, outside=True)
        return url

    async def stat(self, key: str) -> StoredObject | None:
        try:
            found = await self._call("head_object", Key=key)
        except NotFound:
            return None
        return StoredObject(found["ContentLength"], _bare(found["ETag"]))

    @asynccontextmanager
    async def stream(self, key: str, *, offset: int = 0) -> AsyncIterator[AsyncIterator[bytes]]:
        client, transfer = await self._open()
        (url,) = await client.presign("get_object", [{"Key": key}], expires_in=_OWN_URL, outside=False)
        async with transfer.get(url, offset=offset) as blocks:
            yield blocks

    async def sha256(self, key: str) -> str:
        return await (await self._client()).sha256(key)

    async def put(self, key: str, blocks: AsyncIterator[bytes], *, size: int) -> StoredObject:
        client, transfer = await self._open()
        asked = {"Key": key, "ContentLength": size}
        (url,) = await client.presign("put_object", [asked], expires_in=_OWN_URL, outside=False)
        return StoredObject(size, await transfer.put(url, {}, blocks, size=size))

    async def delete(self, key: str) -> None:
        with suppress(NotFound):
            await self._call("delete_object", Key=key)

    async def discard_stale(self, before: datetime) -> int:
        client = await self._client()
        pages = await client.pages("list_multipart_uploads")
        stale = [
            Upload(each["Key"], each["UploadId"])
            for page in pages
            for each in page.get("Uploads", ())
            if each["Initiated"] < before and fnmatchcase(each["Key"], _OURS)
        ]
        for upload in stale:
            await self.abort(upload)
        return len(stale)

    async def ping(self) -> None:
        """
        For readiness: within a second, whatever the store does, once its client has been imported.

        Raises:
            OSError: it does not answer.
        """
        try:
            for module in _CLIENT:  # on a busy machine that takes longer than a store may
                await asyncio.to_thread(import_module, module)
            async with asyncio.timeout(_PING):
                client, transfer = await self._open()
                (url,) = await client.presign("head_bucket", [{}], expires_in=_OWN_URL, outside=False)
                await transfer.ask(url)
        except TimeoutError:
            raise OSError("no answer in time") from None
        except Unavailable as error:
            raise OSError(error.detail) from error

    async def close(self) -> None:
        if self._opening is not None:
            with suppress(Unavailable):
                await self._opening
        if self._opened is not None:
            self._opened.client.close()
            await self._opened.transfer.close()

    async def _open(self) -> _Opened:
        if self._opened is None:
            if self._opening is None:
                self._opening = asyncio.create_task(self._connect())
                self._opening.add_done_callback(_seen)
            return await asyncio.shield(self._opening)  # whoever gives up leaves it to the others
        return self._opened

    async def _connect(self) -> _Opened:
        try:
            self._opened = await asyncio.to_thread(_open, self._settings)
            return self._opened
        finally:
            self._opening = None

    async def _client(self) -> "S3Client":
        return (await self._open()).client

    async def _call(self, operation: str, **parameters: Any) -> Any:
        return await (await self._client()).call(operation, **parameters)

    async def _presign_parts(
        self, upload: Upload, parts: Sequence[Part], *, expires_in: timedelta, outside: bool
    ) -> list[Presigned]:
        client = await self._client()
        hashes = [_base64(part.sha256) if part.sha256 else None for part in parts]
        asked = [
            {
                "Key": upload.key,
                "UploadId": upload.upload_id,
                "PartNumber": part.part_number,
                "ContentLength": part.size,
                **({"ChecksumSHA256": sha256} if sha256 else {}),
            }
            for part, sha256 in zip(parts, hashes, strict=True)
        ]
        urls = await client.presign("upload_part", asked, expires_in=expires_in, outside=outside)
        return [
            Presigned(url, {"x-amz-checksum-sha256": sha256} if sha256 else {})
            for url, sha256 in zip(urls, hashes, strict=True)
        ]


def _seen(opening: "asyncio.Task[_Opened]") -> None:
    """Its failure is whoever's who waits for it; when nobody does any more, asyncio need not complain."""
    if not opening.cancelled():
        opening.exception()


def _open(settings: S3Settings) -> _Opened:
    from shared.adapters.s3.client import S3Client
    from shared.adapters.s3.transfer import Transfer

    client = S3Client(settings)
    try:
        client.prepare()
    except BaseException:
        client.close()
        raise
    return _Opened(client, Transfer(settings))


def _stored(part: dict[str, Any]) -> StoredPart:
    known = part.get("ChecksumSHA256")
    return StoredPart(part["PartNumber"], part["Size"], _bare(part["ETag"]), b64decode(known).hex() if known else None)


def _named(part: StoredPart) -> dict[str, Any]:
    known = {"ChecksumSHA256": _base64(part.sha256)} if part.sha256 else {}
    return {"PartNumber": part.part_number, "ETag": part.etag, **known}


def _bare(etag: str) -> str:
    return etag.strip('"')


def _base64(hexadecimal: str) -> str:
    return b64encode(bytes.fromhex(hexadecimal)).decode()


def _attachment(filename: str) -> str:
    """
    RFC 6266 4.3, with a name for those who read no UTF-8.

    >>> _attachment('Relatório "x".pdf')
    'attachment; filename="Relat_rio _x_.pdf"; filename*=UTF-8\\'\\'Relat%C3%B3rio%20%22x%22.pdf'
    """
    plain = "".join(one if " " <= one <= "~" and one not in '"\\' else "_" for one in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"

"""/v1/files/{file_id}: status, chunks by PATCH, download, delete."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import Field

from functions.files.func import Download, FileDesk, Progress
from shared.domain.errors import Conflict, Invalid, WrongOffset
from shared.domain.file import DOWNLOAD_URL_LIFE
from shared.domain.identity import MESSAGES
from shared.http.body import unless_stalled
from shared.http.caller import Caller
from shared.http.file_answers import PartUrl, part_url
from shared.http.problems import problem_response
from shared.http.routing import Answer, Reader, Timestamp, api_router, problems, scoped
from shared.ports.object_store import StoredPart

MessagesCaller = Annotated[Caller, scoped(MESSAGES)]
Status = Literal["initiated", "uploading", "verifying", "ready", "rejected", "aborted"]

_NUMBER = re.compile(r"[0-9]{1,18}\Z")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)\Z")
_CHUNK = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


class PartAnswer(Answer):
    part_number: int
    size: int
    etag: str


class StatusAnswer(Answer):
    """All that a client needs to go on, whatever it has forgotten."""

    file_id: str
    upload_id: str | None
    upload_status: Status
    filename: str
    size: int
    chunk_size: int
    received_bytes: int
    offset: int = Field(description="Bytes from the beginning without a gap: where a PATCH goes on")
    parts_received: list[PartAnswer]
    missing_parts: list[PartUrl] = Field(description="With fresh URLs")
    expires_at: Timestamp = Field(description="Until when the URLs work")
    upload_expires_at: Timestamp = Field(description="Until when the upload can be finished")
    checksum: str | None = Field(description="The SHA-256 in hex, proven; null until the file is ready")
    reason: str | None = Field(description="Why it was rejected: checksum_mismatch, infected, not_scanned, lost")
    detail: str | None


class FileAnswer(Answer):
    file_id: str
    filename: str
    content_type: str
    size: int
    checksum: str | None
    upload_status: Status
    owner: str
    conversation_id: str = Field(description="That it was uploaded for")
    created_at: Timestamp
    chunk_size: int
    chunks: list[PartAnswer] = Field(description="The parts that it was uploaded in")
    download_url: str | None = Field(description="Null until the file is ready; ranges work")
    expires_at: Timestamp | None = Field(description="Until when the URL works")


def router(desk: FileDesk) -> APIRouter:
    routes = api_router("Files")

    @routes.get("/v1/files/{file_id}/status", responses=problems(403, 404))
    async def get_file_status(file_id: str, caller: MessagesCaller, user: Reader) -> StatusAnswer:
        """For whoever uploads it: which parts are in, and fresh URLs for those that are missing."""
        return _status(await desk.status(caller.tenant, file_id, user))

    @routes.patch(
        "/v1/files/{file_id}/chunk",
        status_code=204,
        response_class=Response,
        responses=problems(403, 404, 408, 409, 507),
        openapi_extra=_CHUNK,
    )
    async def append_chunk(
        file_id: str,
        caller: MessagesCaller,
        user: Reader,
        request: Request,
        upload_offset: Annotated[str | None, Header(description="Where these bytes begin")] = None,
        content_range: Annotated[str | None, Header(description="The same as `bytes 0-1048575/8388608`")] = None,
    ) -> Response:
        """
        For clients that cannot put to the store: the bytes from the offset on, of any length and type (tus says
        `application/offset+octet-stream`). `Upload-Offset` of the answer is the new offset; another one than the
        upload is at is 409, with the right one in the same header.
        """
        offset, size = _extent(upload_offset, content_range, request.headers)
        blocks = unless_stalled(_not_empty(request.stream()))
        try:
            reached = await desk.append(caller.tenant, file_id, user, offset, size, blocks)
        except WrongOffset as error:
            state = request.scope["state"]
            status, headers, body = problem_response(error, instance=request.url.path, trace_id=state["trace_id"])
            response = Response(body, status, headers={"Upload-Offset": str(error.expected)})
            response.raw_headers += [header for header in headers if header[0] != b"content-length"]
            return response
        return Response(status_code=204, headers={"Upload-Offset": str(reached)})

    @routes.get(
        "/v1/files/{file_id}",
        responses={307: {"description": "With `redirect=true`: to the bytes"}, **problems(403, 404, 409)},
    )
    async def get_file(
        file_id: str,
        caller: MessagesCaller,
        user: Reader,
        redirect: bool = False,
        ttl: Annotated[
            int, Query(ge=1, le=int(DOWNLOAD_URL_LIFE.total_seconds()), description="Seconds that the URL works")
        ] = int(DOWNLOAD_URL_LIFE.total_seconds()),
    ) -> Any:
        """
        The file's metadata and a URL of its bytes, for members of a conversation that holds it. A URL that was given
        out works until it expires, also for those who leave meanwhile.
        """
        download = await desk.download(caller.tenant, file_id, user, timedelta(seconds=ttl))
        if not redirect:
            return _file(download)
        if download.url is None:
            raise Conflict(f"the file is {download.file.state}; its bytes can be had once it is ready")
        return Response(status_code=307, headers={"Location": download.url, "Cache-Control": "no-store"})

    @routes.delete("/v1/files/{file_id}", status_code=204, responses=problems(403, 404))
    async def delete_file(file_id: str, caller: MessagesCaller, user: Reader) -> None:
        """Abort an unfinished upload, or remove the file, by whoever uploaded it. Repeating it is harmless."""
        await desk.remove(caller.tenant, file_id, user)

    return routes


def _extent(upload_offset: str | None, content_range: str | None, headers: Any) -> tuple[int, int]:
    """
    Where the body begins, and how many bytes it has.

    Raises:
        Invalid: the headers do not say it, or contradict each other.
    """
    length = headers.get("content-length")
    if "upload-checksum" in headers:
        raise Invalid("Upload-Checksum is not checked here; announce part_checksums when you initiate the upload")
    if content_range is not None:
        match = _CONTENT_RANGE.match(content_range)
        if match is None or int(match[2]) < int(match[1]):
            raise Invalid("header Content-Range: bytes FIRST-LAST/SIZE, such as bytes 0-1048575/8388608")
        offset, size = int(match[1]), int(match[2]) - int(match[1]) + 1
        if length not in (None, str(size)) or upload_offset not in (None, str(offset)):
            raise Invalid("Content-Range, Content-Length and Upload-Offset contradict each other")
        return offset, size
    if upload_offset is None or not _NUMBER.match(upload_offset):
        raise Invalid("say where the bytes begin: header Upload-Offset, or Content-Range")
    if length is None or not _NUMBER.match(length):
        raise Invalid("say how many bytes come: header Content-Length, or Content-Range")
    return int(upload_offset), int(length)


async def _not_empty(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for block in blocks:
        if block:
            yield block


def _part(part: StoredPart) -> PartAnswer:
    return PartAnswer(part_number=part.part_number, size=part.size, etag=part.etag)


def _status(progress: Progress) -> StatusAnswer:
    file = progress.file
    return StatusAnswer(
        file_id=file.file_id,
        upload_id=file.upload_id,
        upload_status=file.state.value,  # type: ignore[arg-type]  # a deleted file is not found
        filename=file.filename,
        size=file.size,
        chunk_size=file.part_size,
        received_bytes=progress.received,
        offset=progress.offset,
        parts_received=[_part(part) for part in progress.stored],
        missing_parts=[part_url(file, number, presigned) for number, presigned in progress.missing],
        expires_at=progress.expires_at,
        upload_expires_at=file.expires_at,
        checksum=file.checksum,
        reason=file.reason,
        detail=file.detail,
    )


def _file(download: Download) -> FileAnswer:
    file = download.file
    return FileAnswer(
        file_id=file.file_id,
        filename=file.filename,
        content_type=file.content_type,
        size=file.size,
        checksum=file.checksum,
        upload_status=file.state.value,  # type: ignore[arg-type]  # a deleted file is not found
        owner=file.owner,
        conversation_id=file.conversation_id,
        created_at=file.created_at,
        chunk_size=file.part_size,
        chunks=[_part(part) for part in file.manifest],
        download_url=download.url,
        expires_at=None if download.url is None else download.expires_at,
    )

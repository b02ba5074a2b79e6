"""POST /v1/files/initiate."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from events import FileInitiateRequested
from functions.initiate_upload.func import Initiated, InitiateUpload
from shared.domain.file import MAX_PARTS, MAX_SIZE, MIN_PART, PART, PART_URL_LIFE
from shared.domain.identity import MESSAGES
from shared.http.caller import Caller
from shared.http.file_answers import PartUrl, part_url
from shared.http.routing import ActingUser, Answer, Body, Integer, Timestamp, api_router, problems, scoped

Id = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Checksum = Annotated[str, StringConstraints(max_length=80)]
MessagesCaller = Annotated[Caller, scoped(MESSAGES)]


class NewFile(Body):
    """A file that is to be uploaded."""

    filename: str = Field(max_length=1024, description="A name, not a path", examples=["relatório.pdf"])
    content_type: str = Field(max_length=255, examples=["application/pdf"])
    size: Integer = Field(description=f"Bytes: 1 to {MAX_SIZE} (2 GiB)", examples=[1_887_436_800])
    conversation_id: Id = Field(description="Its members can download the file once it is ready")
    checksum: Checksum | None = Field(
        None, description="SHA-256 of the whole file in hex, if it is known already", examples=[None]
    )
    part_size: Integer | None = Field(
        None, description=f"Bytes of each part but the last, at least {MIN_PART}; left out: {PART}", examples=[None]
    )
    part_checksums: Annotated[list[Checksum], Field(max_length=MAX_PARTS)] = Field(
        [], description="SHA-256 of each part in hex; then the store itself refuses a part with other bytes"
    )


class InitiatedAnswer(Answer):
    file_id: str
    upload_id: str | None = Field(description="Names the upload; null when the file is ready already")
    deduplicated: bool = Field(description="The bytes are here already and nothing is to be uploaded")
    chunk_size: int = Field(description="Bytes of each part but the last")
    parts: list[PartUrl]
    upload_url: str | None = Field(description="That of the first part")
    expires_at: Timestamp = Field(description="Until when the URLs work; status has fresh ones")
    upload_expires_at: Timestamp = Field(description="Until when the upload can be finished")


def router(function: InitiateUpload) -> APIRouter:
    routes = api_router("Files")

    @routes.post("/v1/files/initiate", status_code=201, responses=problems(403, 404, 413, 429))
    async def initiate_upload(body: NewFile, caller: MessagesCaller, user: ActingUser) -> InitiatedAnswer:
        """
        Announce a file of up to 2 GiB, and get a URL for each of its parts.

        PUT the parts to their URLs, in any order and several at a time, then complete the upload. With the checksum
        of a file that the caller can read anyway, nothing needs to be uploaded.
        """
        asked = FileInitiateRequested(
            conversation_id=body.conversation_id,
            filename=body.filename,
            content_type=body.content_type,
            size=body.size,
            sender=user,
            checksum=body.checksum,
            part_size=body.part_size,
            part_checksums=tuple(body.part_checksums),
        )
        return _answer(await function.initiate(caller.tenant, asked), function.clock.now())

    return routes


def _answer(initiated: Initiated, now: datetime) -> InitiatedAnswer:
    file = initiated.file
    parts = [
        part_url(file, number, presigned)
        for number, presigned in zip(file.layout.numbers, initiated.presigned, strict=False)
    ]
    return InitiatedAnswer(
        file_id=file.file_id,
        upload_id=file.upload_id,
        deduplicated=initiated.deduplicated,
        chunk_size=file.part_size,
        parts=parts,
        upload_url=parts[0].upload_url if parts else None,
        expires_at=now + PART_URL_LIFE,
        upload_expires_at=file.expires_at,
    )

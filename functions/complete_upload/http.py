"""POST /v1/files/complete and /v1/files/{file_id}/complete."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field, StringConstraints

from events import FileCompleteRequested
from events.file import NamedPart
from functions.complete_upload.func import CompleteUpload
from shared.domain.file import MAX_PARTS, State
from shared.domain.identity import MESSAGES
from shared.http.caller import Caller
from shared.http.routing import Answer, Body, Integer, Reader, api_router, problems, scoped

Id = Annotated[str, StringConstraints(min_length=1, max_length=128)]
MessagesCaller = Annotated[Caller, scoped(MESSAGES)]


class PutPart(Body):
    part_number: Integer = Field(ge=1, le=MAX_PARTS)
    etag: str = Field(max_length=200, description="As the PUT answered it", examples=['"3f786850e387550f"'])


class Completion(Body):
    checksum: str | None = Field(
        None,
        max_length=80,
        description='SHA-256 of the whole file in hex, or "sha256:" and it; left out: the one announced before',
        examples=["sha256:" + "9f86d081" * 8],
    )
    parts: Annotated[list[PutPart], Field(max_length=MAX_PARTS)] | None = Field(
        None, description="The parts as their PUTs answered; left out: those that the store has", examples=[None]
    )


class CompletionOf(Completion):
    file_id: Id


class CompletedAnswer(Answer):
    file_id: str
    upload_status: Literal["verifying", "ready"]
    checksum: str | None = Field(description="The SHA-256 in hex, proven; null while it is verified")
    size: int


def router(function: CompleteUpload) -> APIRouter:
    routes = api_router("Files")
    verifying = {202: {"model": CompletedAnswer, "description": "A large file: file.ready or file.rejected follows"}}

    async def complete(
        file_id: str, body: Completion, caller: Caller, user: str | None, request: Request, response: Response
    ) -> CompletedAnswer:
        asked = FileCompleteRequested(
            file_id=file_id,
            checksum=body.checksum,
            parts=None
            if body.parts is None
            else tuple(NamedPart(part_number=part.part_number, etag=part.etag) for part in body.parts),
            sender=user,
        )
        file = await function.complete(caller.tenant, asked, traceparent=request.scope["state"]["traceparent"])
        response.status_code = 200 if file.state is State.READY else 202
        return CompletedAnswer(
            file_id=file.file_id,
            upload_status="ready" if file.state is State.READY else "verifying",
            checksum=file.checksum,
            size=file.size,
        )

    @routes.post("/v1/files/complete", responses={**verifying, **problems(403, 404, 409)})  # type: ignore[dict-item]
    async def complete_upload(
        body: CompletionOf, caller: MessagesCaller, user: Reader, request: Request, response: Response
    ) -> CompletedAnswer:
        """As POST /v1/files/{file_id}/complete."""
        return await complete(body.file_id, body, caller, user, request, response)

    @routes.post("/v1/files/{file_id}/complete", responses={**verifying, **problems(403, 404, 409)})  # type: ignore[dict-item]
    async def complete_this_upload(
        file_id: str, body: Completion, caller: MessagesCaller, user: Reader, request: Request, response: Response
    ) -> CompletedAnswer:
        """
        All parts are there: verify the SHA-256 of the whole file. 200 when it is ready, 202 while a large one is
        verified, 409 when parts are missing; other bytes than the checksum says are 422 and gone. Repeating it is
        harmless.
        """
        return await complete(file_id, body, caller, user, request, response)

    return routes

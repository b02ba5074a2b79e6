"""What the answers about files have in common."""

from pydantic import Field

from shared.http.routing import Answer
from shared.ports.object_store import Presigned
from shared.repositories.files import FileRecord


class PartUrl(Answer):
    """A part that is to be put: one HTTP PUT of exactly ``size`` bytes."""

    part_number: int
    upload_url: str
    offset: int = Field(description="Where the part begins in the file")
    size: int
    headers: dict[str, str] = Field({}, description="To be sent with the PUT as they are; often none")


def part_url(file: FileRecord, number: int, presigned: Presigned) -> PartUrl:
    return PartUrl(
        part_number=number,
        upload_url=presigned.url,
        offset=file.layout.offset_of(number),
        size=file.layout.size_of(number),
        headers=dict(presigned.headers),
    )

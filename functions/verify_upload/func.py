"""
verify-upload: a large file gets its verdict (B4, B8).

Takes chat4all.file.completed.v1; emits chat4all.file.ready.v1 or chat4all.file.rejected.v1.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from events import Event, EventData, FileCompleted
from shared.domain.errors import Conflict, NotFound
from shared.ports import Ports
from shared.repositories.verification import Verification, verification

SOURCE = "/functions/verify-upload"


@dataclass(frozen=True, slots=True)
class VerifyUpload:
    accepts: ClassVar[tuple[type[EventData], ...]] = (FileCompleted,)

    verification: Verification

    async def handle(self, event: Event[FileCompleted]) -> None:
        with suppress(Conflict, NotFound):  # its upload goes on, or it was deleted: its status says so
            await self.verification.finish(
                event.tenant, event.data.file_id, source=SOURCE, traceparent=event.traceparent
            )


def new(ports: Ports) -> VerifyUpload:
    return VerifyUpload(verification(ports))

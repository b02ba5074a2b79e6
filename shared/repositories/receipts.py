"""What in-app clients acknowledged and read, as immutable ranges (design.md 4)."""

from dataclasses import dataclass
from datetime import datetime

from events.vocabulary import IN_APP, ReceiptKind, Status
from shared.domain.status import Report
from shared.ports.tables import Put, Row, Tables
from shared.repositories.cursors import Cursors
from shared.repositories.schema import RECEIPTS

_STATUS = {ReceiptKind.DELIVERED: Status.DELIVERED, ReceiptKind.READ: Status.READ}
_COVERING = 20  # range rows looked at to find the one that covers a seq


@dataclass(frozen=True, slots=True)
class Range:
    from_seq: int
    to_seq: int


class Receipts:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._cursors = Cursors(tables)

    async def cursor(self, tenant: str, conversation_id: str, user_id: str, kind: ReceiptKind) -> int:
        """Everything up to this seq is acknowledged; it may be low, never too high."""
        return await self._cursors.get(tenant, conversation_id, f"{kind}/{user_id}")

    async def up_to(
        self, tenant: str, conversation_id: str, user_id: str, kind: ReceiptKind, seq: int, at: datetime
    ) -> Range | None:
        """Keep that the user has everything up to ``seq``; the new range, None when nothing is new."""
        cursor = await self.cursor(tenant, conversation_id, user_id, kind)
        if seq <= cursor:
            return None
        new = Range(cursor + 1, seq)
        await self._keep(tenant, conversation_id, user_id, kind, new, at)
        await self._cursors.move(tenant, conversation_id, f"{kind}/{user_id}", seq)
        return new

    async def one(
        self, tenant: str, conversation_id: str, user_id: str, kind: ReceiptKind, seq: int, at: datetime
    ) -> Range | None:
        """Keep that the user has the one message; its range, None when that was known."""
        cursor = await self.cursor(tenant, conversation_id, user_id, kind)
        known = await self.reported(tenant, conversation_id, user_id, seq)
        if seq <= cursor or any(report.status is _STATUS[kind] for report in known):
            return None
        new = Range(seq, seq)
        await self._keep(tenant, conversation_id, user_id, kind, new, at)
        if seq == cursor + 1:
            await self._cursors.move(tenant, conversation_id, f"{kind}/{user_id}", seq)
        return new

    async def reported(self, tenant: str, conversation_id: str, user_id: str, seq: int) -> list[Report]:
        """The user's reports about the message with this number."""
        found = []
        for kind, status in _STATUS.items():
            rows = await self._tables.slice(
                RECEIPTS, (tenant, conversation_id), prefix=(user_id, str(kind)), after=seq - 1, limit=_COVERING
            )
            times = [row["at"] for row in rows if int(str(row["from_seq"])) <= seq]
            if times:
                at = min(times)  # type: ignore[type-var]
                assert isinstance(at, datetime)
                found.append(Report(recipient=user_id, channel=IN_APP, status=status, at=at, source="client"))
        return found

    async def is_read(self, tenant: str, conversation_id: str, user_id: str, seq: int) -> bool:
        reports = await self.reported(tenant, conversation_id, user_id, seq)
        return any(report.status is Status.READ for report in reports)

    async def _keep(
        self, tenant: str, conversation_id: str, user_id: str, kind: ReceiptKind, new: Range, at: datetime
    ) -> None:
        row: Row = {
            "tenant": tenant,
            "conversation_id": conversation_id,
            "user_id": user_id,
            "kind": str(kind),
            "to_seq": new.to_seq,
            "from_seq": new.from_seq,
            "at": at,
        }
        await self._tables.put(Put(RECEIPTS, row))

"""What in-app clients acknowledged and read, as immutable ranges (design.md 4)."""

from dataclasses import dataclass
from datetime import datetime

from events.vocabulary import IN_APP, ReceiptKind, Status
from shared.domain.status import Report
from shared.ports.tables import Put, Row, Tables
from shared.repositories.cursors import Cursors
from shared.repositories.schema import RECEIPTS

_STATUS = {ReceiptKind.DELIVERED: Status.DELIVERED, ReceiptKind.READ: Status.READ}
_PAGE = 200  # range rows read at once


@dataclass(frozen=True, slots=True)
class Range:
    from_seq: int
    to_seq: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """A user's ranges over a stretch of a conversation."""

    user_id: str
    ranges: tuple[tuple[Status, Range, datetime], ...]

    def reports(self, seq: int) -> list[Report]:
        """What they say of the message with this number: the earliest report of each kind."""
        earliest: dict[Status, datetime] = {}
        for status, covered, at in self.ranges:
            if covered.from_seq <= seq <= covered.to_seq:
                earliest[status] = min(at, earliest.get(status, at))
        return [
            Report(recipient=self.user_id, channel=IN_APP, status=status, at=at, source="client")
            for status, at in earliest.items()
        ]


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
        """
        Keep that the user has everything up to ``seq``.

        Returns: the range that says so, the same when it is said again; None when a longer one says it.
        """
        cursor = await self.cursor(tenant, conversation_id, user_id, kind)
        if seq <= cursor:
            rows = await self._tables.slice(
                RECEIPTS, (tenant, conversation_id), prefix=(user_id, str(kind), seq), limit=1
            )
            return Range(int(str(rows[0]["from_seq"])), seq) if rows else None
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
        coverage = await self.coverage(tenant, conversation_id, user_id, seq, seq)
        return coverage.reports(seq)

    async def coverage(self, tenant: str, conversation_id: str, user_id: str, first: int, last: int) -> "Coverage":
        """What the user said of the messages ``first`` to ``last``: two looks, however many messages."""
        found: list[tuple[Status, Range, datetime]] = []
        for kind, status in _STATUS.items():
            after = first - 1
            while True:
                rows = await self._tables.slice(
                    RECEIPTS, (tenant, conversation_id), prefix=(user_id, str(kind)), after=after, limit=_PAGE
                )
                for row in rows:
                    at = row["at"]
                    assert isinstance(at, datetime)
                    found.append((status, Range(int(str(row["from_seq"])), int(str(row["to_seq"]))), at))
                # Ranges come in the order of their ends; one that covers everything is the last that can matter.
                covering = any(it.from_seq <= first and last <= it.to_seq for _, it, _ in found[-len(rows) :])
                if len(rows) < _PAGE or covering:
                    break
                after = found[-1][1].to_seq
        return Coverage(user_id, tuple(found))

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

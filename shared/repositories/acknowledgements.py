"""What an in-app client has received and read: the range is kept, then told (A9; design.md 4)."""

from dataclasses import dataclass

from events import Event, ReceiptReported, derived_id
from events.vocabulary import ReceiptKind
from shared.ports import Clock, EventSink
from shared.repositories.receipts import Range, Receipts


@dataclass(frozen=True, slots=True)
class Acknowledgements:
    """``source`` is the function that says so. Whether the user may is the caller's business."""

    receipts: Receipts
    sink: EventSink
    clock: Clock
    source: str

    async def cursor(self, tenant: str, conversation_id: str, user_id: str) -> int:
        """Everything up to this number is acknowledged, for who has read has received; low, never too high."""
        return max(
            await self.receipts.cursor(tenant, conversation_id, user_id, ReceiptKind.DELIVERED),
            await self.receipts.cursor(tenant, conversation_id, user_id, ReceiptKind.READ),
        )

    async def one(
        self, tenant: str, conversation_id: str, user_id: str, kind: ReceiptKind, seq: int, traceparent: str | None
    ) -> None:
        """Of one message; repeating it changes nothing."""
        new = await self.receipts.one(tenant, conversation_id, user_id, kind, seq, self.clock.now())
        # Said again even if it was known: whoever kept it may have died before it was told.
        await self._tell(tenant, conversation_id, user_id, kind, new or Range(seq, seq), traceparent)

    async def up_to(
        self, tenant: str, conversation_id: str, user_id: str, kind: ReceiptKind, seq: int, traceparent: str | None
    ) -> None:
        """Of everything up to ``seq``, which must exist."""
        new = await self.receipts.up_to(tenant, conversation_id, user_id, kind, seq, self.clock.now())
        if new is not None:
            await self._tell(tenant, conversation_id, user_id, kind, new, traceparent)

    async def _tell(
        self, tenant: str, conversation_id: str, user_id: str, kind: ReceiptKind, new: Range, traceparent: str | None
    ) -> None:
        now = self.clock.now()
        data = ReceiptReported(
            conversation_id=conversation_id,
            user_id=user_id,
            kind=kind,
            from_seq=new.from_seq,
            to_seq=new.to_seq,
            at=now,
        )
        event_id = derived_id("receipt", tenant, conversation_id, data.part, str(new.from_seq))
        await self.sink.emit(
            Event(id=event_id, source=self.source, tenant=tenant, time=now, data=data, traceparent=traceparent)
        )

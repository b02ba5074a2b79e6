"""How far a reader has come in a conversation. A cursor may be lost or low: its reader does work again."""

from shared.ports.tables import Put, Row, Tables
from shared.repositories.schema import CURSORS


class Cursors:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def get(self, tenant: str, conversation_id: str, reader: str) -> int:
        """The last number that ``reader`` has done, 0 when none."""
        row = await self._tables.get(CURSORS, (tenant, conversation_id, reader))
        return 0 if row is None else int(str(row["seq"]))

    async def move(self, tenant: str, conversation_id: str, reader: str, seq: int) -> None:
        """Forward to ``seq``; a cursor that is further already stays."""
        if seq > await self.get(tenant, conversation_id, reader):
            row: Row = {"tenant": tenant, "conversation_id": conversation_id, "reader": reader, "seq": seq}
            await self._tables.put(Put(CURSORS, row))

"""What deliveries keep of a person's addresses at providers, found by the person's identities and conversations."""

from shared.ports.tables import Put, Table, Tables
from shared.repositories.conversations import Conversations
from shared.repositories.identities import Identities
from shared.repositories.schema import CURSORS, DELIVERIES, ECHOES, LAST_ACCOUNTS, MAILBOX, UNCERTAIN

_PAGE = 500


class Addresses:
    """
    Erasure takes the addresses of somebody who is still linked to them and still in the conversations, so it comes
    first; a call that died half-way is repeated. What is not found by these two: addresses that were unlinked, and
    conversations that were left, before.
    """

    def __init__(self, tables: Tables, conversations: Conversations) -> None:
        self._tables = tables
        self._identities = Identities(tables)
        self._conversations = conversations

    async def erase_user(self, tenant: str, user_id: str) -> int:
        """Forget the addresses in mailboxes and deliveries (LGPD art. 18); how many rows named one."""
        rows = await self._identities.rows(tenant, user_id)
        addresses = [(str(row["channel"]), str(row["identifier"])) for row in rows]
        removed = 0
        for channel, address in addresses:
            removed += await self._clear(UNCERTAIN, (tenant, channel, address), "delivery_id")
            removed += await self._clear(ECHOES, (tenant, channel, address), "provider_message_id")
            await self._tables.delete(LAST_ACCOUNTS, (tenant, channel, address))
        after: str | None = None
        while addresses and (page := await self._conversations.of_user(tenant, user_id, after=after, limit=_PAGE)):
            for conversation_id in page:
                for channel, address in addresses:
                    removed += await self._empty(tenant, channel, address, conversation_id)
            after = page[-1]
        return removed

    async def _empty(self, tenant: str, channel: str, address: str, conversation_id: str) -> int:
        """The mailbox: what waits in it is not sent any more."""
        partition = (tenant, channel, address, conversation_id)
        removed = 0
        while rows := await self._tables.slice(MAILBOX, partition, limit=_PAGE, serial=True):
            for row in rows:
                await self._forget_delivery(tenant, str(row["delivery_id"]))
            await self._tables.delete(MAILBOX, *[(*partition, row["seq"]) for row in rows])
            removed += len(rows)
        await self._tables.delete(CURSORS, (tenant, conversation_id, f"mailbox/{channel}/{address}"))
        return removed

    async def _forget_delivery(self, tenant: str, delivery_id: str) -> None:
        """The row stays for the status history, without the address."""
        row = await self._tables.get(DELIVERIES, (tenant, delivery_id))
        if row is not None and row["address"]:
            await self._tables.put(Put(DELIVERIES, {**row, "address": ""}))

    async def _clear(self, table: Table, partition: tuple[str, str, str], key: str) -> int:
        removed = 0
        while rows := await self._tables.slice(table, partition, limit=_PAGE):
            await self._tables.delete(table, *[(*partition, row[key]) for row in rows])
            removed += len(rows)
        return removed

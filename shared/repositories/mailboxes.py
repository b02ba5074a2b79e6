"""
Mailboxes: what waits for one address in one conversation, in the order of seq (design.md 4).

Rows are added by route and changed by compare-and-set only, so that one process at a time asks the provider.
"""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from shared.domain.mailbox import Item, State
from shared.ports.tables import Put, Row, Tables
from shared.repositories.cursors import Cursors
from shared.repositories.schema import ECHOES, LAST_ACCOUNTS, MAILBOX, UNCERTAIN

_PAGE = 50
_UNCERTAIN_TTL = 7 * 24 * 3600  # seconds
_ECHO_TTL = 24 * 3600  # seconds
_PROVIDERS_CLOCK = timedelta(seconds=5)
"""By how much a provider's time, often in whole seconds, may lie before ours."""


@dataclass(frozen=True, slots=True)
class Mailbox:
    tenant: str
    channel: str
    address: str
    conversation_id: str

    @property
    def partition(self) -> tuple[str, str, str, str]:
        return self.tenant, self.channel, self.address, self.conversation_id


@dataclass(frozen=True, slots=True)
class InDoubt:
    """A delivery whose answer was lost, where an echo can find it; ``since``: when its part was first sent."""

    delivery_id: str
    conversation_id: str
    seq: int
    text_hash: str
    part: int
    parts: int
    since: datetime

    def matches(self, text_hash: str, at: datetime) -> bool:
        """Whether an echo may be that of what was sent; of media, whose hash is "", none is."""
        return bool(text_hash) and self.text_hash == text_hash and _not_before(at, self.since)


class Mailboxes:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._cursors = Cursors(tables)

    async def add(self, mailbox: Mailbox, item: Item) -> None:
        """Put ``item`` into the mailbox unless it is there."""
        await self._tables.put_if_absent(MAILBOX, _row(mailbox, item))

    async def get(self, mailbox: Mailbox, seq: int) -> Item | None:
        row = await self._tables.get(MAILBOX, (*mailbox.partition, seq), serial=True)
        return None if row is None else _item(row)

    async def lowest_unfinished(self, mailbox: Mailbox) -> Item | None:
        cursor = await self._cursor(mailbox)
        start = cursor
        while True:
            rows = await self._tables.slice(MAILBOX, mailbox.partition, after=cursor, limit=_PAGE, serial=True)
            for row in rows:
                item = _item(row)
                if not item.finished:
                    await self._move(mailbox, start, cursor)
                    return item
                cursor = item.seq
            if len(rows) < _PAGE:
                await self._move(mailbox, start, cursor)
                return None

    async def change(self, mailbox: Mailbox, before: Item, after: Item) -> bool:
        """Compare-and-set of the whole row; False when somebody else has changed it."""
        columns = {name: value for name, value in _columns(before).items() if name in _JUDGED}
        changes = {name: value for name, value in _columns(after).items() if name in _JUDGED or name == "text_hash"}
        return await self._tables.update_if(
            MAILBOX, (*mailbox.partition, before.seq), expected=columns, changes=changes
        )

    async def doubt(self, mailbox: Mailbox, item: Item, parts: int, since: datetime) -> None:
        """Let echoes since then find the delivery, whose text has ``parts``; an earlier doubt of the part counts on."""
        since = await self.doubted_since(mailbox, item) or since
        row: Row = {
            "tenant": mailbox.tenant,
            "channel": mailbox.channel,
            "address": mailbox.address,
            "delivery_id": item.delivery_id,
            "conversation_id": mailbox.conversation_id,
            "seq": item.seq,
            "text_hash": item.text_hash,
            "part": item.part,
            "parts": parts,
            "since": since,
        }
        await self._tables.put(Put(UNCERTAIN, row, ttl=_UNCERTAIN_TTL))

    async def doubted_since(self, mailbox: Mailbox, item: Item) -> datetime | None:
        """When the part that is in doubt was first sent; None: it is in no doubt."""
        key = mailbox.tenant, mailbox.channel, mailbox.address, item.delivery_id
        row = await self._tables.get(UNCERTAIN, key)
        if row is None or row["part"] != item.part:
            return None
        since = row["since"]
        assert isinstance(since, datetime)
        return since

    async def in_doubt(self, tenant: str, channel: str, address: str) -> list[InDoubt]:
        rows = await self._tables.slice(UNCERTAIN, (tenant, channel, address), limit=_PAGE)
        found = []
        for row in rows:
            since = row["since"]
            assert isinstance(since, datetime)
            found.append(
                InDoubt(
                    str(row["delivery_id"]),
                    str(row["conversation_id"]),
                    int(str(row["seq"])),
                    str(row["text_hash"]),
                    int(str(row["part"])),
                    int(str(row["parts"])),
                    since,
                )
            )
        return sorted(found, key=lambda doubt: (doubt.since, doubt.seq))

    async def settle(self, mailbox: Mailbox, delivery_id: str) -> None:
        """The delivery is in doubt no more."""
        await self._tables.delete(UNCERTAIN, (mailbox.tenant, mailbox.channel, mailbox.address, delivery_id))

    async def keep_echo(
        self, tenant: str, channel: str, address: str, provider_message_id: str, text_hash: str, at: datetime
    ) -> None:
        """Keep an echo that nobody is in doubt about yet."""
        row: Row = {
            "tenant": tenant,
            "channel": channel,
            "address": address,
            "provider_message_id": provider_message_id,
            "text_hash": text_hash,
            "at": at,
        }
        await self._tables.put(Put(ECHOES, row, ttl=_ECHO_TTL))

    async def echoes(self, mailbox: Mailbox, text_hash: str, since: datetime) -> list[str]:
        """Provider's ids of kept echoes with this text from then on, oldest first; "" has none."""
        rows = await self._tables.slice(ECHOES, (mailbox.tenant, mailbox.channel, mailbox.address), limit=_PAGE)
        found = []
        for row in rows:
            at = row["at"]
            assert isinstance(at, datetime)
            if text_hash and row["text_hash"] == text_hash and _not_before(at, since):
                found.append((at, str(row["provider_message_id"])))
        return [provider_message_id for _, provider_message_id in sorted(found)]

    async def wrote_to(self, tenant: str, channel: str, address: str, account_id: str) -> None:
        """Somebody wrote to this account of ours."""
        row: Row = {"tenant": tenant, "channel": channel, "address": address, "account_id": account_id}
        if await self.last_account(tenant, channel, address) != account_id:
            await self._tables.put(Put(LAST_ACCOUNTS, row))

    async def last_account(self, tenant: str, channel: str, address: str) -> str | None:
        row = await self._tables.get(LAST_ACCOUNTS, (tenant, channel, address))
        return None if row is None else str(row["account_id"])

    async def _cursor(self, mailbox: Mailbox) -> int:
        return await self._cursors.get(mailbox.tenant, mailbox.conversation_id, _reader(mailbox))

    async def _move(self, mailbox: Mailbox, start: int, cursor: int) -> None:
        if cursor > start:
            await self._cursors.move(mailbox.tenant, mailbox.conversation_id, _reader(mailbox), cursor)


_JUDGED = ("state", "tries", "attempt", "part", "until")


def _not_before(at: datetime, since: datetime) -> bool:
    return at >= since - _PROVIDERS_CLOCK


def _reader(mailbox: Mailbox) -> str:
    return f"mailbox/{mailbox.channel}/{mailbox.address}"


def _columns(item: Item) -> Row:
    return {**asdict(item), "state": str(item.state)}


def _row(mailbox: Mailbox, item: Item) -> Row:
    return {
        "tenant": mailbox.tenant,
        "channel": mailbox.channel,
        "address": mailbox.address,
        "conversation_id": mailbox.conversation_id,
        **_columns(item),
    }


def _item(row: Row) -> Item:
    until = row["until"]
    assert until is None or isinstance(until, datetime)
    return Item(
        seq=int(str(row["seq"])),
        delivery_id=str(row["delivery_id"]),
        message_id=str(row["message_id"]),
        recipient=str(row["recipient"]),
        state=State(str(row["state"])),
        tries=int(str(row["tries"])),
        attempt=int(str(row["attempt"])),
        part=int(str(row["part"])),
        until=until,
        text_hash=None if row["text_hash"] is None else str(row["text_hash"]),
    )

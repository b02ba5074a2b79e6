"""
The timeline of a conversation: the sequence protocol of design.md 4 over the tables, and its readers.

``accept`` gives a draft its number by one all-or-nothing write, whoever else is sending. One process puts its
own sends of a conversation one behind the other, several in one write; against other processes the write
itself is the judge. The head is only ever a hint: a number is tried after one that is known to be taken.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from events import Event, MessageAccepted
from events.vocabulary import Payload, Text
from shared.domain.errors import Conflict, Unavailable
from shared.domain.message import EXPIRED, Draft
from shared.domain.sequence import BUCKET, Holder, advance, bucket_of, fits
from shared.domain.webhook import name_of
from shared.ports.cache import Cache
from shared.ports.clock import Clock
from shared.ports.outbox import Acceptance, Outbox
from shared.ports.tables import Put, Row, Tables
from shared.repositories.interest import Interest
from shared.repositories.listeners import Listeners
from shared.repositories.schema import EPHEMERAL_PAYLOADS, MESSAGE_IDS, TIMELINE

_BATCH = 64  # messages in one write
_BATCH_TEXT = 128 * 1024  # characters of their texts: Cassandra refuses a write of 4 MiB, and each is in it thrice
_KNOWN_HEADS = 10_000  # conversations whose head this process remembers
_HINT_TTL = 24 * 3600.0  # seconds
_PAGE = 200  # rows read at once
_ACCEPTED = name_of(MessageAccepted.TYPE)


class MessageIdTaken(Conflict):
    """The message_id is that of another message."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """``replayed``: the same message was accepted before; nothing new was stored."""

    message: MessageAccepted
    replayed: bool


class _Sending:
    """One draft on its way through the protocol."""

    __slots__ = ("done", "draft", "fingerprint", "source", "traceparent")

    def __init__(self, draft: Draft, source: str, traceparent: str | None, done: "asyncio.Future[Accepted]") -> None:
        self.draft = draft
        self.fingerprint = draft.fingerprint
        self.source = source
        self.traceparent = traceparent
        self.done = done

    def answer(self, accepted: Accepted) -> None:
        if not self.done.done():
            self.done.set_result(accepted)

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)


def _first(waiting: list[_Sending]) -> list[_Sending]:
    """Those that go into one write; at least one."""
    room = _BATCH_TEXT
    for count, sending in enumerate(waiting[:_BATCH]):
        payload = sending.draft.payload
        room -= len(payload.text) if isinstance(payload, Text) else 0
        if room < 0 and count:
            return waiting[:count]
    return waiting[:_BATCH]


class Timeline:
    def __init__(self, tables: Tables, outbox: Outbox, cache: Cache, clock: Clock, *, bucket: int = BUCKET) -> None:
        self._tables = tables
        self._outbox = outbox
        self._cache = cache
        self._clock = clock
        self._bucket = bucket
        self._interest = Interest(tables)
        self._listeners = Listeners(tables)
        self._lanes: dict[tuple[str, str], list[_Sending]] = {}
        self._heads: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, tenant: str, draft: Draft, *, source: str, traceparent: str | None) -> Accepted:
        """
        Store and number the message, and hand over message.accepted.

        Raises:
            Conflict: the message_id is that of another message.
            Unavailable: nothing, or not known what, was accepted; send the same message again.
        """
        done: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        sending = _Sending(draft, source, traceparent, done)
        lane = (tenant, draft.conversation_id)
        waiting = self._lanes.get(lane)
        if waiting is None:
            self._lanes[lane] = [sending]
            task = asyncio.create_task(self._drain(lane))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            waiting.append(sending)
        return await done

    async def _drain(self, lane: tuple[str, str]) -> None:
        waiting = self._lanes[lane]
        try:
            while waiting:
                batch = _first(waiting)
                del waiting[: len(batch)]
                try:
                    await self._place(lane, batch)
                except asyncio.CancelledError:
                    waiting[:0] = batch
                    raise
                except Exception as error:  # noqa: BLE001  whoever waits for the answer gets it, bugs included
                    for sending in batch:
                        sending.fail(error)
        finally:
            for sending in self._lanes.pop(lane):
                sending.fail(Unavailable("the process is stopping; send the message again"))

    async def _place(self, lane: tuple[str, str], batch: list[_Sending]) -> None:
        tenant, conversation_id = lane
        head = await self._known_head(lane)
        unplaced = await self._answer_repeats(lane, batch)
        webhooks = bool(unplaced) and await self._interest.wanted(tenant, _ACCEPTED)
        while unplaced:
            push = await self._listeners.any_of(tenant)
            chunk = unplaced[: fits(head, len(unplaced), self._bucket)]
            at = self._clock.now()
            messages = [
                sending.draft.accepted(head + 1 + i, at, webhooks=webhooks, push=push)
                for i, sending in enumerate(chunk)
            ]
            in_the_way = await self._outbox.commit(self._acceptance(tenant, conversation_id, chunk, messages))
            if not in_the_way:
                head += len(chunk)
                self._remember(lane, head)
                for sending, message in zip(chunk, messages, strict=True):
                    sending.answer(Accepted(message, replayed=False))
                unplaced = unplaced[len(chunk) :]
            else:
                head = await self._read_on(tenant, conversation_id, head, unplaced, in_the_way)
                self._remember(lane, head)
                unplaced = [sending for sending in unplaced if not sending.done.done()]
        await self._cache.put(f"{tenant}/head/{conversation_id}", b"%d" % head, ttl=_HINT_TTL)

    async def _answer_repeats(self, lane: tuple[str, str], batch: list[_Sending]) -> list[_Sending]:
        """Answer what was accepted before; the rest, each message_id once."""
        tenant, conversation_id = lane
        fresh: dict[str, _Sending] = {}
        others: list[_Sending] = []
        for sending in batch:
            message_id = sending.draft.message_id
            first = fresh.get(message_id)
            if first is not None and first.fingerprint == sending.fingerprint:
                self._follow(first, sending)
                continue
            if first is not None:
                others.append(sending)
                continue
            if sending.draft.fresh:
                fresh[message_id] = sending
                continue
            try:
                holder = await self._holder_of(tenant, conversation_id, message_id)
            except Conflict as error:
                sending.fail(error)
                continue
            if holder is None:
                fresh[message_id] = sending
            else:
                await self._answer_known(tenant, conversation_id, sending, holder)
        # The same id with other content: judged when it is known what became of the first.
        self._lanes[lane][:0] = others
        return list(fresh.values())

    async def _holder_of(self, tenant: str, conversation_id: str, message_id: str) -> Holder | None:
        """
        The number that the message_id holds, in whatever bucket.

        Nothing can be missed: message_ids names a bucket before anybody tries a number in it, and what lands after
        this look lands after the head that was known before it, where the claims and ``_read_on`` see it.

        Raises:
            Conflict: it is that of a message in another conversation.
        """
        for row in await self._tables.slice(MESSAGE_IDS, (tenant, message_id), limit=_PAGE):
            holder = await self._in_bucket(tenant, str(row["conversation_id"]), _int(row["bucket"]), message_id)
            if holder is not None and row["conversation_id"] != conversation_id:
                raise MessageIdTaken("this message_id is that of a message in another conversation; use a new one")
            if holder is not None:
                return holder
        return None

    async def _in_bucket(self, tenant: str, conversation_id: str, bucket: int, message_id: str) -> Holder | None:
        row = await self._tables.get(TIMELINE, (tenant, conversation_id, bucket, "m", 0, message_id), serial=True)
        return None if row is None else _holder(row["number"], message_id, row["fingerprint"])

    def _follow(self, first: _Sending, second: _Sending) -> None:
        """The same message twice in one batch: the second is answered like the first, as its repeat."""

        def answer(done: "asyncio.Future[Accepted]") -> None:
            error = None if done.cancelled() else done.exception()
            if done.cancelled():
                second.fail(Unavailable("the same message was being sent and was cancelled; send it again"))
            elif error is not None:
                second.fail(error)
            else:
                second.answer(Accepted(done.result().message, replayed=True))

        first.done.add_done_callback(answer)

    async def _answer_known(self, tenant: str, conversation_id: str, sending: _Sending, holder: Holder) -> None:
        if holder.fingerprint != sending.fingerprint:
            sending.fail(_conflict())
            return
        message = await self.message(tenant, conversation_id, holder.seq)
        if message is None:
            sending.fail(Unavailable("the message is stored but cannot be read now; try again"))
            return
        sending.answer(Accepted(message, replayed=True))

    async def _read_on(
        self, tenant: str, conversation_id: str, head: int, unplaced: list[_Sending], in_the_way: Sequence[Row]
    ) -> int:
        """After a refusal: answer those of ours that are in the timeline, and find the first free number."""
        by_id = {sending.draft.message_id: sending for sending in unplaced}
        bucket = bucket_of(head + 1, self._bucket)
        for row in in_the_way:
            if row["kind"] == "m":
                holder = _holder(row["number"], str(row["message_id"]), row["fingerprint"])
                await self._answer_known(tenant, conversation_id, by_id[holder.message_id], holder)
        while True:
            rows = await self._tables.slice(
                TIMELINE,
                (tenant, conversation_id, bucket),
                prefix=("s",),
                after=head,
                limit=_PAGE,
                serial=True,
            )
            ahead = advance(head, (_holder_of_row(row) for row in rows), frozenset(by_id))
            for holder in ahead.found:
                await self._answer_known(tenant, conversation_id, by_id[holder.message_id], holder)
            head = ahead.head
            if bucket_of(head + 1, self._bucket) == bucket and len(rows) < _PAGE:
                return head
            if bucket_of(head + 1, self._bucket) != bucket:
                # The last number of the bucket is taken: nothing can be added to it any more, so a look for
                # ours in the bucket left behind is final.
                for message_id, sending in by_id.items():
                    left = await self._in_bucket(tenant, conversation_id, bucket, message_id)
                    if left is not None and not sending.done.done():
                        await self._answer_known(tenant, conversation_id, sending, left)
                bucket = bucket_of(head + 1, self._bucket)

    def _acceptance(
        self, tenant: str, conversation_id: str, chunk: Sequence[_Sending], messages: Sequence[MessageAccepted]
    ) -> Acceptance:
        claims: list[Row] = []
        puts: list[Put] = []
        leads: list[Put] = []
        events: list[Event[Any]] = []
        partition: Row = {
            "tenant": tenant,
            "conversation_id": conversation_id,
            "bucket": bucket_of(messages[0].seq, self._bucket),
        }
        for sending, message in zip(chunk, messages, strict=True):
            kept = message
            if message.expires_at is not None:
                kept = msgspec.structs.replace(message, payload=EXPIRED)
                puts.append(_payload_row(tenant, message, sending.draft.ttl_seconds or 0))
            claims += _claims(partition, kept, sending.fingerprint)
            leads.append(_lead(partition, message))
            events.append(
                Event(
                    id=message.message_id,
                    source=sending.source,
                    tenant=tenant,
                    time=message.created_at,
                    data=kept,  # what is to be forgotten is not kept in the log either (A15)
                    traceparent=sending.traceparent,
                )
            )
        return Acceptance(TIMELINE, claims, puts, events, leads)

    async def head(self, tenant: str, conversation_id: str) -> int:
        """The highest number of the conversation, 0 when nothing was said."""
        return await self._search_head(tenant, conversation_id, await self._known_head((tenant, conversation_id)))

    async def _known_head(self, lane: tuple[str, str]) -> int:
        """A number that is taken for certain, or 0: what this process saw, else a hint that was verified."""
        seen = self._heads.get(lane)
        if seen is not None:
            self._heads.move_to_end(lane)
            return seen
        tenant, conversation_id = lane
        hint = await self._cache.get(f"{tenant}/head/{conversation_id}")
        if hint is not None and hint.isdigit() and await self._taken(tenant, conversation_id, int(hint)):
            return int(hint)
        head = await self._search_head(tenant, conversation_id, 0)
        self._remember(lane, head)
        return head

    async def _taken(self, tenant: str, conversation_id: str, seq: int) -> bool:
        key = (tenant, conversation_id, bucket_of(seq, self._bucket), "s", seq, "")
        return seq > 0 and await self._tables.get(TIMELINE, key) is not None

    async def _search_head(self, tenant: str, conversation_id: str, floor: int) -> int:
        """From ``floor``, a taken number or 0: gallop over the buckets, then halve; there are no gaps."""
        head = floor
        low, step = bucket_of(floor, self._bucket), 1
        last = await self._last_in(tenant, conversation_id, low)
        head = max(head, last)
        while (last := await self._last_in(tenant, conversation_id, low + step)) > 0:
            head, low, step = last, low + step, step * 2
        high = low + step
        while high - low > 1:
            middle = (low + high) // 2
            last = await self._last_in(tenant, conversation_id, middle)
            if last > 0:
                head, low = last, middle
            else:
                high = middle
        return head

    async def _last_in(self, tenant: str, conversation_id: str, bucket: int) -> int:
        rows = await self._tables.slice(
            TIMELINE, (tenant, conversation_id, bucket), prefix=("s",), limit=1, reverse=True
        )
        return _int(rows[0]["seq"]) if rows else 0

    def _remember(self, lane: tuple[str, str], head: int) -> None:
        self._heads[lane] = max(head, self._heads.get(lane, 0))
        self._heads.move_to_end(lane)
        if len(self._heads) > _KNOWN_HEADS:
            self._heads.popitem(last=False)

    async def find(self, tenant: str, message_id: str) -> MessageAccepted | None:
        """The message with this id, whatever its conversation."""
        for lead in await self._tables.slice(MESSAGE_IDS, (tenant, message_id), limit=_PAGE):
            conversation_id = str(lead["conversation_id"])
            found = await self.message(tenant, conversation_id, _int(lead["seq"]))
            if found is not None and found.message_id == message_id:
                return found
            holder = await self._in_bucket(tenant, conversation_id, _int(lead["bucket"]), message_id)
            if holder is not None:
                return await self.message(tenant, conversation_id, holder.seq)
        return None

    async def message(self, tenant: str, conversation_id: str, seq: int) -> MessageAccepted | None:
        row = await self._tables.get(TIMELINE, (tenant, conversation_id, bucket_of(seq, self._bucket), "s", seq, ""))
        return None if row is None else await self._message(tenant, row)

    async def since(self, tenant: str, conversation_id: str, since: int, limit: int) -> list[MessageAccepted]:
        """Messages from ``since`` + 1 on, ascending, at most ``limit``."""
        found: list[MessageAccepted] = []
        bucket = bucket_of(since + 1, self._bucket)
        while len(found) < limit:
            rows = await self._tables.slice(
                TIMELINE, (tenant, conversation_id, bucket), prefix=("s",), after=since, limit=limit - len(found)
            )
            found += [await self._message(tenant, row) for row in rows]
            if not found or bucket_of(found[-1].seq + 1, self._bucket) == bucket:
                break
            bucket += 1
        return found

    async def before(self, tenant: str, conversation_id: str, before: int, limit: int) -> list[MessageAccepted]:
        """The last ``limit`` messages with a lower number than ``before``, ascending."""
        found: list[MessageAccepted] = []
        before = min(before, await self.head(tenant, conversation_id) + 1)
        bucket = bucket_of(max(before - 1, 0), self._bucket)
        while len(found) < limit and bucket >= 0:
            rows = await self._tables.slice(
                TIMELINE,
                (tenant, conversation_id, bucket),
                prefix=("s",),
                until=before - 1,
                limit=limit - len(found),
                reverse=True,
            )
            found += [await self._message(tenant, row) for row in rows]
            bucket -= 1
        return found[::-1]

    async def last(self, tenant: str, conversation_id: str) -> MessageAccepted | None:
        head = await self.head(tenant, conversation_id)
        return await self.message(tenant, conversation_id, head) if head else None

    async def _message(self, tenant: str, row: Row) -> MessageAccepted:
        message = msgspec.json.decode(_bytes(row["body"]), type=MessageAccepted)
        if message.expires_at is None:
            return message
        kept = await self._tables.get(EPHEMERAL_PAYLOADS, (tenant, message.message_id))
        if kept is None or message.expires_at <= self._clock.now():
            return message
        payload: Payload = msgspec.json.decode(_bytes(kept["payload"]), type=Payload)
        return msgspec.structs.replace(message, payload=payload)


def _claims(partition: Row, message: MessageAccepted, fingerprint: str) -> Iterator[Row]:
    yield {
        **partition,
        "kind": "s",
        "seq": message.seq,
        "message_id": "",
        "owner": message.message_id,
        "fingerprint": fingerprint,
        "body": msgspec.json.encode(message),
    }
    yield {
        **partition,
        "kind": "m",
        "seq": 0,
        "message_id": message.message_id,
        "number": message.seq,
        "fingerprint": fingerprint,
    }


def _lead(partition: Row, message: MessageAccepted) -> Put:
    return Put(MESSAGE_IDS, {**partition, "message_id": message.message_id, "seq": message.seq})


def _payload_row(tenant: str, message: MessageAccepted, ttl: int) -> Put:
    row: Row = {"tenant": tenant, "message_id": message.message_id, "payload": msgspec.json.encode(message.payload)}
    return Put(EPHEMERAL_PAYLOADS, row, ttl=ttl)


def _holder_of_row(row: Row) -> Holder:
    return _holder(row["seq"], str(row["owner"]), row["fingerprint"])


def _holder(seq: object, message_id: str, fingerprint: object) -> Holder:
    return Holder(_int(seq), message_id, str(fingerprint))


def _conflict() -> Conflict:
    return MessageIdTaken("this message_id was accepted with other content; use a new one for a new message")


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value

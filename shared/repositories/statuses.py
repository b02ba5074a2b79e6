"""
Where a message stands with each of its recipients: providers' reports and in-app ranges, put together (A9).

An in-app delivery is SENT when the message is accepted, for then it is in the timeline that its recipients read.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from events import MessageAccepted
from events.vocabulary import IN_APP, Status
from shared.domain.routing import in_app_recipients, reaches_in_app
from shared.domain.status import Report, deliveries, overall
from shared.repositories.conversations import Conversations
from shared.repositories.deliveries import Deliveries
from shared.repositories.receipts import Coverage, Receipts


@dataclass(frozen=True, slots=True)
class Statuses:
    conversations: Conversations
    deliveries: Deliveries
    receipts: Receipts

    async def roster(self, tenant: str, conversation_id: str) -> Mapping[str, datetime]:
        """The members and when they joined; one look serves all messages of a conversation."""
        return await self.conversations.roster(tenant, conversation_id)

    async def reports(
        self, tenant: str, messages: Sequence[MessageAccepted], roster: Mapping[str, datetime]
    ) -> list[list[Report]]:
        """
        Everything reported about each of the messages, for those who were members when it came.

        The messages are of one conversation, in the order of seq; each recipient's ranges are read once.
        """
        read = _Reader(self.receipts, tenant, messages)
        found: list[list[Report]] = []
        for message in messages:
            reports: list[Report] = []
            for user in _recipients(message, roster):
                reports.append(_sent(message, user))
                reports += (await read.coverage(user)).reports(message.seq)
            if message.routing == "needed":
                reports += await self.deliveries.reports(tenant, message.message_id)
            found.append(reports)
            await asyncio.sleep(0)  # a page of a large group is work for many turns of the loop
        return found

    async def statuses(
        self, tenant: str, messages: Sequence[MessageAccepted], roster: Mapping[str, datetime]
    ) -> list[Status]:
        """The status of each message; as ``reports``, but no more is read than decides it."""
        read = _Reader(self.receipts, tenant, messages)
        found: list[Status] = []
        for message in messages:
            if message.routing == "needed":
                (reports,) = await self.reports(tenant, [message], roster)
                found.append(overall(deliveries(reports)))
            else:
                found.append(await self._in_app(message, roster, read))
            await asyncio.sleep(0)
        return found

    async def _in_app(self, message: MessageAccepted, roster: Mapping[str, datetime], read: "_Reader") -> Status:
        """The least advanced of its recipients: the first for whom it is only SENT decides."""
        least = Status.READ
        anybody = False
        for user in message.to if message.to is not None else roster:
            if user == message.sender or roster.get(user, message.created_at) > message.created_at:
                continue
            if user not in roster or not reaches_in_app(message):
                continue
            anybody = True
            reported = {report.status for report in (await read.coverage(user)).reports(message.seq)}
            if not reported:
                return Status.SENT
            if Status.READ not in reported:
                least = Status.DELIVERED
        return least if anybody else Status.SENT


class _Reader:
    """What each user said of a page of messages, read when it is first asked for."""

    def __init__(self, receipts: Receipts, tenant: str, messages: Sequence[MessageAccepted]) -> None:
        self._receipts, self._tenant, self._messages = receipts, tenant, messages
        self._known: dict[str, Coverage] = {}

    async def coverage(self, user: str) -> Coverage:
        known = self._known.get(user)
        if known is None:
            first, last = self._messages[0], self._messages[-1]
            known = await self._receipts.coverage(self._tenant, first.conversation_id, user, first.seq, last.seq)
            self._known[user] = known
        return known


def _recipients(message: MessageAccepted, roster: Mapping[str, datetime]) -> list[str]:
    present = [user for user, joined_at in roster.items() if joined_at <= message.created_at]
    return in_app_recipients(message, present)


def _sent(message: MessageAccepted, user: str) -> Report:
    return Report(recipient=user, channel=IN_APP, status=Status.SENT, at=message.created_at, source="send")

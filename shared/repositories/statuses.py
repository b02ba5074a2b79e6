"""
Where a message stands with each of its recipients: providers' reports and in-app ranges, put together (A9).

An in-app delivery is SENT when the message is accepted, for then it is in the timeline that its recipients read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from events import MessageAccepted
from events.vocabulary import IN_APP, Status
from shared.domain.routing import in_app_recipients
from shared.domain.status import Report, deliveries, overall
from shared.repositories.conversations import Conversations
from shared.repositories.deliveries import Deliveries
from shared.repositories.receipts import Receipts


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
        recipients = [_recipients(message, roster) for message in messages]
        everybody = dict.fromkeys(user for users in recipients for user in users)
        first, last = (messages[0].seq, messages[-1].seq) if messages else (1, 0)
        covered = {
            user: await self.receipts.coverage(tenant, messages[0].conversation_id, user, first, last)
            for user in everybody
        }
        found: list[list[Report]] = []
        for message, users in zip(messages, recipients, strict=True):
            reports: list[Report] = []
            for user in users:
                reports.append(_sent(message, user))
                reports += covered[user].reports(message.seq)
            if message.routing == "needed":
                reports += await self.deliveries.reports(tenant, message.message_id)
            found.append(reports)
        return found

    async def statuses(
        self, tenant: str, messages: Sequence[MessageAccepted], roster: Mapping[str, datetime]
    ) -> list[Status]:
        return [overall(deliveries(reports)) for reports in await self.reports(tenant, messages, roster)]


def _recipients(message: MessageAccepted, roster: Mapping[str, datetime]) -> list[str]:
    present = [user for user, joined_at in roster.items() if joined_at <= message.created_at]
    return in_app_recipients(message, present)


def _sent(message: MessageAccepted, user: str) -> Report:
    return Report(recipient=user, channel=IN_APP, status=Status.SENT, at=message.created_at, source="send")

"""
Where a message stands with each of its recipients: providers' reports and in-app ranges, put together (A9).

An in-app delivery is SENT when the message is accepted, for then it is in the timeline that its recipients read.
"""

from collections.abc import Mapping
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

    async def reports(self, tenant: str, message: MessageAccepted, roster: Mapping[str, datetime]) -> list[Report]:
        """Everything reported about the message, for those who were members when it came."""
        present = [user for user, joined_at in roster.items() if joined_at <= message.created_at]
        reports: list[Report] = []
        for user in in_app_recipients(message, present):
            reports.append(
                Report(recipient=user, channel=IN_APP, status=Status.SENT, at=message.created_at, source="send")
            )
            reports += await self.receipts.reported(tenant, message.conversation_id, user, message.seq)
        if message.channels != (IN_APP,) or message.routing == "needed":
            reports += await self.deliveries.reports(tenant, message.message_id)
        return reports

    async def status(self, tenant: str, message: MessageAccepted, roster: Mapping[str, datetime]) -> Status:
        return overall(deliveries(await self.reports(tenant, message, roster)))

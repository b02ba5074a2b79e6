"""Who said what: the receipts of a message concern its sender."""

from collections import OrderedDict

from events import MessageAccepted
from shared.repositories.timeline import Timeline

_REMEMBERED = 10_000
"""Messages that this process has pushed; what others have pushed is read from the timeline."""


class Senders:
    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._seen: OrderedDict[tuple[str, str, int], str] = OrderedDict()

    def remember(self, tenant: str, message: MessageAccepted) -> None:
        self._seen[tenant, message.conversation_id, message.seq] = message.sender
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    async def of(self, tenant: str, conversation_id: str, first: int, last: int) -> set[str]:
        """Who sent the messages ``first`` to ``last``."""
        known = [self._seen.get((tenant, conversation_id, seq)) for seq in range(first, last + 1)]
        senders = {sender for sender in known if sender is not None}
        if None in known:
            count = last - first + 1
            senders |= {one.sender for one in await self._timeline.since(tenant, conversation_id, first - 1, count)}
        return senders

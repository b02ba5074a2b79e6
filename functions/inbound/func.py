"""
inbound: what a provider tells us, verified and stored before it hears 200 (C3, C7).

Takes a provider's webhook (http.py); emits chat4all.message.accepted.v1 and .received.v1 for a customer's
message, chat4all.status.reported.v1 for a receipt, chat4all.echo.received.v1 for an echo.

The message_id of a customer's message is derived from the provider's id, so that a webhook that comes twice is
one message (A11). Who wrote is the user linked to the address, or a contact made for it; where it goes is
decided by the tenant's routing rules.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from events import EchoReceived, Event, EventData, MessageAccepted, MessageReceived, StatusReported, derived_id
from events.vocabulary import IN_APP, Status
from shared.domain.conversation import Conversation, has_room
from shared.domain.errors import Conflict, NotFound, Unauthenticated
from shared.domain.message import Draft
from shared.domain.routing_rules import Bridge, ToConversation, ToDesk
from shared.observability import metrics
from shared.observability.log import log
from shared.ports import Channels, Clock, EventSink, Ports
from shared.ports.channel import Challenge, InboundEcho, InboundMessage, InboundStatus, WebhookRequest
from shared.ports.channel import Inbound as Told
from shared.repositories.channel_accounts import ChannelAccount, ChannelAccounts
from shared.repositories.conversations import Conversations
from shared.repositories.cursors import Cursors
from shared.repositories.deliveries import Deliveries
from shared.repositories.identities import Identities, IdentityLinks
from shared.repositories.mailboxes import Mailboxes
from shared.repositories.membership import Membership
from shared.repositories.routing_rules import RoutingRules
from shared.repositories.timeline import Timeline
from shared.repositories.users import Users

SOURCE = "/functions/inbound"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a customer's message goes, and by which channels it leaves again."""

    conversation: Conversation
    members: tuple[str, ...]
    channels: tuple[str, ...]


def decide(
    tenant: str, channel: str, message: InboundMessage, sender: str, action: ToConversation | Bridge | ToDesk | None
) -> Place | str:
    """The conversation that is to be there, or the id of one that is there already."""
    match action:
        case ToConversation(conversation_id=conversation_id):
            return conversation_id
        case Bridge(user_id=user_id, channels=channels) if user_id != sender:
            conversation_id = derived_id("bridge", tenant, *sorted((sender, user_id)))
            metadata: dict[str, str] = {}
            return Place(_new(conversation_id, "private", message.at, sender, metadata), (sender, user_id), channels)
        case _:
            # The desk's queue, and what no rule speaks of: a conversation for each customer and account.
            conversation_id = derived_id("inbox", tenant, channel, message.account_id, sender)
            metadata = {"inbox": f"{channel}/{message.account_id}"}
            if isinstance(action, ToDesk) and action.department:
                metadata["department"] = action.department
            return Place(_new(conversation_id, "group", message.at, sender, metadata), (sender,), (IN_APP,))


def _new(conversation_id: str, kind: Any, at: datetime, by: str, metadata: dict[str, str]) -> Conversation:
    return Conversation(conversation_id=conversation_id, type=kind, created_at=at, created_by=by, metadata=metadata)


def message_id_of(tenant: str, channel: str, provider_message_id: str) -> str:
    return derived_id("inbound", tenant, channel, provider_message_id)


@dataclass(frozen=True, slots=True)
class Inbound:
    accepts: ClassVar[tuple[type[EventData], ...]] = ()

    clock: Clock
    sink: EventSink
    channels: Channels
    accounts: ChannelAccounts
    rules: RoutingRules
    identities: Identities
    links: IdentityLinks
    conversations: Conversations
    membership: Membership
    timeline: Timeline
    deliveries: Deliveries
    mailboxes: Mailboxes

    async def receive(
        self, tenant: str, channel: str, request: WebhookRequest, traceparent: str | None
    ) -> Challenge | None:
        """
        Take a webhook; the answer to a challenge when it was one.

        Raises:
            NotFound: no such channel.
            Unauthenticated: no account of the tenant has the secret that signed it.
            Invalid: signed, but not what the provider sends.
            Unavailable: not all of it could be stored; the provider sends it again.
        """
        told, ours = await self._verified(tenant, channel, request)
        for one in told:
            if isinstance(one, Challenge):
                return one
            if one.account_id not in ours:
                log.warning("webhook of an account that is not ours", tenant=tenant, channel=channel)
            elif isinstance(one, InboundMessage):
                await self._message(tenant, channel, one, traceparent)
            else:
                await self._report(tenant, channel, one, traceparent)
        return None

    async def _verified(
        self, tenant: str, channel: str, request: WebhookRequest
    ) -> tuple[Sequence[Told], Mapping[str, ChannelAccount]]:
        """What the first account says whose secret holds; accounts of one app share it."""
        self.channels.type_of(channel)
        accounts = await self.accounts.for_channel(tenant, channel)
        for account in accounts:
            try:
                told = self.channels.open(channel, account.config).on_webhook_event(request)
            except Unauthenticated:
                continue
            return told, {one.account_id: one for one in accounts}
        raise Unauthenticated("the signature does not hold for any account of this tenant")

    async def _message(self, tenant: str, channel: str, message: InboundMessage, traceparent: str | None) -> None:
        known = await self.timeline.find(tenant, message_id_of(tenant, channel, message.provider_message_id))
        stored = known or await self._store(tenant, channel, message, traceparent)
        received = MessageReceived(
            message_id=stored.message_id,
            conversation_id=stored.conversation_id,
            seq=stored.seq,
            sender=stored.sender,
            channel=channel,
            account_id=message.account_id,
            received_at=stored.created_at,
        )
        cause = Event(
            id=stored.message_id,
            source=SOURCE,
            tenant=tenant,
            time=stored.created_at,
            data=stored,
            traceparent=traceparent,
        )
        await self.sink.emit(cause.caused(received, source=SOURCE, at=stored.created_at))

    async def _store(
        self, tenant: str, channel: str, message: InboundMessage, traceparent: str | None
    ) -> MessageAccepted:
        sender = await self._sender(tenant, channel, message)
        addresses = (message.address, *message.other_addresses)
        for address in addresses:
            await self.mailboxes.wrote_to(tenant, channel, address, message.account_id)
        rule = await self.rules.first_match(tenant, channel, message.account_id, frozenset(addresses))
        action = rule.action if rule else None
        conversation_id, channels = await self._place(tenant, channel, message, sender, action, traceparent)
        draft = Draft(
            message_id=message_id_of(tenant, channel, message.provider_message_id),
            conversation_id=conversation_id,
            sender=sender,
            payload=message.payload,
            channels=channels,
            metadata={"provider_message_id": message.provider_message_id, "account_id": message.account_id},
            reply_to=await self._answered(tenant, channel, message),
            origin=channel,
        )
        accepted = await self.timeline.accept(tenant, draft, source=SOURCE, traceparent=traceparent)
        if not accepted.replayed:
            metrics.message_accepted(tenant, channel)
        return accepted.message

    async def _sender(self, tenant: str, channel: str, message: InboundMessage) -> str:
        """The user who is linked to any of the person's addresses, and then to all; a contact for the first."""
        addresses = (message.address, *message.other_addresses)
        owners = {address: await self.identities.owner(tenant, channel, address) for address in addresses}
        sender = next((owner for owner in owners.values() if owner is not None), None)
        if sender is None:
            sender = await self.links.ensure_contact(tenant, channel, message.address, message.display_name)
            owners[message.address] = sender
        for address in (address for address, owner in owners.items() if owner is None):
            # Inactive: they name who writes, and a message to this person goes to one address, not to each.
            with suppress(Conflict, NotFound):
                await self.links.link(tenant, sender, channel, address, is_active=False)
        return sender

    async def _place(
        self,
        tenant: str,
        channel: str,
        message: InboundMessage,
        sender: str,
        action: ToConversation | Bridge | ToDesk | None,
        traceparent: str | None,
    ) -> tuple[str, tuple[str, ...]]:
        place = decide(tenant, channel, message, sender, action)
        if isinstance(place, Place):
            conversation = await self.conversations.ensure(tenant, place.conversation, place.members)
            return conversation.conversation_id, place.channels
        cause = message_id_of(tenant, channel, message.provider_message_id)
        if await self._in(tenant, place, sender, cause, traceparent):
            return place, (IN_APP,)
        # The rule points to what nobody can join any more; the customer's message is kept all the same.
        log.warning("routing rule names no conversation that can be joined", tenant=tenant, channel=channel)
        return await self._place(tenant, channel, message, sender, None, traceparent)

    async def _in(self, tenant: str, conversation_id: str, sender: str, cause: str, traceparent: str | None) -> bool:
        """Whether the sender is in the conversation, which they join if it is a group with room."""
        if await self.conversations.is_member(tenant, conversation_id, sender):
            return True
        there = await self.conversations.get(tenant, conversation_id)
        if there is None or not has_room(there, await self.conversations.members(tenant, conversation_id)):
            return False
        await self.membership.join(tenant, there, sender, sender, cause=cause, source=SOURCE, traceparent=traceparent)
        return True

    async def _answered(self, tenant: str, channel: str, message: InboundMessage) -> str | None:
        """Our message_id of the message that the customer quotes, if it is one we know."""
        if message.reply_to is None:
            return None
        known = await self.deliveries.of_provider_message(tenant, channel, message.reply_to)
        record = await self.deliveries.get(tenant, known.delivery_id) if known else None
        return record.message_id if record else None

    async def _report(
        self, tenant: str, channel: str, told: InboundStatus | InboundEcho, traceparent: str | None
    ) -> None:
        now = self.clock.now()
        data: EventData
        if isinstance(told, InboundEcho):
            kind = "echo"
            data = EchoReceived(
                channel=channel,
                account_id=told.account_id,
                address=told.address,
                provider_message_id=told.provider_message_id,
                text_hash=hashlib.sha256(told.text.encode()).hexdigest(),
                at=told.at,
            )
        else:
            kind = str(told.status)
            data = StatusReported(
                channel=channel,
                status=told.status,
                at=told.at,
                source="provider",
                delivery_id=told.delivery_id,
                provider_message_id=told.provider_message_id,
                account_id=told.account_id,
                reason=told.reason if told.status is Status.FAILED else None,
            )
        reported = Event(
            id=derived_id("provider", tenant, channel, told.provider_message_id, kind),
            source=SOURCE,
            tenant=tenant,
            time=now,
            data=data,
            traceparent=traceparent,
        )
        await self.sink.emit(reported)


def new(ports: Ports) -> Inbound:
    tables, clock = ports.tables, ports.clock
    conversations, timeline = Conversations(tables, clock), Timeline(tables, ports.outbox, ports.cache, clock)
    return Inbound(
        clock=clock,
        sink=ports.sink,
        channels=ports.channels,
        accounts=ChannelAccounts(tables, ports.vault, clock),
        rules=RoutingRules(tables),
        identities=Identities(tables),
        links=IdentityLinks(Identities(tables), Users(tables, clock), clock, ports.ids),
        conversations=conversations,
        membership=Membership(conversations, Cursors(tables), timeline, ports.sink, clock),
        timeline=timeline,
        deliveries=Deliveries(tables),
        mailboxes=Mailboxes(tables),
    )

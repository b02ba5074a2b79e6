"""
Where inbound messages go: the tenant's rules, and what they may name (C3).

Takes no event and emits none; its face is HTTP. The inbound function asks ``RoutingRules.first_match``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, assert_never

from events import EventData
from events.vocabulary import ALL, IN_APP
from shared.domain.errors import Invalid, NotFound
from shared.domain.routing_rules import (
    Bridge,
    Match,
    RoutingRule,
    ToConversation,
    ToDesk,
    action_from_json,
    action_to_json,
    match_from_json,
    match_to_json,
)
from shared.ports import Channels, Clock, Ids, Ports
from shared.repositories.conversations import Conversations
from shared.repositories.routing_rules import RoutingRules, no_such_rule
from shared.repositories.users import Users

Document = Mapping[str, Any]
"""A rule as the API writes it: match, action, priority."""


def to_document(rule: RoutingRule) -> dict[str, Any]:
    return {
        "match": match_to_json(rule.match),
        "action": action_to_json(rule.action),
        "priority": rule.priority,
    }


@dataclass(frozen=True, slots=True)
class RuleBook:
    accepts: ClassVar[tuple[type[EventData], ...]] = ()

    rules: RoutingRules
    users: Users
    conversations: Conversations
    channels: Channels
    clock: Clock
    ids: Ids

    async def add(self, tenant: str, document: Document) -> RoutingRule:
        """
        Raises:
            Invalid: it names a channel, user or conversation that is not there.
            Conflict: the tenant has too many rules.
        """
        rule = RoutingRule(
            rule_id=self.ids.uuid(),
            match=match_from_json(document["match"]),
            action=action_from_json(document["action"]),
            priority=document["priority"],
            created_at=self.clock.now(),
        )
        rule = await self._checked(tenant, rule)
        await self.rules.add(tenant, rule)
        return rule

    async def get(self, tenant: str, rule_id: str) -> RoutingRule:
        rule = await self.rules.get(tenant, rule_id)
        if rule is None:
            raise no_such_rule(rule_id)
        return rule

    async def all(self, tenant: str) -> Sequence[RoutingRule]:
        """In the order in which they are tried."""
        return await self.rules.all(tenant)

    async def change(self, tenant: str, rule_id: str, changes: Document) -> RoutingRule:
        """
        Replace those of match, action and priority that are given.

        Raises:
            NotFound: there is no such rule.
            Invalid: as ``add``.
        """
        stored = await self.get(tenant, rule_id)
        wanted = await self._checked(tenant, _changed(stored, changes))
        checked = {name: value for name, value in to_document(wanted).items() if name in changes}
        return await self.rules.change(tenant, rule_id, lambda rule: _changed(rule, checked))

    async def remove(self, tenant: str, rule_id: str) -> None:
        """
        Raises:
            NotFound: there is no such rule.
        """
        await self.get(tenant, rule_id)
        await self.rules.remove(tenant, rule_id)

    async def _checked(self, tenant: str, rule: RoutingRule) -> RoutingRule:
        match rule.action:
            case ToConversation(conversation_id):
                conversation = await self.conversations.get(tenant, conversation_id)
                if conversation is None:
                    raise _wrong("/action/conversation_id", f"there is no conversation {conversation_id!r}")
                if conversation.type == "private":
                    detail = "a private conversation keeps its two members; name the other one by `with`, or a group"
                    raise _wrong("/action/conversation_id", detail)
            case Bridge(user_id, channels):
                if not await self.users.exists(tenant, user_id):
                    raise _wrong("/action/with", f"there is no user {user_id!r}")
                for index, channel in enumerate(channels):
                    if channel not in (ALL, IN_APP):
                        self._known(channel, f"/action/channels/{index}")
            case ToDesk():
                pass
            case _ as unreachable:
                assert_never(unreachable)
        return replace(rule, match=self._canonical(rule.match))

    def _canonical(self, match: Match) -> Match:
        self._known(match.channel, "/match/channel")
        if match.from_address is None:
            return match
        try:
            address = self.channels.type_of(match.channel).check_address(match.from_address)
        except Invalid as error:
            raise _wrong("/match/from", error.detail) from None
        return replace(match, from_address=address)

    def _known(self, channel: str, pointer: str) -> None:
        try:
            self.channels.type_of(channel)
        except NotFound as error:
            raise _wrong(pointer, error.detail) from None


def _changed(rule: RoutingRule, changes: Document) -> RoutingRule:
    document = {**to_document(rule), **changes}
    return replace(
        rule,
        match=match_from_json(document["match"]),
        action=action_from_json(document["action"]),
        priority=document["priority"],
    )


def _wrong(pointer: str, detail: str) -> Invalid:
    return Invalid(errors=[{"pointer": pointer, "detail": detail}])


def new(ports: Ports) -> RuleBook:
    return RuleBook(
        rules=RoutingRules(ports.tables),
        users=Users(ports.tables, ports.clock),
        conversations=Conversations(ports.tables, ports.clock),
        channels=ports.channels,
        clock=ports.clock,
        ids=ports.ids,
    )

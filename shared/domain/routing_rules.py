"""
Where an inbound message goes: the first of the tenant's rules that matches (C3).

Rules are tried by priority, lowest number first; then the one that says more about the message; then the
older one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.domain.errors import Invalid

DEFAULT_PRIORITY = 100


@dataclass(frozen=True, slots=True)
class Match:
    """None matches everything; ``from_address`` is in the channel's canonical form."""

    channel: str
    account_id: str | None = None
    from_address: str | None = None


@dataclass(frozen=True, slots=True)
class ToConversation:
    conversation_id: str


@dataclass(frozen=True, slots=True)
class Bridge:
    """The sender's user talks to ``user_id``, who gets it on these channels."""

    user_id: str
    channels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ToDesk:
    department: str | None = None


Action = ToConversation | Bridge | ToDesk


@dataclass(frozen=True, slots=True)
class RoutingRule:
    rule_id: str
    match: Match
    action: Action
    priority: int
    created_at: datetime


def first_match(
    rules: Iterable[RoutingRule], channel: str, account_id: str, addresses: frozenset[str]
) -> RoutingRule | None:
    """``addresses`` are all that name the sender."""
    return next(
        (rule for rule in sorted(rules, key=position) if matches(rule.match, channel, account_id, addresses)),
        None,
    )


def in_order(rules: Iterable[RoutingRule]) -> list[RoutingRule]:
    """As they are tried."""
    return sorted(rules, key=position)


def matches(match: Match, channel: str, account_id: str, addresses: frozenset[str]) -> bool:
    """
    >>> matches(Match("whatsapp"), "whatsapp", "1", frozenset({"+5511"}))
    True
    >>> matches(Match("whatsapp", from_address="+5511"), "whatsapp", "1", frozenset({"BR.7", "+5511"}))
    True
    >>> matches(Match("whatsapp", from_address="+5522"), "whatsapp", "1", frozenset({"+5511"}))
    False
    """
    return (
        match.channel == channel
        and match.account_id in (None, account_id)
        and (match.from_address is None or match.from_address in addresses)
    )


def position(rule: RoutingRule) -> tuple[int, int, int, str]:
    """Where it stands among the others: what is lower is tried first."""
    match = rule.match
    unsaid = (match.from_address is None) * 2 + (match.account_id is None)
    return rule.priority, unsaid, int(rule.created_at.timestamp() * 1_000_000), rule.rule_id


def match_to_json(match: Match) -> dict[str, Any]:
    """As the API writes it."""
    members = {"channel": match.channel, "account_id": match.account_id, "from": match.from_address}
    return {name: value for name, value in members.items() if value is not None}


def match_from_json(members: dict[str, Any]) -> Match:
    return Match(members["channel"], members.get("account_id"), members.get("from"))


def action_to_json(action: Action) -> dict[str, Any]:
    """As the API writes it."""
    match action:
        case ToConversation(conversation_id):
            return {"type": "conversation", "conversation_id": conversation_id}
        case Bridge(user_id, channels):
            return {"type": "conversation", "with": user_id, "channels": list(channels)}
        case ToDesk(None):
            return {"type": "desk"}
        case ToDesk(department):
            return {"type": "desk", "department": department}


def action_from_json(members: dict[str, Any]) -> Action:
    """
    Raises:
        Invalid: it says neither or both of conversation_id and with.
    """
    if members["type"] == "desk":
        return ToDesk(members.get("department"))
    conversation_id, user_id = members.get("conversation_id"), members.get("with")
    if (conversation_id is None) == (user_id is None):
        raise Invalid(errors=[{"pointer": "/action", "detail": "say conversation_id or with: one of the two"}])
    if conversation_id is not None:
        if members.get("channels") is not None:
            raise Invalid(errors=[{"pointer": "/action/channels", "detail": "only together with `with`"}])
        return ToConversation(conversation_id)
    return Bridge(str(user_id), tuple(members.get("channels") or ("all",)))

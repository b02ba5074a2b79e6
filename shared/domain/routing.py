"""
The routing plan: who gets a message, and how (C1, C9).

``to`` × ``channels`` × the identities that each recipient is linked to. The in-app channel is not planned:
whoever may read the conversation reads it (design.md 11).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from events import MessageAccepted, derived_id
from events.vocabulary import ALL, IN_APP, System
from shared.domain.message import prefixed

NO_IDENTITY = "no_identity"


@dataclass(frozen=True, slots=True)
class Way:
    """One address at which a user can be reached."""

    channel: str
    address: str
    active: bool = True


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to one address; ``delivery_id`` is derived, so planning twice plans the same."""

    delivery_id: str
    recipient: str
    channel: str
    address: str


@dataclass(frozen=True, slots=True)
class Undeliverable:
    recipient: str
    channel: str
    reason: str


def users_to_look_up(message: MessageAccepted, members: Collection[str]) -> list[str]:
    """The users whose identities the plan needs."""
    if isinstance(message.payload, System) or message.channels == (IN_APP,):
        return []
    return [entry for entry in _recipients(message, members) if prefixed(entry) is None]


def plan(
    message: MessageAccepted, members: Collection[str], ways: Mapping[str, Sequence[Way]]
) -> list[Delivery | Undeliverable]:
    """
    Args:
        members: who is in the conversation; the recipients when ``to`` was left out.
        ways: by user, for each of ``users_to_look_up``.

    Returns: in the order of the recipients; no address twice.
    """
    if isinstance(message.payload, System):
        return []
    planned: dict[tuple[str, str], Delivery | Undeliverable] = {}
    for recipient in _recipients(message, members):
        direct = prefixed(recipient)
        if direct is not None:
            _add(planned, message, recipient, Way(*direct))
            continue
        active = [way for way in ways.get(recipient, ()) if way.active]
        if message.channels == (ALL,):
            asked = list(dict.fromkeys(way.channel for way in active))
        else:
            asked = [channel for channel in message.channels if channel != IN_APP]
        for channel in asked:
            addresses = [way for way in active if way.channel == channel]
            for way in addresses:
                _add(planned, message, recipient, way)
            if not addresses:
                planned[(channel, f"?{recipient}")] = Undeliverable(recipient, channel, NO_IDENTITY)
    return list(planned.values())


def reaches_in_app(message: MessageAccepted) -> bool:
    """Whether the message was meant for our own clients too."""
    return IN_APP in message.channels or message.channels == (ALL,)


def in_app_recipients(message: MessageAccepted, members: Collection[str]) -> list[str]:
    """The users who are told in the app; anybody else who is a member still finds it in the history."""
    if not reaches_in_app(message) or isinstance(message.payload, System):
        return []
    return [entry for entry in _recipients(message, members) if prefixed(entry) is None]


def _recipients(message: MessageAccepted, members: Collection[str]) -> list[str]:
    chosen = message.to if message.to is not None else sorted(members)
    return [recipient for recipient in dict.fromkeys(chosen) if recipient != message.sender]


def _add(
    planned: dict[tuple[str, str], Delivery | Undeliverable],
    message: MessageAccepted,
    recipient: str,
    way: Way,
) -> None:
    key = (way.channel, way.address)
    if key not in planned:
        delivery_id = derived_id("delivery", message.message_id, way.channel, way.address)
        planned[key] = Delivery(delivery_id, recipient, way.channel, way.address)

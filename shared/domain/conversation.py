"""What a conversation is, and who may be in it (A2, A5)."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from shared.domain.errors import Invalid

Type = Literal["private", "group"]
MAX_MEMBERS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    conversation_id: str
    type: Type
    created_at: datetime
    created_by: str
    metadata: dict[str, str]


def check_members(kind: Type, members: Collection[str]) -> tuple[str, ...]:
    """
    The members, each once, in the order given.

    Raises:
        Invalid: a private conversation with other than two, a group with none or too many.
    """
    unique = tuple(dict.fromkeys(members))
    if kind == "private" and len(unique) != 2:
        raise Invalid(errors=[{"pointer": "/members", "detail": "a private conversation has exactly two members"}])
    if not unique or len(unique) > MAX_MEMBERS:
        raise Invalid(errors=[{"pointer": "/members", "detail": f"a group has 1 to {MAX_MEMBERS} members"}])
    return unique


def has_room(conversation: Conversation, members: Collection[str]) -> bool:
    """Whether one more may join: a private conversation keeps its two, a group has a limit."""
    return conversation.type == "group" and len(members) < MAX_MEMBERS


def pair_of(members: Collection[str]) -> str:
    """What two users' private conversation is found by, whichever of them is named first."""
    first, second = sorted(members)
    return hashlib.sha256(f"{len(first)}:{first}{second}".encode()).hexdigest()

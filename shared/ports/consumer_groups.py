"""
What a trigger runner consumes when the log has partitions: its members share them, each has some at a time.

A group is known by its name for as long as its offsets are kept; a new one begins at the end of the log, or where
those stood whose work it takes over, and goes on where it was when its last member has left.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.ports.event_log import LoggedEvent


@dataclass(eq=False, slots=True)
class Claim:
    """
    One member's hold on one partition, from ``start``, the first offset to be handled. ``held`` turns false when
    the partition goes to somebody else; if it comes back that is another claim.
    """

    partition: int
    start: int
    held: bool = True


@dataclass(frozen=True, slots=True)
class Fetched:
    """Events of one partition in its order; all before the offset ``read`` has been looked at."""

    claim: Claim
    records: Sequence[LoggedEvent]
    read: int


LetGo = Callable[[Collection[Claim]], Awaitable[Mapping[Claim, int]]]
"""
Claims have ended: bring to an end what can be, begin nothing more of them; for each the offset before which
everything is finished. The next holder waits for it.
"""


class GroupMember(Protocol):
    async def join(self, let_go: LetGo) -> None:
        """
        Become a member; returns once it has its share, so that no event published from then on is missed. Waits
        for a log that cannot be reached. Called once.
        """
        ...

    async def fetch(self) -> Sequence[Fetched]:
        """
        The next events that pass a filter; waits for them. A new claim is told at once, with no events if there are
        none. What its reader leaves lying is bounded.
        """
        ...

    async def commit(self, finished: Mapping[Claim, int]) -> bool:
        """
        Keep the offsets before which everything is finished; of claims that are no longer held nothing is kept.
        False: not now, partitions are moving; ask again.

        Raises:
            Unavailable: they may not have been kept.
        """
        ...

    def heads(self) -> Mapping[Claim, int]:
        """For each claim the offset that its partition's next event will get, as far as is known here."""
        ...

    async def leave(self) -> None:
        """
        End every claim through ``let_go``, commit, and let the others have them. Waits for a log that cannot be
        reached; who does not wait is taken for dead by the others after a while.
        """
        ...


class ConsumerGroups(Protocol):
    def member(
        self, group: str, filters: Sequence[Mapping[str, str]], *, instead_of: Sequence[str] = ()
    ) -> GroupMember:
        """
        A member that will see, one after the other, each once, the events that pass one of the filters or more: their
        attributes have all its values.

        Args:
            instead_of: groups whose work this one takes over. While it has no offsets it begins in each partition where
                the hindmost of them stands, or at the end where none does.
        """
        ...

"""
One conversation as one of its members sees it: frames in, lines out. No terminal and no network in here.

✓ the platform has it, ✓✓ the others have it, ✓✓ in colour: they have read it (A9).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from shared.cli.output import shown
from shared.cli.platform import Json

Style = Literal["mine", "theirs", "news", "delivered", "read", "failed"]
_TYPING = 6.0  # seconds that somebody is shown writing


@dataclass(frozen=True, slots=True)
class Line:
    """``at`` is the local time of day; ``mark`` says how far a message of ours has come."""

    style: Style
    text: str
    at: str = ""
    who: str = ""
    mark: str = ""


@dataclass
class Room:
    """``seq`` is the last number that was shown; what is older comes from history."""

    me: str
    conversation_id: str
    members: list[str]
    seq: int = 0
    connected: bool = False
    waiting: int = 0
    presence: dict[str, str] = field(default_factory=dict)
    typing: dict[str, float] = field(default_factory=dict)
    reached: dict[str, dict[str, int]] = field(default_factory=lambda: {"DELIVERED": {}, "READ": {}})
    mine: int = 0
    told: tuple[str, int] = ("", 0)
    elsewhere: dict[str, int] = field(default_factory=dict)

    @property
    def others(self) -> list[str]:
        return [member for member in self.members if member != self.me]

    def missing(self, frame: Json) -> bool:
        """Whether messages before this one were never shown: then history has them."""
        return frame["type"] == "message" and self._is_here(frame) and bool(frame["seq"] > self.seq + 1)

    def history(self, messages: Iterable[Json]) -> Iterator[Line]:
        for message in messages:
            yield from self.take({**message, "type": "message"}, 0.0)

    def take(self, frame: Json, now: float) -> Iterator[Line]:
        """What the frame changes, and the lines that say so. ``now`` in seconds of any clock."""
        match frame["type"]:
            case "message" if self._is_here(frame):
                yield from self._message(frame)
            case "message":
                yield from self._elsewhere(frame)
            case "receipt" if self._is_here(frame):
                yield from self._receipt(frame)
            case "presence":
                self.presence[frame["user_id"]] = frame["status"]
            case "typing" if self._is_here(frame) and frame["user_id"] != self.me:
                self.typing[frame["user_id"]] = now + _TYPING
            case "conversation" if self._is_here(frame):
                self._conversation(frame)
            case "ready":
                self.connected = True
            case "lost":
                if self.connected:
                    yield Line("news", f"connection lost ({frame['why']}); trying again")
                self.connected = False
            case "error":
                yield Line("failed", str(frame.get("detail") or frame.get("title") or frame))

    def status(self, now: float) -> str:
        """One line about who is there: for the foot of the terminal."""
        self.typing = {user: until for user, until in self.typing.items() if until > now}
        parts = [self._present(), f"{', '.join(sorted(self.typing))} typing …" if self.typing else ""]
        if self.waiting:
            parts.append(f"{self.waiting} to be sent")
        if not self.connected:
            parts.append("not connected")
        return "   ".join(part for part in parts if part)

    def _present(self) -> str:
        signs = {"online": "●", "away": "◐"}
        known = [f"{signs.get(self.presence.get(user, ''), '○')} {user}" for user in self.others[:8]]
        more = len(self.others) - len(known)
        return " ".join(known) + (f" and {more} more" if more else "")

    def _is_here(self, frame: Json) -> bool:
        return bool(frame.get("conversation_id") == self.conversation_id)

    def _message(self, frame: Json) -> Iterator[Line]:
        if frame["seq"] <= self.seq:
            return  # seen before: by history, or replayed because our acknowledgement was lost
        self.seq, sender = frame["seq"], frame["from"]
        self.typing.pop(sender, None)
        payload, at = frame["payload"], _time_of_day(frame["created_at"])
        if isinstance(payload, dict) and payload.get("type") == "system":
            yield Line("news", f"{payload['user_id']} {payload['action']}", at)
            return
        text = "[expired]" if payload is None else shown(payload)
        if sender == self.me:
            self.mine = frame["seq"]
            yield Line("mine", text, at, sender, _MARKS.get(frame.get("status", "SENT"), "✓"))
        else:
            yield Line("theirs", text, at, sender)

    def _elsewhere(self, frame: Json) -> Iterator[Line]:
        conversation_id = frame["conversation_id"]
        if frame["from"] == self.me or frame["seq"] <= self.elsewhere.get(conversation_id, 0):
            return
        self.elsewhere[conversation_id] = frame["seq"]
        text = f"in {conversation_id}, {frame['from']}: {shown(frame['payload'])}"
        yield Line("news", text, _time_of_day(frame["created_at"]))

    def _receipt(self, frame: Json) -> Iterator[Line]:
        status, who, last = frame["status"], frame["recipient"], frame["to_seq"]
        if status == "FAILED":
            yield Line(
                "failed", f"#{last} does not reach {who} on {frame['channel']}: {frame.get('reason') or 'failed'}"
            )
            return
        if who == self.me or status not in self.reached:
            return
        # Who has read has received.
        for reached in ("DELIVERED", "READ") if status == "READ" else ("DELIVERED",):
            self.reached[reached][who] = max(last, self.reached[reached].get(who, 0))
        yield from self._how_far()

    def _how_far(self) -> Iterator[Line]:
        """How far the last message of ours has come, if that has changed."""
        for status, style, words in (("READ", "read", "read by"), ("DELIVERED", "delivered", "delivered to")):
            have = sorted(who for who, seq in self.reached[status].items() if seq >= self.mine)
            if not have or not self.mine:
                continue
            names = ", ".join(have) if len(have) <= 3 else f"{len(have)} of {len(self.others)}"
            if self.told != (f"{words} {names}", self.mine):
                self.told = (f"{words} {names}", self.mine)
                yield Line("read" if style == "read" else "delivered", f"#{self.mine} {words} {names}", mark="✓✓")
            return

    def _conversation(self, frame: Json) -> None:
        """The timeline says the same as a message, so no line."""
        user = frame.get("user_id")
        if frame["action"] in ("joined", "added") and user and user not in self.members:
            self.members.append(user)
        elif frame["action"] in ("left", "removed") and user in self.members:
            self.members.remove(user)


_MARKS = {"DELIVERED": "✓✓", "READ": "✓✓", "FAILED": "✗", "PENDING": "…", "UNCERTAIN": "…"}


def _time_of_day(at: str) -> str:
    return datetime.fromisoformat(at).astimezone().strftime("%H:%M")

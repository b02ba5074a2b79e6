"""
What webhooks promise, measured on the platform as a process (D2, D3; reliability.md 1.5, points 8 and 16).

    python -m shared.testing.webhook_campaign outage     receiver down, platform killed: is all told, once?
    python -m shared.testing.webhook_campaign bulkhead   one of a hundred hangs: do the others notice?
    python -m shared.testing.webhook_campaign neighbour  twenty of another tenant hang: does anybody notice?
"""

import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from shared.testing.live import Caller, Process, eventually
from shared.testing.platform import UNLIMITED
from shared.testing.receiver import Receiver, Reply, Taken

ACCEPTED = "message.accepted"
SETTINGS = {**UNLIMITED, "CHAT4ALL_WEBHOOK_ALLOW_PRIVATE": "true", "CHAT4ALL_SIMULATORS": "false"}
_PATIENCE = 240.0
"""Seconds for a start: machines that run campaigns are busy."""
app = typer.Typer(add_completion=False, help=__doc__, pretty_exceptions_enable=False)


@dataclass(slots=True)
class Outage:
    """What came of it; ``doubled`` are requests that a receiver had answered before, under the same id."""

    accepted: int = 0
    told: int = 0
    ids: int = 0
    events_with_two_ids: int = 0
    ids_of_two_events: int = 0
    doubled: int = 0
    hanging_at_the_kill: int = 0
    seconds_until_all_was_told: float = 0.0

    @property
    def kept(self) -> bool:
        wrong = self.events_with_two_ids + self.ids_of_two_events
        return self.accepted > 0 and self.told == self.accepted and self.ids == self.told and not wrong


@dataclass(slots=True)
class _Sending:
    """A client that goes on whatever happens, and remembers what was answered 202."""

    caller: Caller
    conversation: str
    pause: float
    accepted: set[str] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        n = 0
        while not self.over.wait(self.pause):
            n += 1
            try:
                self.accepted.add(self.caller.send(self.conversation, "ana", f"{n}")["message_id"])
            except (httpx.TransportError, AssertionError):
                continue  # it is being killed, or was not accepted: nothing was promised

    @contextmanager
    def going(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.over.set()
            thread.join()


def outage(folder: Path, *, down: float, rate: float) -> Outage:
    """
    Send all the while: first the receiver goes, then it hangs and the platform is killed in the middle of requests,
    then both come back. Nothing may be missing, and each event has one id.

    Args:
        down: seconds without a receiver.
    """
    settings = {**SETTINGS, "CHAT4ALL_WEBHOOK_SCHEDULE": ",".join(["1"] * 3 + ["3"] * 60)}
    settings["CHAT4ALL_WEBHOOK_TIMEOUT"] = "2"
    answered: list[Taken] = []
    with Process(folder / "data", settings=settings) as platform:
        caller = platform.start(patience=_PATIENCE).tenant("acme")
        caller.users("ana", "bruno")
        talk = caller.conversation("ana", "bruno")
        with Receiver() as first:
            port = first.port
            caller.must("POST", "/v1/webhooks", {"url": first.url(), "events": [ACCEPTED]})
            sending = _Sending(caller, talk, 1 / rate)
            with sending.going():
                eventually(lambda: len(first.taken) >= 5)
                first.__exit__()
                answered += first.taken
                time.sleep(down / 2)
                hanging = _kill_in_the_middle(platform, port)
                platform.start(patience=_PATIENCE)
                time.sleep(down / 2)
                back = time.monotonic()
                with Receiver(port=port) as last:
                    time.sleep(2)
                    sending.over.set()
                    result = _wait(sending, answered, last)
        result.seconds_until_all_was_told = time.monotonic() - back
        result.hanging_at_the_kill = hanging
        return result


def _kill_in_the_middle(platform: Process, port: int) -> int:
    """SIGKILL while requests are open: the receiver has them and answers nothing. How many."""
    with Receiver(lambda taken: Reply(hang=60), port=port) as hanging:
        eventually(lambda: hanging.taken, within=60)
        platform.kill()
        return len(hanging.taken)


def _wait(sending: _Sending, answered: list[Taken], last: Receiver) -> Outage:
    def told() -> set[str]:
        return {_message_of(taken) for taken in [*answered, *list(last.taken)]}

    eventually(lambda: told() >= sending.accepted, within=180)
    answered = answered + list(last.taken)
    ids_of, events_of = defaultdict(set), defaultdict(set)
    for taken in answered:
        ids_of[_message_of(taken)].add(taken.notification_id)
        events_of[taken.notification_id].add(_message_of(taken))
    mine = {message: ids for message, ids in ids_of.items() if message in sending.accepted}
    return Outage(
        accepted=len(sending.accepted),
        told=len(mine),
        ids=len({one for ids in mine.values() for one in ids}),
        events_with_two_ids=sum(len(ids) > 1 for ids in ids_of.values()),
        ids_of_two_events=sum(len(events) > 1 for events in events_of.values()),
        doubled=len(answered) - len(events_of),
    )


def _message_of(taken: Taken) -> str:
    message_id: str = taken.document["data"]["message_id"]
    return message_id


@dataclass(slots=True)
class Bulkhead:
    """Milliseconds from the 202 until a good receiver had it, by turn: all fine, and with some that hang."""

    fine: list[list[float]] = field(default_factory=list, repr=False)
    with_some_hanging: list[list[float]] = field(default_factory=list, repr=False)
    hung: int = 0

    def percentile(self, p: int) -> tuple[float, float]:
        """Of all fine and with some hanging: the median of the turns, for a busy machine spoils some."""
        fine, hanging = (
            statistics.median(_percentile(turn, p) for turn in turns) for turns in (self.fine, self.with_some_hanging)
        )
        return fine, hanging


def _percentile(values: list[float], p: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[p - 1]


def bulkhead(folder: Path, *, receivers: int, pause: float, seconds: float, rounds: int) -> Bulkhead:
    """
    The same messages to all, in turns of ``seconds``: all receivers are fine, and the first of them hangs.

    Args:
        pause: seconds between two messages.
    """
    with _house(folder) as (platform, house):
        caller, talk = _subscribed(platform, "acme", [house.url(f"/{n}") for n in range(receivers)])
        house.take_turns(partial(_send, caller, talk, house.good, receivers - 1, pause), seconds, rounds)
    return house.result


def neighbour(folder: Path, *, hanging: int, receivers: int, pause: float, seconds: float, rounds: int) -> Bulkhead:
    """
    Two tenants, each with its own messages: the ``hanging`` webhooks of one are fine in one turn and hang in the next,
    and what is measured is the other's.
    """
    with _house(folder) as (platform, house):
        theirs = _Sending(*_subscribed(platform, "silent", [house.url(_HANGING)] * hanging), pause)
        caller, talk = _subscribed(platform, "acme", [house.url(f"/{n + 1}") for n in range(receivers)])
        with theirs.going():
            house.take_turns(partial(_send, caller, talk, house.good, receivers, pause), seconds, rounds)
    return house.result


_HANGING = "/0"
_WARM = 20.0  # seconds until connections are open and what the start left over is done
_LET_GO = 20.0  # and until the last try that hangs has timed out


@dataclass(slots=True)
class _Good:
    """Message and time of what came to the receivers that are always fine."""

    arrived: list[tuple[str, float]] = field(default_factory=list)


@dataclass(slots=True)
class _House:
    """The receivers, all on one port; those at ``_HANGING`` hang when they are told to."""

    receiver: Receiver = field(init=False)
    result: Bulkhead = field(default_factory=Bulkhead)
    good: _Good = field(default_factory=_Good)
    hangs: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.receiver = Receiver(self._answer)

    def url(self, path: str) -> str:
        return self.receiver.url(path)

    def take_turns(self, send: Callable[..., list[float]], seconds: float, rounds: int) -> None:
        send(seconds=_WARM)
        for _ in range(rounds):
            self.result.fine.append(send(seconds=seconds))
            self.hangs.set()
            self.result.with_some_hanging.append(send(seconds=seconds))
            self.hangs.clear()
            send(seconds=_LET_GO)

    def _answer(self, taken: Taken) -> Reply:
        if taken.path != _HANGING:
            self.good.arrived.append((_message_of(taken), taken.at))
            return Reply()
        self.result.hung += self.hangs.is_set()
        return Reply(hang=60.0 if self.hangs.is_set() else 0.0)


@contextmanager
def _house(folder: Path) -> Iterator[tuple[Process, _House]]:
    house = _House()
    with Process(folder / "data", settings=SETTINGS) as platform, house.receiver:
        yield platform.start(patience=_PATIENCE), house


def _subscribed(platform: Process, tenant: str, urls: Sequence[str]) -> tuple[Caller, str]:
    """A new tenant with a webhook for each, and a conversation of it."""
    caller = platform.tenant(tenant)
    caller.users("ana", "bruno")
    with ThreadPoolExecutor(10) as pool:
        bodies = [{"url": url, "events": [ACCEPTED]} for url in urls]
        list(pool.map(lambda body: caller.must("POST", "/v1/webhooks", body), bodies))
    return caller, caller.conversation("ana", "bruno")


def _send(caller: Caller, talk: str, good: _Good, receivers: int, pause: float, *, seconds: float) -> list[float]:
    """Milliseconds from each 202 to each good receiver."""
    accepted: dict[str, float] = {}
    good.arrived.clear()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        accepted[caller.send(talk, "ana")["message_id"]] = time.monotonic()
        time.sleep(pause)
    eventually(lambda: len(good.arrived) >= len(accepted) * receivers, within=120)
    return [(at - accepted[message_id]) * 1000 for message_id, at in good.arrived]


@app.command("outage")
def show_outage(
    down: Annotated[float, typer.Option(help="Seconds without a receiver.")] = 60,
    rate: Annotated[float, typer.Option(help="Messages a second.")] = 20,
) -> None:
    with tempfile.TemporaryDirectory(prefix="chat4all-webhooks-") as folder:
        result = outage(Path(folder), down=down, rate=rate)
    _print({name: getattr(result, name) for name in Outage.__slots__})
    raise typer.Exit(0 if result.kept else 1)


@app.command("bulkhead")
def show_bulkhead(receivers: int = 100, pause: float = 0.5, seconds: float = 15, rounds: int = 3) -> None:
    with tempfile.TemporaryDirectory(prefix="chat4all-webhooks-") as folder:
        _show(bulkhead(Path(folder), receivers=receivers, pause=pause, seconds=seconds, rounds=rounds))


@app.command("neighbour")
def show_neighbour(
    hanging: int = 20, receivers: int = 20, pause: float = 0.2, seconds: float = 15, rounds: int = 3
) -> None:
    with tempfile.TemporaryDirectory(prefix="chat4all-webhooks-") as folder:
        _show(
            neighbour(Path(folder), hanging=hanging, receivers=receivers, pause=pause, seconds=seconds, rounds=rounds)
        )


def _show(result: Bulkhead) -> None:
    facts: dict[str, Any] = {}
    for p in (50, 99):
        fine, hanging = result.percentile(p)
        facts |= {f"fine, p{p}": fine, f"some hanging, p{p}": hanging, f"p{p} moved by": f"{hanging / fine - 1:+.1%}"}
    turns = [*result.fine, *result.with_some_hanging]
    for name, group in (("fine", result.fine), ("some hanging", result.with_some_hanging)):
        facts[f"{name}, p99 of each turn"] = ", ".join(f"{_percentile(turn, 99):.0f}" for turn in group)
    _print({**facts, "deliveries": sum(len(turn) for turn in turns), "requests that hung": result.hung})


def _print(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        shown = f"{value:.1f}" if isinstance(value, float) else value
        typer.echo(f"{name.replace('_', ' '):32}{shown}")


if __name__ == "__main__":
    app()

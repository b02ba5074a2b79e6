"""I2, I3, I4: what people at the providers got."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

from shared.testing.checker.run import Finding, Place, Run

Call = tuple[str, str, str]
"""(channel, address, text)"""


def _calls(run: Run) -> Iterator[Finding]:
    """I2, I3, I4: each delivery at its provider at least once, in order, and nothing else."""
    calls: dict[Call, int] = {}
    for one in sorted(run.delivered, key=lambda one: one.n):
        calls.setdefault((one.channel, one.address, one.text), one.n)
    mailboxes: dict[tuple[Place, str, str], list[tuple[int, int]]] = defaultdict(list)
    expected: set[Call] = set()
    for message in run.messages.values():
        for target in message.first.targets:
            call = target.channel, target.address, message.first.text
            expected.add(call)
            if message.answers and call not in calls and run.at_rest:
                yield Finding("I4", f"{message.first.message_id} never reached {target.address} ({target.channel})")
            elif message.answers and call in calls:
                mailbox = message.place, target.channel, target.address
                mailboxes[mailbox].append((min(message.answers), calls[call]))
    for channel, address, text in calls.keys() - expected:
        yield Finding("I2", f"{channel} {address} was sent {text!r}, which nobody sent there")
    for mailbox, sent in mailboxes.items():
        for (seq, n), (later, m) in pairwise(sorted(sent)):
            if m < n:
                yield Finding("I3", f"order: {mailbox} got {later} before {seq}")


def _repeats(run: Run) -> Iterator[Finding]:
    """I4: a fault repeats at most the one call that a mailbox has under way."""
    repeated = duplicates(run)
    for (_, address, text), times in repeated.items():
        if times > len(run.faults):
            yield Finding("I4", f"{address} got {text!r} {times + 1} times, with {len(run.faults)} faults to blame")
    bound = len(run.faults) * len({(one.channel, one.address) for one in run.delivered})
    if repeated.total() > bound:
        yield Finding("I4", f"{repeated.total()} repeated calls to providers, faults explain {bound} at most")


def duplicates(run: Run) -> Counter[Call]:
    """Calls beyond the first for each delivery."""
    calls = Counter((call.channel, call.address, call.text) for call in run.delivered)
    return Counter({key: times - 1 for key, times in calls.items() if times > 1})


JUDGES = (_calls, _repeats)

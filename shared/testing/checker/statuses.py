"""I5: what is said of deliveries."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator

from shared.testing.checker.run import ACCEPTED, Finding, Place, Run
from shared.testing.history import Observation, Send, Target

IN_APP = "chat4all"
RANK = {status: rank for rank, status in enumerate(["PENDING", "UNCERTAIN", "SENT", "FAILED", "DELIVERED", "READ"])}


def _steps_back(run: Run) -> Iterator[Finding]:
    """I5: who asks later never gets an earlier status."""
    deliveries: dict[tuple[str, str, str, str], list[Observation]] = defaultdict(list)
    for one in run.observations:
        deliveries[one.tenant, one.message_id, one.recipient, one.channel].append(one)
    for key, observations in deliveries.items():
        answered = sorted(observations, key=lambda one: one.answered)
        at, known = 0, "PENDING"
        for one in sorted(observations, key=lambda one: one.sent):
            while at < len(answered) and answered[at].answered < one.sent:
                known = max(known, answered[at].status, key=RANK.__getitem__)
                at += 1
            if RANK[one.status] < RANK[known]:
                yield Finding("I5", f"back: {key} was {known}, then {one.status}")


def _proofs(run: Run) -> Iterator[Finding]:
    """I5: what is SENT at a provider was taken by it; what is DELIVERED in-app a reader acknowledged."""
    calls = {(call.channel, call.address, call.text) for call in run.delivered}
    for one in run.observations:
        message = run.messages.get((one.tenant, one.message_id))
        if message is None or one.status not in {"SENT", "DELIVERED", "READ"} or one.channel == IN_APP:
            continue
        target = _target(message.first, one)
        if target is not None and (target.channel, target.address, message.first.text) not in calls:
            yield Finding("I5", f"{one.message_id} is {one.status} at {target.address}, which never got it")
    said = _acknowledgements(run)
    for one in run.observations:
        message = run.messages.get((one.tenant, one.message_id))
        if message is None or one.status not in {"DELIVERED", "READ"} or one.channel != IN_APP:
            continue
        times, heads = said[message.place, one.recipient]
        before = bisect_right(times, one.answered)
        if not before or heads[before - 1] < min(message.answers, default=0):
            yield Finding("I5", f"{one.message_id} is {one.status} for {one.recipient}, who never said so")


def _acknowledgements(run: Run) -> dict[tuple[Place, str], tuple[list[float], list[int]]]:
    """For each reader of a conversation the times of the receipts, and the greatest seq up to each."""
    said: dict[tuple[Place, str], tuple[list[float], list[int]]] = defaultdict(lambda: ([], []))
    for receipt in sorted(run.receipts, key=lambda receipt: receipt.sent):
        times, heads = said[(receipt.tenant, receipt.conversation), receipt.reader]
        times.append(receipt.sent)
        heads.append(max(receipt.seq, heads[-1] if heads else 0))
    return said


def _target(send: Send, observation: Observation) -> Target | None:
    for target in send.targets:
        if target.channel == observation.channel and observation.recipient in {
            target.recipient, target.address, f"{target.channel}:{target.address}",
        }:  # fmt: skip
            return target
    return None


def _forgotten_receipts(run: Run) -> Iterator[Finding]:
    """I5: what a reader acknowledged, and was told 202 for, is READ at the end."""
    read: dict[tuple[Place, str], int] = defaultdict(int)
    for receipt in run.receipts:
        if receipt.status == ACCEPTED:
            key = (receipt.tenant, receipt.conversation), receipt.reader
            read[key] = max(read[key], receipt.seq)
    for one in run.observations:
        message = run.messages.get((one.tenant, one.message_id))
        if not one.final or one.channel != IN_APP or message is None or not message.answers:
            continue
        if min(message.answers) <= read.get((message.place, one.recipient), 0) and one.status != "READ":
            yield Finding("I5", f"back: {one.message_id} was read by {one.recipient} and is {one.status} at the end")


JUDGES = (_steps_back, _proofs, _forgotten_receipts)

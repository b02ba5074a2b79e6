"""
Did the platform keep its word? Judges a history (shared.testing.history) by invariants (E1, E2, E12).

    I1   no accepted message is lost: it is in the timeline of every member, from the moment of the 202
    I2   nothing is invented or altered, in timelines and at the providers
    I3   one order for all readers, equal to seq, without gaps; what was answered before something
         else was sent comes before it
    I4   a message is shown once by its id; a provider is asked at least once for each delivery, in order
    I5   a status never goes back; DELIVERED and READ have a proof; an acknowledged receipt is not forgotten
    I7   one message_id is one message however often it was posted; other content for it is refused
    I8   no tenant sees anything of another
    I10  after the last fault everything comes to rest
    answer  a valid request got an answer that is neither yes nor "try again"

It knows nothing of the product's code: it works on what clients and providers saw.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from msgspec import Struct

from shared.testing.history import (
    Conversation,
    Delivered,
    Fault,
    Inbound,
    Invariant,
    Item,
    Observation,
    Operation,
    Page,
    Probe,
    Quiesced,
    Receipt,
    Send,
    Target,
)

IN_APP = "chat4all"
ACCEPTED = 202
RANK = {status: rank for rank, status in enumerate(["PENDING", "UNCERTAIN", "SENT", "FAILED", "DELIVERED", "READ"])}
TRY_AGAIN = frozenset({0, 429, 503})


class Finding(Struct, frozen=True):
    """One broken promise."""

    invariant: Invariant
    detail: str


class Report(Struct, frozen=True):
    """
    What a run did and where it broke, in counts and seconds. ``provider_duplicates`` are calls beyond
    the first for one delivery: allowed, but bounded by the faults.
    """

    accepted: int
    unanswered: int
    inbound: int
    delivered: int
    kills: int
    restarts: int
    lost: int
    doubled: int
    order_breaks: int
    gaps: int
    status_regressions: int
    provider_duplicates: int
    recovery_p50: float
    recovery_max: float
    quiesced: float
    findings: tuple[Finding, ...]

    @property
    def good(self) -> bool:
        return not self.findings


Place = tuple[str, str]
"""(tenant, conversation)"""

Call = tuple[str, str, str]
"""(channel, address, text)"""


@dataclass(slots=True)
class _Message:
    """All attempts with one message_id of one tenant."""

    first: Send
    answers: set[int] = field(default_factory=set)
    sent: float = 0.0
    answered: float | None = None

    @property
    def place(self) -> Place:
        return self.first.tenant, self.first.conversation


@dataclass(slots=True)
class _Run:
    conversations: dict[Place, Conversation] = field(default_factory=dict)
    messages: dict[tuple[str, str], _Message] = field(default_factory=dict)
    conflicts: list[Send] = field(default_factory=list)
    sends: list[Send] = field(default_factory=list)
    pages: dict[Place, list[Page]] = field(default_factory=lambda: defaultdict(list))
    receipts: list[Receipt] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    inbound: list[Inbound] = field(default_factory=list)
    delivered: list[Delivered] = field(default_factory=list)
    probes: list[Probe] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    quiesced: list[Quiesced] = field(default_factory=list)

    def add(self, operation: Operation) -> None:
        match operation:
            case Conversation():
                self.conversations[operation.tenant, operation.conversation] = operation
            case Send():
                self._add_send(operation)
            case Page():
                self.pages[operation.tenant, operation.conversation].append(operation)
            case Receipt():
                self.receipts.append(operation)
            case Observation():
                self.observations.append(operation)
            case Inbound():
                self.inbound.append(operation)
            case Delivered():
                self.delivered.append(operation)
            case Probe():
                self.probes.append(operation)
            case Fault():
                self.faults.append(operation)
            case Quiesced():
                self.quiesced.append(operation)

    def _add_send(self, send: Send) -> None:
        if send.conflicting:
            self.conflicts.append(send)
            return
        self.sends.append(send)
        key = send.tenant, send.message_id
        message = self.messages.get(key)
        if message is None:
            message = self.messages[key] = _Message(send, sent=send.sent)
        message.sent = min(message.sent, send.sent)
        if send.status == ACCEPTED and send.seq is not None:
            message.answers.add(send.seq)
            message.answered = min(send.answered, message.answered or send.answered)

    def accepted(self) -> Iterator[_Message]:
        return (message for message in self.messages.values() if message.answers)

    def whole(self, place: Place, reader: str) -> list[Item] | None:
        """The timeline as ``reader`` saw it at the end, or None if it was not read."""
        pages = [page for page in self.pages[place] if page.final and page.reader == reader]
        if not pages:
            return None
        return [item for page in sorted(pages, key=lambda page: page.since) for item in page.items]


def check(history: Iterable[Operation]) -> Report:
    """
    The verdict on a whole run.

    Bounds on provider duplicates: each must have a fault to blame, and no fault more than one per mailbox.
    """
    run = _Run()
    for operation in history:
        run.add(operation)
    findings = [
        *_lost(run),
        *_stale(run),
        *_altered(run),
        *_gaps(run),
        *_disagreements(run),
        *_reordered(run),
        *_doubled(run),
        *_providers(run),
        *_repeated_calls(run),
        *_statuses(run),
        *_proofs(run),
        *_forgotten_receipts(run),
        *_one_id_one_message(run),
        *_isolation(run),
        *_rest(run),
        *_answers(run),
    ]
    count = Counter(_kind(finding) for finding in findings)
    recoveries = sorted(fault.ready - fault.at for fault in run.faults if fault.ready is not None)
    return Report(
        accepted=sum(1 for _ in run.accepted()),
        unanswered=sum(1 for message in run.messages.values() if not message.answers),
        inbound=len({one.provider_message_id for one in run.inbound if one.status == 200}),
        delivered=len(run.delivered),
        kills=sum(1 for fault in run.faults if fault.kind.startswith("kill")),
        restarts=len(recoveries),
        lost=count["I1"],
        doubled=count["I4 shown"] + count["I7"],
        order_breaks=count["I3 order"],
        gaps=count["I3 gap"],
        status_regressions=count["I5 back"],
        provider_duplicates=_provider_duplicates(run).total(),
        recovery_p50=recoveries[len(recoveries) // 2] if recoveries else 0.0,
        recovery_max=recoveries[-1] if recoveries else 0.0,
        quiesced=max((one.seconds for one in run.quiesced), default=0.0),
        findings=tuple(findings),
    )


def _kind(finding: Finding) -> str:
    """The invariant, and for those that are counted apart the first word of the detail up to its colon."""
    word = finding.detail.partition(":")[0]
    return f"{finding.invariant} {word}" if word in {"shown", "order", "gap", "back"} else finding.invariant


def _lost(run: _Run) -> Iterator[Finding]:
    """I1: every 202 is in the final timeline of every member who read one."""
    seen: dict[Place, list[tuple[str, set[str]]]] = {}
    for place, conversation in run.conversations.items():
        seen[place] = []
        for reader in conversation.members:
            items = run.whole(place, reader)
            if items is not None:
                seen[place].append((reader, {item.message_id for item in items}))
        if not seen[place]:
            yield Finding("I1", f"{place}: nobody read it at the end, so nothing can be said")
    for message in run.accepted():
        for reader, ids in seen.get(message.place, []):
            if message.first.message_id not in ids:
                yield Finding("I1", f"{message.first.message_id} of {message.place}, accepted, not seen by {reader}")
                break
    texts = _final_texts(run)
    for text, (place, status) in _inbound_outcomes(run).items():
        if status == 200 and text not in texts[place]:
            yield Finding("I1", f"inbound {text!r} was taken with 200 and is not in {place}")


def _stale(run: _Run) -> Iterator[Finding]:
    """I1: a page that came back not full reaches at least to all that was answered before it was sent."""
    answered: dict[Place, list[tuple[float, int]]] = defaultdict(list)
    for send in run.sends:
        if send.status == ACCEPTED and send.seq is not None:
            answered[send.tenant, send.conversation].append((send.answered, send.seq))
    for place, acceptances in answered.items():
        acceptances.sort()
        times = [at for at, _ in acceptances]
        heads, head = [], 0
        for _, seq in acceptances:
            heads.append(head := max(head, seq))
        for page in run.pages[place]:
            before = bisect_left(times, page.sent)
            last = page.items[-1].seq if page.items else page.since
            if before and len(page.items) < page.limit and last < heads[before - 1]:
                yield Finding(
                    "I1", f"{place}: {page.reader} read up to {last}, {heads[before - 1]} was accepted before"
                )


def _altered(run: _Run) -> Iterator[Finding]:
    """I2: what a timeline shows was sent, by that sender, in that conversation, with that text."""
    inbound = _inbound_outcomes(run)
    for place, pages in run.pages.items():
        known: set[Item] = set()
        for item in (item for page in pages for item in page.items):
            if item in known or item.text is None:
                continue
            known.add(item)
            message = run.messages.get((place[0], item.message_id))
            if message is None:
                if inbound.get(item.text, (None, 0))[0] != place:
                    yield Finding("I2", f"{item.message_id} ({item.text!r}) in {place} was sent by nobody")
            elif (message.place, message.first.sender, message.first.text) != (place, item.sender, item.text):
                yield Finding("I2", f"{item.message_id} in {place} is not what {message.first.sender} sent")


def _gaps(run: _Run) -> Iterator[Finding]:
    """I3: the numbers of every page follow on from ``since`` one by one; the final timeline starts at 1."""
    for place, pages in run.pages.items():
        for page in pages:
            for before, item in pairwise([Item(page.since, "", "", None), *page.items]):
                if item.seq > before.seq + 1:
                    yield Finding("I3", f"gap: {before.seq + 1} to {item.seq - 1} missing in {place} for {page.reader}")
                elif item.seq <= before.seq:
                    yield Finding("I3", f"order: {item.seq} after {before.seq} in {place} for {page.reader}")


def _disagreements(run: _Run) -> Iterator[Finding]:
    """I3: all readers, at all times, and the answers to the sender, give a number to the same message."""
    holders: dict[tuple[Place, int], str] = {}
    for place, pages in run.pages.items():
        for page in pages:
            for item in page.items:
                holder = holders.setdefault((place, item.seq), item.message_id)
                if holder != item.message_id:
                    what = f"{item.seq} is {holder} and, for {page.reader}, {item.message_id}"
                    yield Finding("I3", f"order: in {place} {what}")
    for message in run.accepted():
        for seq in message.answers:
            holder = holders.get((message.place, seq), message.first.message_id)
            if holder != message.first.message_id:
                what = f"{seq} was answered to {message.first.message_id} and shows {holder}"
                yield Finding("I3", f"order: in {message.place} {what}")


def _reordered(run: _Run) -> Iterator[Finding]:
    """I3: a message that was sent after another one was answered has the greater number."""
    by_place: dict[Place, list[_Message]] = defaultdict(list)
    for message in run.accepted():
        by_place[message.place].append(message)
    for place, messages in by_place.items():
        answered = sorted(messages, key=lambda message: message.answered or 0.0)
        at, head, holder = 0, 0, ""
        for message in sorted(messages, key=lambda message: message.sent):
            while at < len(answered) and (answered[at].answered or 0.0) < message.sent:
                seq = min(answered[at].answers)
                if seq > head:
                    head, holder = seq, answered[at].first.message_id
                at += 1
            if min(message.answers) < head:
                yield Finding(
                    "I3",
                    f"order: {message.first.message_id} has {min(message.answers)} in {place}, but {holder} "
                    f"with {head} was answered before it was sent",
                )


def _doubled(run: _Run) -> Iterator[Finding]:
    """I4: no reader sees an id, or a customer's message, twice."""
    inbound = {one.text for one in run.inbound}
    for place, conversation in run.conversations.items():
        for reader in conversation.members:
            items = run.whole(place, reader) or []
            for message_id, times in Counter(item.message_id for item in items).items():
                if times > 1:
                    yield Finding("I4", f"shown: {message_id} {times} times to {reader} in {place}")
            texts = Counter(item.text for item in items if item.text in inbound)
            for text, times in texts.items():
                if times > 1:
                    yield Finding("I4", f"shown: {text!r} under {times} ids to {reader} in {place}")


def _providers(run: _Run) -> Iterator[Finding]:
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
            if message.answers and call not in calls:
                yield Finding("I4", f"{message.first.message_id} never reached {target.address} ({target.channel})")
            elif message.answers:
                mailbox = message.place, target.channel, target.address
                mailboxes[mailbox].append((min(message.answers), calls[call]))
    for channel, address, text in calls.keys() - expected:
        yield Finding("I2", f"{channel} {address} was sent {text!r}, which nobody sent there")
    for mailbox, sent in mailboxes.items():
        for (seq, n), (later, m) in pairwise(sorted(sent)):
            if m < n:
                yield Finding("I3", f"order: {mailbox} got {later} before {seq}")


def _repeated_calls(run: _Run) -> Iterator[Finding]:
    """I4: a fault repeats at most the one call that a mailbox has under way."""
    duplicates = _provider_duplicates(run)
    for (_, address, text), times in duplicates.items():
        if times > len(run.faults):
            yield Finding("I4", f"{address} got {text!r} {times + 1} times, with {len(run.faults)} faults to blame")
    bound = len(run.faults) * len({(one.channel, one.address) for one in run.delivered})
    if duplicates.total() > bound:
        yield Finding("I4", f"{duplicates.total()} repeated calls to providers, faults explain {bound} at most")


def _provider_duplicates(run: _Run) -> Counter[Call]:
    """Calls beyond the first for each delivery."""
    calls = Counter((call.channel, call.address, call.text) for call in run.delivered)
    return Counter({key: times - 1 for key, times in calls.items() if times > 1})


def _statuses(run: _Run) -> Iterator[Finding]:
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


def _proofs(run: _Run) -> Iterator[Finding]:
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


def _acknowledgements(run: _Run) -> dict[tuple[Place, str], tuple[list[float], list[int]]]:
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


def _forgotten_receipts(run: _Run) -> Iterator[Finding]:
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


def _one_id_one_message(run: _Run) -> Iterator[Finding]:
    """I7: every 202 for one id names one number, and no other content gets a 202."""
    for (tenant, message_id), message in run.messages.items():
        if len(message.answers) > 1:
            yield Finding("I7", f"{message_id} of {tenant} was answered with {sorted(message.answers)}")
    for send in run.conflicts:
        original = run.messages.get((send.tenant, send.message_id))
        known = original is not None and original.answered is not None and original.answered < send.sent
        if known and send.status not in {409, *TRY_AGAIN}:
            yield Finding("I7", f"{send.message_id} with other content was answered {send.status}, not 409")


def _isolation(run: _Run) -> Iterator[Finding]:
    """I8: nothing of another tenant, in pages or in answers to those who try."""
    owners = {(message.first.tenant, message.first.text) for message in run.messages.values()}
    tenants = {tenant for tenant, _ in run.conversations}
    for (tenant, conversation), pages in run.pages.items():
        for item in {item for page in pages for item in page.items if item.text is not None}:
            if any((other, item.text) in owners for other in tenants - {tenant}):
                yield Finding("I8", f"{tenant} sees {item.text!r} in {conversation}, which is not theirs")
    for probe in run.probes:
        if probe.status not in {403, 404, *TRY_AGAIN}:
            yield Finding("I8", f"{probe.tenant} asked {probe.owner} for {probe.path}: {probe.status}")
        elif f"canary-{probe.owner}" in probe.body:
            yield Finding("I8", f"the answer to {probe.tenant} for {probe.path} shows a text of {probe.owner}")


def _rest(run: _Run) -> Iterator[Finding]:
    """I10: the run came to rest."""
    for one in run.quiesced:
        if one.unfinished:
            yield Finding("I10", f"{one.unfinished} unfinished after {one.seconds:.0f} s: {one.detail}")
    for fault in run.faults:
        if fault.ready is None:
            yield Finding("I10", f"the platform did not come back after {fault.kind}")


def _answers(run: _Run) -> Iterator[Finding]:
    """A valid request is accepted, or may be tried again; nothing else."""
    for (what, status), times in Counter(
        [("send", one.status) for one in run.sends]
        + [("receipt", one.status) for one in run.receipts]
        + [("inbound", one.status) for one in run.inbound]
    ).items():
        if status not in {200, ACCEPTED, *TRY_AGAIN}:
            yield Finding("answer", f"{times} times {status} to a valid {what}")


def _inbound_outcomes(run: _Run) -> dict[str, tuple[Place, int]]:
    """For each customer's text: where it belongs, and 200 if the platform ever said so."""
    outcomes: dict[str, tuple[Place, int]] = {}
    for one in run.inbound:
        place = one.tenant, one.conversation
        outcomes[one.text] = (
            place,
            max(one.status if one.status == 200 else 0, outcomes.get(one.text, (place, 0))[1]),
        )
    return outcomes


def _final_texts(run: _Run) -> dict[Place, set[str | None]]:
    texts: dict[Place, set[str | None]] = defaultdict(set)
    for place, pages in run.pages.items():
        texts[place] = {item.text for page in pages if page.final for item in page.items}
    return texts

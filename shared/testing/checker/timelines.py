"""I1, I2, I3, I4: what readers see."""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

from shared.testing.checker.run import ACCEPTED, Finding, Message, Place, Run
from shared.testing.history import Item


def _lost(run: Run) -> Iterator[Finding]:
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
        if status == 200 and text not in texts[place] and run.at_rest:
            yield Finding("I1", f"inbound {text!r} was taken with 200 and is not in {place}")


def _stale(run: Run) -> Iterator[Finding]:
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


def _altered(run: Run) -> Iterator[Finding]:
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


def _gaps(run: Run) -> Iterator[Finding]:
    """I3: the numbers of every page follow on from ``since`` one by one; the final timeline starts at 1."""
    for place, pages in run.pages.items():
        for page in pages:
            for before, item in pairwise([Item(page.since, "", "", None), *page.items]):
                if item.seq > before.seq + 1:
                    yield Finding("I3", f"gap: {before.seq + 1} to {item.seq - 1} missing in {place} for {page.reader}")
                elif item.seq <= before.seq:
                    yield Finding("I3", f"order: {item.seq} after {before.seq} in {place} for {page.reader}")


def _disagreements(run: Run) -> Iterator[Finding]:
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


def _reordered(run: Run) -> Iterator[Finding]:
    """I3: a message that was sent after another one was answered has the greater number."""
    by_place: dict[Place, list[Message]] = defaultdict(list)
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


def _doubled(run: Run) -> Iterator[Finding]:
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


def _inbound_outcomes(run: Run) -> dict[str, tuple[Place, int]]:
    """For each customer's text: where it belongs, and 200 if the platform ever said so."""
    outcomes: dict[str, tuple[Place, int]] = {}
    for one in run.inbound:
        place = one.tenant, one.conversation
        outcomes[one.text] = (
            place,
            max(one.status if one.status == 200 else 0, outcomes.get(one.text, (place, 0))[1]),
        )
    return outcomes


def _final_texts(run: Run) -> dict[Place, set[str | None]]:
    texts: dict[Place, set[str | None]] = defaultdict(set)
    for place, pages in run.pages.items():
        texts[place] = {item.text for page in pages if page.final for item in page.items}
    return texts


JUDGES = (_lost, _stale, _altered, _gaps, _disagreements, _reordered, _doubled)

"""I7, I8, I10: one id is one message, tenants are apart, everything comes to rest, and answers make sense."""

from collections import Counter
from collections.abc import Iterator

from shared.testing.checker.run import ACCEPTED, TRY_AGAIN, Finding, Run


def _one_id_one_message(run: Run) -> Iterator[Finding]:
    """I7: every 202 for one id names one number, and no other content gets a 202."""
    for (tenant, message_id), message in run.messages.items():
        if len(message.answers) > 1:
            yield Finding("I7", f"{message_id} of {tenant} was answered with {sorted(message.answers)}")
    for send in run.conflicts:
        original = run.messages.get((send.tenant, send.message_id))
        known = original is not None and original.answered is not None and original.answered < send.sent
        if known and send.status not in {409, *TRY_AGAIN}:
            yield Finding("I7", f"{send.message_id} with other content was answered {send.status}, not 409")


def _isolation(run: Run) -> Iterator[Finding]:
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


def _rest(run: Run) -> Iterator[Finding]:
    """I10: the run came to rest."""
    for one in run.quiesced:
        if one.unfinished:
            yield Finding("I10", f"{one.unfinished} unfinished after {one.seconds:.0f} s: {one.detail}")
    for fault in run.faults:
        if fault.ready is None:
            yield Finding("I10", f"the platform did not come back after {fault.kind}")


def _answers(run: Run) -> Iterator[Finding]:
    """A valid request is accepted, or may be tried again; nothing else."""
    for (what, status), times in Counter(
        [("send", one.status) for one in run.sends]
        + [("receipt", one.status) for one in run.receipts]
        + [("inbound", one.status) for one in run.inbound]
    ).items():
        if status not in {200, ACCEPTED, *TRY_AGAIN}:
            yield Finding("answer", f"{times} times {status} to a valid {what}")


JUDGES = (_one_id_one_message, _isolation, _rest, _answers)

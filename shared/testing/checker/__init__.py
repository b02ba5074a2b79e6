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

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from shared.testing.checker import answers, providers, statuses, timelines
from shared.testing.checker.run import Finding, Run
from shared.testing.history import Operation


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


def check(history: Iterable[Operation]) -> Report:
    """
    The verdict on a whole run.

    Bounds on provider duplicates: each must have a fault to blame, and no fault more than one per mailbox.
    """
    run = Run()
    for operation in history:
        run.add(operation)
    judges = (*timelines.JUDGES, *providers.JUDGES, *statuses.JUDGES, *answers.JUDGES)
    findings = [finding for judge in judges for finding in judge(run)]
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
        provider_duplicates=providers.duplicates(run).total(),
        recovery_p50=recoveries[len(recoveries) // 2] if recoveries else 0.0,
        recovery_max=recoveries[-1] if recoveries else 0.0,
        quiesced=max((one.seconds for one in run.quiesced), default=0.0),
        findings=tuple(findings),
    )


def _kind(finding: Finding) -> str:
    """The invariant, and for those that are counted apart the first word of the detail up to its colon."""
    word = finding.detail.partition(":")[0]
    return f"{finding.invariant} {word}" if word in {"shown", "order", "gap", "back"} else finding.invariant


__all__ = ["Finding", "Report", "check"]

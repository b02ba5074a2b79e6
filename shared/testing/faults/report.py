"""docs/reference/faults.md: one table, written by the campaign alone; a run replaces the rows of the faults it did."""

import os
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from shared.testing.faults.drill import Row
from shared.testing.faults.stack import ROOT

_HEAD = """# Fault campaign: what was seen

Written by `scripts/faults --write`; what the words mean is in [the guide](fault-campaign.md). {cores} cores, shared
with the servers, the clients and other work; "load" is the load average when the fault was over.

{verdict}

"""
_COLUMNS = (
    "#", "fault", "nodes", "times", "accepted", "told to try again", "unanswered", "lost", "doubled", "order breaks",
    "calls repeated", "recovery s", "to rest s", "load", "kept its word", "date (UTC)", "commit",
)  # fmt: skip
_SUMMED = ("times", "accepted", "lost", "doubled", "order breaks")


def write(path: Path, rows: Sequence[Row], *, leaks: int) -> None:
    """The page, whole; ``leaks``: lines of the platform's logs with what people wrote in them (I11)."""
    page = path.read_text() if path.exists() else ""
    lines = {number: line for line in page.splitlines() if (number := _number(line, r"\| (\d+\w?) \|"))}
    findings = [line for line in page.splitlines() if _number(line, r"- (\d+\w?): ")]
    commit = _git("rev-parse", "--short", "HEAD") + (
        "+" if _git("status", "--porcelain", "-uno", "--", "shared") else ""
    )
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")  # noqa: TID251  the date of the run
    for row in rows:
        lines[row.number] = _line(row, when, commit)
        findings = [line for line in findings if not line.startswith(f"- {row.number}: ")]
        findings += [f"- {row.number}: {one.invariant} {one.detail}" for one in row.findings[:10]]
    ordered = [lines[number] for number in sorted(lines, key=lambda one: (int(re.sub(r"\D", "", one)), one))]
    head = _HEAD.format(cores=os.cpu_count(), verdict=_verdict(ordered, leaks, len(findings)))
    table = [f"| {' | '.join(_COLUMNS)} |", "|" + " --- |" * len(_COLUMNS), *ordered]
    tail = ["", "## Findings", "", *findings] if findings else []
    path.write_text(head + "\n".join([*table, *tail]) + "\n")


def _line(row: Row, when: str, commit: str) -> str:
    values = (
        row.number, row.fault, row.nodes, row.times, row.accepted, row.refused, row.unanswered, row.lost, row.doubled,
        row.order_breaks, row.repeated_calls, f"{row.recovery:.1f}", f"{row.rest:.1f}", f"{os.getloadavg()[0]:.0f}",
        "no" if row.findings else "yes", when, commit,
    )  # fmt: skip
    return f"| {' | '.join(map(str, values))} |"


def _verdict(lines: Sequence[str], leaks: int, findings: int) -> str:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    sums = {name: sum(int(one[_COLUMNS.index(name)]) for one in cells) for name in _SUMMED}
    return (
        f"{sums['times']} faults of {len(lines)} kinds, {sums['accepted']:,} messages accepted: **{sums['lost']} lost, "
        f"{sums['doubled']} doubled, {sums['order breaks']} order breaks**; {leaks} lines of log with what "
        f"people wrote; {findings or 'no'} findings."
    )


def _number(line: str, pattern: str) -> str | None:
    found = re.match(pattern, line)
    return found[1] if found else None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()

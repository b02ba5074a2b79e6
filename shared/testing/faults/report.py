"""docs/reference/faults.md: one table, written by the campaign alone."""

import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from shared.testing.faults.drill import Row
from shared.testing.faults.stack import ROOT

HEAD = """# Fault campaign

Written by `scripts/faults`; what the words mean is in [the guide](fault-campaign.md).

{when}, commit {commit}, {seconds:.0f} s, on {cores} cores shared with the servers, the clients and other work (load
average {load} at the end).

{verdict}

"""


def write(path: Path, rows: Sequence[Row], *, seconds: float, leaks: int) -> None:
    """The page, whole; ``leaks``: lines of the platform's logs with what people wrote in them (I11)."""
    import os

    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    changed = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=ROOT, capture_output=True, text=True)
    text = HEAD.format(
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),  # noqa: TID251  the date of the run
        commit=commit.stdout.strip() + (" with changes that were not committed" if changed.stdout.strip() else ""),
        seconds=seconds,
        cores=os.cpu_count(),
        load=f"{os.getloadavg()[0]:.1f}",
        verdict=_verdict(rows, leaks),
    )
    path.write_text(text + _table(rows) + _findings(rows))


def _verdict(rows: Sequence[Row], leaks: int) -> str:
    lost, doubled, order = (sum(getattr(row, name) for row in rows) for name in ("lost", "doubled", "order_breaks"))
    return (
        f"{sum(row.times for row in rows)} faults of {len(rows)} kinds, {sum(row.accepted for row in rows):,} messages "
        f"accepted: **{lost} lost, {doubled} doubled, {order} order breaks**; {leaks} lines of log with what people "
        f"wrote; {sum(len(row.findings) for row in rows)} findings in all."
    )


def _table(rows: Sequence[Row]) -> str:
    names = (
        "#", "fault", "nodes", "times", "accepted", "told to try again", "unanswered", "lost", "doubled",
        "order breaks", "calls repeated", "recovery s", "to rest s", "kept its word",
    )  # fmt: skip
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    for row in rows:
        values = (
            row.number, row.fault, row.nodes, row.times, row.accepted, row.refused, row.unanswered, row.lost,
            row.doubled, row.order_breaks, row.repeated_calls, f"{row.recovery:.1f}", f"{row.rest:.1f}",
            "no" if row.findings else "yes",
        )  # fmt: skip
        lines.append("| " + " | ".join(f"{value}" for value in values) + " |")
    return "\n".join(lines) + "\n"


def _findings(rows: Sequence[Row]) -> str:
    lines = [f"- {row.number}: {one.invariant} {one.detail}" for row in rows for one in row.findings[:10]]
    return "\n## Findings\n\n" + "\n".join(lines) + "\n" if lines else ""

"""
Three faults on real engines of their own, one node of each: a worker dies, events come three times, Redis is emptied
(E1, E2, E12, E13); ``scripts/faults`` is the long form. How soon they recover is for that one to judge: here the
machine does other work.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from shared.testing.faults.__main__ import campaign
from shared.testing.faults.catalogue import CATALOGUE, SHORT
from shared.testing.faults.stack import Stack

_OFFSET = 4300


@pytest.mark.engines
@pytest.mark.timeout(600)
async def test_the_platform_keeps_its_word_on_real_engines(tmp_path: Path) -> None:
    faults = [replace(fault, within=None) for fault in CATALOGUE if fault.number in SHORT]
    stack = Stack(tmp_path / "stack", _OFFSET)
    try:
        rows, leaks = await campaign(faults, stack, tmp_path / "platform", Console())
    finally:
        await stack.wipe()

    assert [row.findings for row in rows] == [()] * len(faults)
    assert all(row.accepted for row in rows)
    assert leaks == 0

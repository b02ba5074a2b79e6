"""For tests that let every call fail, or anything happen at any moment."""

import pytest

from shared.adapters import tables_outbox
from shared.repositories import due


@pytest.fixture(autouse=True)
def a_short_look_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day is 5,760 reads, half an hour 120, and each of them a moment at which something may fail; a few will do."""
    for module in (due, tables_outbox):
        monkeypatch.setattr(module, "DAY", 6)
    monkeypatch.setattr(due, "_LOOK_BACK", 4)

"""Processes whose clocks differ sign with keys that the others know (A1, E1; fault 8 of the campaign)."""

from datetime import timedelta

from cryptography.fernet import Fernet

from shared.adapters.local.vault import FernetVault
from shared.adapters.memory.clock import SettableClock
from shared.adapters.memory.tables import MemoryTables
from shared.repositories.signing_keys import SigningKeys


async def test_a_process_whose_clock_is_behind_the_first_key_signs_with_it() -> None:
    clock = SettableClock()
    tables, vault = MemoryTables(clock), FernetVault([Fernet.generate_key()])
    theirs = await SigningKeys(tables, vault, clock).signing()

    behind = SettableClock(clock.now() - timedelta(minutes=10))

    assert (await SigningKeys(tables, vault, behind).signing()).kid == theirs.kid

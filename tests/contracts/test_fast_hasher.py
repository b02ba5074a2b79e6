"""The PasswordHasher of the API tests keeps the port's contract."""

import pytest

from shared.testing.api import FastHasher
from shared.testing.contracts.hasher import PasswordHasherContract


class TestFastHasher(PasswordHasherContract):
    @pytest.fixture
    def hasher(self) -> FastHasher:
        return FastHasher()

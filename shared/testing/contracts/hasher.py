"""What every PasswordHasher must do (shared.ports.vault)."""

import asyncio

import pytest

from shared.ports.vault import PasswordHasher


class PasswordHasherContract:
    @pytest.fixture
    def hasher(self) -> PasswordHasher:
        raise NotImplementedError("say how to make a PasswordHasher")

    @pytest.mark.parametrize("secret", ["", "s3cret", "ção 🙂", "x" * 1000])
    async def test_a_secret_is_known_by_its_hash(self, hasher: PasswordHasher, secret: str) -> None:
        hashed = await hasher.hash(secret)
        assert await hasher.verify(hashed, secret) is True
        assert await hasher.verify(hashed, secret + "x") is False

    async def test_a_hash_does_not_show_the_secret_and_is_never_the_same(self, hasher: PasswordHasher) -> None:
        one, two = await asyncio.gather(hasher.hash("s3cret"), hasher.hash("s3cret"))
        assert one != two
        assert "s3cret" not in one + two

    @pytest.mark.parametrize("hashed", [None, "", "s3cret", "$argon2id$v=19$m=19456,t=2,p=1$AAAA$AAAA"])
    async def test_nobody_and_nonsense_are_never_verified(self, hasher: PasswordHasher, hashed: str | None) -> None:
        assert await hasher.verify(hashed, "s3cret") is False

    async def test_many_at_once_each_get_their_own_answer(self, hasher: PasswordHasher) -> None:
        hashes = await asyncio.gather(*(hasher.hash(f"{n}") for n in range(12)))
        answers = await asyncio.gather(*(hasher.verify(hashed, f"{n}") for n, hashed in enumerate(hashes)))
        assert answers == [True] * 12
        assert await hasher.verify(hashes[0], "1") is False

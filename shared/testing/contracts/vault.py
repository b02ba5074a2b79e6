"""What every Vault must do (shared.ports.vault). Subclass it, give ``vault`` and a ``stranger`` of other keys."""

import pytest

from shared.domain.errors import Unavailable
from shared.ports.vault import Vault


class VaultContract:
    @pytest.fixture
    def vault(self) -> Vault:
        raise NotImplementedError("say how to make a Vault")

    @pytest.fixture
    def stranger(self) -> Vault:
        raise NotImplementedError("say how to make a Vault that has none of the keys of the other")

    @pytest.mark.parametrize("secret", [b"", b"EAAG-token", "ção 🙂".encode(), bytes(range(256)) * 256])
    def test_what_was_sealed_opens(self, vault: Vault, secret: bytes) -> None:
        assert vault.open(vault.seal(secret)) == secret

    def test_a_sealed_secret_does_not_show_it(self, vault: Vault) -> None:
        assert b"EAAG-token" not in vault.seal(b"EAAG-token")

    def test_the_same_secret_never_looks_the_same(self, vault: Vault) -> None:
        assert vault.seal(b"secret") != vault.seal(b"secret")

    def test_changed_bytes_do_not_open(self, vault: Vault) -> None:
        sealed = vault.seal(b"secret")
        for position in range(0, len(sealed) - 2, 7):
            changed = sealed[:position] + bytes([sealed[position] ^ 1]) + sealed[position + 1 :]
            with pytest.raises(Unavailable):
                vault.open(changed)

    @pytest.mark.parametrize("sealed", [b"", b"secret", b"\x00\xff", "ção".encode()])
    def test_what_was_never_sealed_does_not_open(self, vault: Vault, sealed: bytes) -> None:
        with pytest.raises(Unavailable):
            vault.open(sealed)

    def test_other_keys_do_not_open(self, vault: Vault, stranger: Vault) -> None:
        with pytest.raises(Unavailable) as refused:
            stranger.open(vault.seal(b"secret"))
        assert "secret" not in repr(refused.value).replace("stored secret", "")

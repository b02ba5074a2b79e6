"""The Vault and PasswordHasher contracts, and the key file (secrets at rest)."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from cryptography.fernet import Fernet

from shared.adapters.local.hasher import Argon2Hasher
from shared.adapters.local.vault import FernetVault, load_or_create_key
from shared.domain.errors import Unavailable
from shared.testing.contracts.hasher import PasswordHasherContract
from shared.testing.contracts.vault import VaultContract

OLD, NEW, OTHER = (Fernet.generate_key() for _ in range(3))


class TestFernet(VaultContract):
    @pytest.fixture
    def vault(self):
        return FernetVault([NEW, OLD])

    @pytest.fixture
    def stranger(self):
        return FernetVault([OTHER])

    def test_a_new_key_in_front_seals_and_the_old_one_still_opens(self, vault):
        assert vault.open(FernetVault([OLD]).seal(b"secret")) == b"secret"
        with pytest.raises(Unavailable):
            FernetVault([OLD]).open(vault.seal(b"secret"))

    @pytest.mark.parametrize("keys", [[], [b""], [b"short"], ["ção".encode()]])
    def test_keys_that_are_none_stop_the_start(self, keys):
        with pytest.raises(ValueError):
            FernetVault(keys)


class TestArgon2(PasswordHasherContract):
    @pytest.fixture
    def hasher(self):
        return Argon2Hasher()

    async def test_the_parameters_are_the_recommended_ones(self, hasher):
        assert (await hasher.hash("s3cret")).startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_a_key_file_is_made_once_and_for_its_owner_only(tmp_path):
    path = tmp_path / "vault.key"
    key = load_or_create_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_create_key(path) == key
    assert [file.name for file in tmp_path.iterdir()] == ["vault.key"]
    assert FernetVault([key]).open(FernetVault([key]).seal(b"secret")) == b"secret"


def test_processes_that_start_together_get_the_same_key(tmp_path):
    together = Barrier(8)

    def start(_):
        together.wait()
        return load_or_create_key(tmp_path / "vault.key")

    with ThreadPoolExecutor(8) as processes:
        assert len(set(processes.map(start, range(8)))) == 1


def test_a_key_file_that_cannot_be_made_stops_the_start(tmp_path):
    with pytest.raises(OSError):
        load_or_create_key(tmp_path / "absent" / "vault.key")

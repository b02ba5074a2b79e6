"""Secrets sealed with Fernet (AES-128-CBC and HMAC-SHA256, https://github.com/fernet/spec)."""

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from shared.domain.errors import Unavailable
from shared.domain.sealing_keys import keys_of


class FernetVault:
    """The first of ``keys`` seals, all of them open: put a new key in front to rotate."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """
        Raises:
            ValueError: a key is not 32 bytes in URL-safe base64, or there is none.
        """
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def seal(self, secret: bytes) -> bytes:
        return self._fernet.encrypt(secret)

    def open(self, sealed: bytes) -> bytes:
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            raise Unavailable("a stored secret cannot be opened: its key is missing or it was changed") from None


def load_or_create_key(path: Path) -> bytes:
    """
    The key in the file; a fresh one, readable by its owner only, when there is no file.

    Processes that start at the same time get the same key.

    Raises:
        OSError: the file can be neither read nor made, or what is in it is no key.
    """
    try:
        return _read_key(path)
    except FileNotFoundError:
        return _create_key(path)


def _read_key(path: Path) -> bytes:
    content = path.read_bytes()
    try:
        (key,) = keys_of(content.decode())
    except ValueError:  # never another in its place: what the lost one sealed could not be opened any more
        raise OSError(errno.EINVAL, "it is no key any more; restore it from a backup", str(path)) from None
    return key


def _create_key(path: Path) -> bytes:
    draft = path.with_name(f"{path.name}.{token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was faster; nobody sees a half-written key
            os.link(draft, path)
    finally:
        draft.unlink()
    return _read_key(path)

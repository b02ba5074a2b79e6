"""The keys that secrets are sealed with, as a setting says them: looked at before anything is made."""

from base64 import urlsafe_b64decode

_BYTES = 32
NEW_KEY = "python3 -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())'"


def keys_of(text: str) -> list[bytes]:
    """
    Fernet keys, separated by commas; none of an empty text.

    >>> keys_of("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=, ")
    [b'MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=']

    Raises:
        ValueError: one is none. The text says how to make one, and quotes nothing: it may be a secret all the same.
    """
    keys = [part.strip().encode() for part in text.split(",") if part.strip()]
    if not all(map(_is_key, keys)) or bool(keys) is not bool(text.strip()):
        raise ValueError(f"a key is 32 bytes in URL-safe base64, several with commas between; make one by: {NEW_KEY}")
    return keys


def _is_key(key: bytes) -> bool:
    try:
        return len(urlsafe_b64decode(key)) == _BYTES
    except ValueError:
        return False

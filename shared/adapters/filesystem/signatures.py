"""Presigned URLs of the embedded mode: HMAC-SHA256 over the method and every byte of path and query."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import parse_qsl, urlencode

from shared.domain.errors import Invalid

_MARK = "&signature="
_EXPIRES = "expires"
_PATH = re.compile(r"[A-Za-z0-9._/-]+\Z")
"""A path that can be read in one way only: no query, fragment or escape can hide in it."""


class Signer:
    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, method: str, path: str, query: Mapping[str, str], expires_at: datetime) -> str:
        """
        Path, query and signature. Good until the end of the second of ``expires_at``.

        Raises:
            Invalid: a path that would need quoting.
        """
        if not _PATH.match(path):
            raise Invalid("no URL is signed for a name with other characters than letters, digits and . _ / -")
        signed = f"{path}?{urlencode({**query, _EXPIRES: int(expires_at.timestamp())})}"
        return f"{signed}{_MARK}{self._signature(method, signed)}"

    def query_of(self, method: str, path: bytes, query: bytes, now: datetime) -> dict[str, str] | None:
        """What was signed, of a URL as it came (raw path and query); None: changed, of another method, or expired."""
        if not _PATH.match(path.decode("latin-1")):
            return None
        signed, mark, signature = b"?".join((path, query)).decode("latin-1").rpartition(_MARK)
        expected = self._signature(method, signed).encode()
        if not mark or not hmac.compare_digest(signature.encode("latin-1"), expected):
            return None
        given = dict(parse_qsl(signed.partition("?")[2], keep_blank_values=True, strict_parsing=True))
        return given if now.timestamp() < int(given[_EXPIRES]) + 1 else None

    def _signature(self, method: str, signed: str) -> str:
        return hmac.new(self._key, f"{method}\n{signed}".encode("latin-1"), hashlib.sha256).hexdigest()

"""
The file that keeps the secrets of the first clients, so that nobody has to type one: <data_dir>/credentials.json.

    {"url": "http://127.0.0.1:8080", "mode": "embedded", "tenants": {"demo": {"client_id": "…", "client_secret": "…"}}}

Readable by its owner only, and replaced as a whole, so that a crash never leaves half of it. What was spoilt by hand
counts as missing, each part for itself: the database knows the clients. What is no JSON any more is kept beside it, for
whoever mends it: the database knows only hashes of its secrets.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE_NAME = "credentials.json"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Shown once; the database keeps only a hash of the secret."""

    tenant: str
    client_id: str
    client_secret: str = field(repr=False)


class CredentialsFile:
    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / FILE_NAME

    def of(self, tenant: str) -> Credentials | None:
        return self.all().get(tenant)

    def all(self) -> dict[str, Credentials]:
        """Those that are whole, by their tenants."""
        return {
            tenant: Credentials(tenant, client_id, client_secret)
            for tenant, entry in _tenants(self._content()).items()
            if isinstance(entry, dict)
            and isinstance(client_id := entry.get("client_id"), str)
            and isinstance(client_secret := entry.get("client_secret"), str)
        }

    @property
    def url(self) -> str | None:
        """Where the platform was reached at its last start."""
        url = self._content().get("url")
        return url if isinstance(url, str) else None

    @property
    def mode(self) -> str | None:
        """The mode of the last start; None if there was none, or one of a version that did not say."""
        mode = self._content().get("mode")
        return mode if isinstance(mode, str) else None

    def keep(self, *credentials: Credentials, url: str | None = None, mode: str | None = None) -> None:
        with self._changed() as content:
            tenants = content["tenants"] = _tenants(content)
            for one in credentials:
                tenants[one.tenant] = {"client_id": one.client_id, "client_secret": one.client_secret}
            if url is not None:
                content["url"] = url
            if mode is not None:
                content["mode"] = mode

    def disable(self, client_id: str) -> None:
        """
        Its secret goes: whoever uses what is kept would be refused. That it was disabled stays, so that no start makes
        another in its place, or this one anew on tables that do not know it.
        """
        if client_id not in {one.client_id for one in self.all().values()}:
            return
        with self._changed() as content:
            for entry in _tenants(content).values():
                if isinstance(entry, dict) and entry.get("client_id") == client_id:
                    entry.pop("client_secret", None)
                    entry["disabled"] = True

    def disabled(self, tenant: str) -> bool:
        """Whether the client that was kept of the tenant was disabled, and none made after it."""
        entry = _tenants(self._content()).get(tenant)
        return isinstance(entry, dict) and entry.get("disabled") is True

    @contextmanager
    def _changed(self) -> Iterator[dict[str, Any]]:
        """What it has, to be changed; written when the context ends well."""
        with _alone_in(self.path.parent):
            content = self._read_or_put_aside()
            yield content
            beside = self.path.with_suffix(".new")
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump(content, file, indent=2)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)

    def _read_or_put_aside(self) -> dict[str, Any]:
        try:
            return self._read()
        except FileNotFoundError:
            return {}
        except ValueError:
            from shared.observability.log import log  # not for a command that only reads

            aside = self.path.replace(_free(self.path.with_suffix(".spoilt")))
            log.warning("what is no JSON any more was put aside, its secrets with it", file=str(aside))
            return {}

    def check(self) -> None:
        """
        For whoever can say so to a person.

        Raises:
            ValueError: it is no JSON object.
            OSError: it is not there, or cannot be read.
        """
        self._read()

    def _content(self) -> dict[str, Any]:
        try:
            return self._read()
        except (FileNotFoundError, ValueError):
            return {}

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except RecursionError:
            raise ValueError("it has too many levels") from None
        if not isinstance(content, dict):
            raise ValueError("it is no JSON object")
        return content


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Whoever keeps a client reads what others kept, and writes all of it: two at once would lose one."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _free(path: Path) -> Path:
    """The path, or with a number behind it where something is there already."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free


def _tenants(content: dict[str, Any]) -> dict[str, Any]:
    tenants = content.get("tenants")
    return tenants if isinstance(tenants, dict) else {}

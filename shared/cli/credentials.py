"""Who asks, and where: what was given, completed from the file that the first start writes."""

from dataclasses import dataclass
from pathlib import Path

from shared.runtime.credentials_file import CredentialsFile

DEFAULT_URL = "http://127.0.0.1:8080"
DEFAULT_TENANT = "demo"


class NoCredentials(Exception):
    """Nothing says who is asking; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks, and where. The secret stays out of ``repr``."""

    url: str
    tenant: str
    client_id: str
    client_secret: str

    def __repr__(self) -> str:
        return f"Client(url={self.url!r}, tenant={self.tenant!r}, client_id={self.client_id!r})"


def find_client(
    data_dir: Path, *, url: str | None, tenant: str | None, client_id: str | None, client_secret: str | None
) -> Client:
    """
    The client to act as: what was given, completed from the file.

    Raises:
        NoCredentials: neither the arguments nor the file name a client, or the file cannot be read.
    """
    if bool(client_id) != bool(client_secret):
        raise NoCredentials("give --client-id and --client-secret together")
    file = CredentialsFile(data_dir)
    if client_id and client_secret:
        return Client(known_url(data_dir, url), tenant or "", client_id, client_secret)
    if not file.path.is_file():
        raise NoCredentials(
            f"there is no {file.path}: start the platform once with scripts/up (or name its --data-dir), "
            "or set CHAT4ALL_CLIENT_ID and CHAT4ALL_CLIENT_SECRET"
        )
    _check(file)
    kept = file.all()
    name = tenant or (DEFAULT_TENANT if DEFAULT_TENANT in kept else next(iter(kept), DEFAULT_TENANT))
    found = kept.get(name)
    if found is None and file.disabled(name):
        raise NoCredentials(
            f"the client of tenant {name!r} was disabled; chat4all tenants add-client {name} makes another"
        )
    if found is None:
        known = ", ".join(sorted(kept)) or "none"
        raise NoCredentials(f"{file.path} has no client of tenant {name!r} (it has: {known})")
    return Client(known_url(data_dir, url), name, found.client_id, found.client_secret)


def known_url(data_dir: Path, url: str | None) -> str:
    """
    Where the platform should be.

    Raises:
        NoCredentials: only the file could say, and it cannot be read.
    """
    file = CredentialsFile(data_dir)
    if not url and file.path.is_file():
        _check(file)
        url = file.url
    return (url or DEFAULT_URL).rstrip("/")


def _check(file: CredentialsFile) -> None:
    try:
        file.check()
    except (OSError, ValueError) as error:
        raise NoCredentials(f"{file.path} cannot be read: {error}") from None

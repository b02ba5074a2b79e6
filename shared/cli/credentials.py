"""
The file that the first start writes so that nobody types a secret: ``<data_dir>/credentials.json``, mode 0600.

    {"url": "http://127.0.0.1:8080", "tenants": {"demo": {"client_id": "…", "client_secret": "…"}}}
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE_NAME = "credentials.json"
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
    path = data_dir / FILE_NAME
    if client_id and client_secret:
        found = url or (_read(path).get("url") if path.is_file() else None)
        return Client((found or DEFAULT_URL).rstrip("/"), tenant or "", client_id, client_secret)
    if not path.is_file():
        raise NoCredentials(
            f"there is no {path}: start the platform once with scripts/up (or name its --data-dir), "
            "or set CHAT4ALL_CLIENT_ID and CHAT4ALL_CLIENT_SECRET"
        )
    content = _read(path)
    tenants = content.get("tenants")
    if not isinstance(tenants, dict):
        raise NoCredentials(f"{path} has no tenants")
    name = tenant or (DEFAULT_TENANT if DEFAULT_TENANT in tenants else next(iter(tenants), DEFAULT_TENANT))
    entry = tenants.get(name)
    if not isinstance(entry, dict) or not {"client_id", "client_secret"} <= entry.keys():
        known = ", ".join(sorted(tenants)) or "none"
        raise NoCredentials(f"{path} has no client of tenant {name!r} (it has: {known})")
    found = url or content.get("url") or DEFAULT_URL
    return Client(found.rstrip("/"), name, entry["client_id"], entry["client_secret"])


def known_url(data_dir: Path, url: str | None) -> str:
    """Where the platform should be, for those who need no client."""
    path = data_dir / FILE_NAME
    found = url or (_read(path).get("url") if path.is_file() else None)
    return (found or DEFAULT_URL).rstrip("/")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NoCredentials(f"{path} cannot be read: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("url", ""), str):
        raise NoCredentials(f"{path} is not what a first start writes")
    return content

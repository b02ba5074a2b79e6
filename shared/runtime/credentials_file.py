"""
The file that keeps the secrets of the first clients, so that nobody has to type one: <data_dir>/credentials.json.

    {"url": "http://127.0.0.1:8080", "mode": "embedded", "tenants": {"demo": {"client_id": "…", "client_secret": "…"}}}

Readable by its owner only, and replaced as a whole, so that a crash never leaves half of it.
"""

import json
import os
from pathlib import Path
from typing import Any

from shared.runtime.bootstrap import Credentials

FILE_NAME = "credentials.json"


class CredentialsFile:
    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / FILE_NAME

    def of(self, tenant: str) -> Credentials | None:
        entry = self._read().get("tenants", {}).get(tenant)
        return None if entry is None else Credentials(tenant, entry["client_id"], entry["client_secret"])

    @property
    def mode(self) -> str | None:
        """The mode of the last start; None if there was none, or one of a version that did not say."""
        mode = self._read().get("mode")
        return mode if isinstance(mode, str) else None

    def keep(self, *credentials: Credentials, url: str | None = None, mode: str | None = None) -> None:
        content = self._read()
        tenants: dict[str, Any] = content.setdefault("tenants", {})
        for one in credentials:
            tenants[one.tenant] = {"client_id": one.client_id, "client_secret": one.client_secret}
        if url is not None:
            content["url"] = url
        if mode is not None:
            content["mode"] = mode
        beside = self.path.with_suffix(".new")
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(content, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)

    def _read(self) -> dict[str, Any]:
        """What is there; nothing when it is missing or was spoilt by hand: the database knows the clients."""
        try:
            content = json.loads(self.path.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

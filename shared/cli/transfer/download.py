"""A file on its way here: goes on where it was cut, and is there under its name only when its checksum is right."""

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urljoin

from shared.cli.command import Failed
from shared.cli.platform import Json, Platform, PlatformRefused, PlatformUnreachable, segment
from shared.cli.transfer.digest import BLOCK
from shared.cli.transfer.pace import Pace
from shared.cli.transfer.patience import Patience
from shared.cli.transfer.progress import Progress


def safe_name(given: str) -> str:
    """
    A name for a file in this folder, whatever somebody called it.

    >>> safe_name("../../etc/passwd"), safe_name("C:\\\\x.pdf"), safe_name(".."), safe_name("a\\nb")
    ('passwd', 'x.pdf', 'download', 'a_b')
    """
    name = PurePosixPath(given.replace("\\", "/")).name.lstrip(".")
    return "".join(one if one.isprintable() else "_" for one in name) or "download"


@dataclass
class Download:
    """``target``: a file, or a folder for it (default: this one)."""

    platform: Platform
    file_id: str
    user: str | None
    target: Path
    progress: Progress
    pace: Pace = field(default_factory=lambda: Pace(None))
    patience: Patience = field(default_factory=Patience)
    facts: Json = field(default_factory=dict)

    def run(self) -> Path:
        """
        The file's path once all of it is there and has been found right.

        Raises:
            Failed: there is such a file already, or what came is not what was announced.
            PlatformRefused, PlatformUnreachable: as the platform has it.
        """
        self._look()
        target = self.target / safe_name(self.facts["filename"]) if self.target.is_dir() else self.target
        if target.exists():
            raise Failed(f"{target} is there already; name another one with -o")
        partial = target.with_name(f".{target.name}.{safe_name(self.file_id)}.part")
        with partial.open("a+b") as file:
            found = self._fetch(file)
            file.flush()
            os.fsync(file.fileno())
        expected = str(self.facts["checksum"]).removeprefix("sha256:")
        if found != expected:
            partial.unlink()
            raise Failed(f"what came has the SHA-256 {found}, not {expected}; it was thrown away")
        partial.replace(target)
        return target

    def _look(self) -> None:
        path = f"/v1/files/{segment(self.file_id)}"
        while True:
            try:
                self.facts = self.platform.get(path, act_as=self.user)
                return
            except PlatformUnreachable:
                if not self.patience.wait():
                    raise
            except PlatformRefused as refused:
                if refused.status < 500 or not self.patience.wait():
                    raise

    def _fetch(self, file: IO[bytes]) -> str:
        """Everything that is missing at the end of ``file``; the SHA-256 of all of it."""
        size = int(self.facts["size"])
        hashed = hashlib.sha256()
        file.seek(0)
        while block := file.read(BLOCK):
            hashed.update(block)
        self.progress.stage("receiving", size, file.tell())
        while file.tell() != size:
            before = file.tell()
            if before > size:
                hashed = _from_the_beginning(file)
            trouble = self._read_on(file, hashed)
            if file.tell() > before:
                self.patience.renewed()
            elif not self.patience.wait():
                raise Failed(f"nothing came for {self.patience.seconds:.0f} s: {trouble}")
            if trouble:
                self._look()  # the URL may have expired
        return hashed.hexdigest()

    def _read_on(self, file: IO[bytes], hashed: "hashlib._Hash") -> str:
        """One request; what went wrong, empty when nothing did."""
        import httpx

        start = file.tell()
        url = urljoin(self.platform.client.url + "/", self.facts["download_url"])
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        timeout = httpx.Timeout(60.0, connect=5.0)
        try:
            with (
                httpx.Client(
                    transport=self.platform.transport, timeout=timeout, trust_env=False, follow_redirects=True
                ) as http,
                http.stream("GET", url, headers=headers) as answer,
            ):
                if answer.status_code != (206 if start else 200):
                    return f"answered {answer.status_code}"
                for block in answer.iter_bytes(BLOCK):
                    self.pace.take(len(block))
                    file.write(block)
                    hashed.update(block)
                    self.progress.advance(len(block))
        except httpx.TransportError as error:
            return str(error) or type(error).__name__
        return ""


def _from_the_beginning(file: IO[bytes]) -> "hashlib._Hash":
    file.seek(0)
    file.truncate()
    return hashlib.sha256()

"""
A file on its way to the platform: parts straight into the object store, several at once, by presigned URLs.

What is there already is known to the platform alone: after whatever ended an upload, the same command asks it and
sends the rest. That it is the same upload follows from the file and from who sends it where, by the Idempotency-Key
of ``initiate``.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from mimetypes import guess_type
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from shared.cli.command import Failed
from shared.cli.platform import Json, Platform, PlatformRefused, PlatformUnreachable, segment
from shared.cli.transfer.digest import sha256
from shared.cli.transfer.pace import Pace
from shared.cli.transfer.parts import Parts
from shared.cli.transfer.patience import Patience
from shared.cli.transfer.progress import Progress

_ATTEMPTS = 20  # uploads of the same file that ended in nothing, until it is given up to find a fresh one
_COMPLETE = 300.0  # seconds for an answer: the platform may read the whole file before it
_POLL = 1.0


@dataclass(frozen=True, slots=True)
class Source:
    """What is sent. ``checksum`` is the SHA-256 in lower case hex."""

    path: Path
    size: int
    checksum: str

    @property
    def content_type(self) -> str:
        return guess_type(self.path.name)[0] or "application/octet-stream"


def read(path: Path, progress: Progress) -> Source:
    """The file, read once for its checksum."""
    size = path.stat().st_size
    progress.stage("reading", size)
    return Source(path, size, sha256(path, progress.advance))


@dataclass
class Upload:
    """
    ``file_id``: of an upload that is to go on, where the file alone does not say which. ``status`` is what the
    platform said last.
    """

    platform: Platform
    source: Source
    conversation_id: str
    user: str | None
    progress: Progress
    parallel: int = 4
    pace: Pace = field(default_factory=lambda: Pace(None))
    file_id: str | None = None
    patience: Patience = field(default_factory=Patience)
    status: Json = field(default_factory=dict)

    def run(self) -> Json:
        """
        The status of the file once it is ready.

        Raises:
            Failed: the platform or the store does not take it; the text says why.
            PlatformRefused, PlatformUnreachable: as the platform has it.
        """
        self.file_id = self.file_id or self._begin()
        self._look()
        self.progress.note(f"{self.source.path.name} is {self.file_id}")
        self.progress.stage("sending", self.source.size, self.received)
        while self.status["upload_status"] in ("initiated", "uploading"):
            self._send()
            self._complete()
        self._until_ready()
        return self.status

    @property
    def received(self) -> int:
        return int(self.status.get("received_bytes", 0))

    def _begin(self) -> str:
        body = {
            "filename": self.source.path.name,
            "content_type": self.source.content_type,
            "size": self.source.size,
            "checksum": f"sha256:{self.source.checksum}",
            "conversation_id": self.conversation_id,
        }
        for attempt in range(_ATTEMPTS):
            self.file_id = self._initiate(body, attempt)
            if self._goes_on():
                return self.file_id
        raise Failed(f"{self.source.path.name} came to nothing {_ATTEMPTS} times today; see the platform's log")

    def _initiate(self, body: Json, attempt: int) -> str:
        key = str(uuid5(NAMESPACE_URL, f"chat4all:upload:{attempt}:{self.user}:{sorted(body.items())}"))
        headers = {"Idempotency-Key": key}
        path = "/v1/files/initiate"
        begun = self._patiently(
            lambda: self.platform.call("POST", path, body, act_as=self.user, headers=headers).body,
            also=(409,),  # the same request, cut off a moment ago, still has the key
        )
        return str(begun["file_id"])

    def _goes_on(self) -> bool:
        """Whether it is more than the remains of an upload that failed or was deleted."""
        try:
            self._look()
        except PlatformRefused as refused:
            if refused.status != 404:
                raise
            return False
        return self.status["upload_status"] in ("initiated", "uploading", "verifying", "ready")

    def _look(self) -> None:
        path = f"/v1/files/{segment(self.file_id or '')}/status"
        self.status = self._patiently(lambda: self.platform.get(path, act_as=self.user))

    def _send(self) -> None:
        """Until the platform misses no part."""
        with Parts(
            self.source.path,
            self.platform.client.url + "/",
            self.progress,
            parallel=self.parallel,
            pace=self.pace,
            transport=self.platform.transport,
        ) as parts:
            while missing := self.status.get("missing_parts"):
                before = self.received
                parts.send(missing)
                self._look()
                if self.received > before:
                    self.patience.renewed()
                elif not self.patience.wait():
                    raise Failed(f"no part was taken for {self.patience.seconds:.0f} s: {parts.trouble}")

    def _complete(self) -> None:
        path = f"/v1/files/{segment(self.file_id or '')}/complete"
        body = {"checksum": f"sha256:{self.source.checksum}"}
        try:
            self._patiently(lambda: self.platform.call("POST", path, body, act_as=self.user, timeout=_COMPLETE).body)
        except PlatformRefused as refused:
            if refused.status != 409:
                raise
            if not self.patience.wait():  # a part was in flight, or is gone
                raise
        self._look()

    def _until_ready(self) -> None:
        if self.status["upload_status"] == "verifying":
            self.progress.stage("verifying", self.source.size)
        while self.status["upload_status"] == "verifying":
            time.sleep(_POLL)
            self._look()
        if self.status["upload_status"] != "ready":
            raise Failed(f"the file is {self.status['upload_status']}: {self.status.get('reason') or 'see its status'}")

    def _patiently(self, ask: Callable[[], Json], also: tuple[int, ...] = ()) -> Json:
        """What the platform answers, also when it is away for a while."""
        while True:
            try:
                return ask()
            except PlatformUnreachable:
                if not self.patience.wait():
                    raise
            except PlatformRefused as refused:
                if (refused.status < 500 and refused.status not in also) or not self.patience.wait():
                    raise

"""What a function that never stores a byte pays for the S3 adapter: nothing (design.md 8)."""

import asyncio
import gc
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.adapters.s3.object_store import S3ObjectStore
from shared.adapters.s3.settings import S3Settings
from shared.domain.errors import Unavailable
from shared.ports.object_store import Upload

_LOOK = """
import asyncio, sys
from shared.adapters.s3.object_store import S3ObjectStore
from shared.adapters.s3.settings import S3Settings

async def unused():
    await S3ObjectStore(S3Settings(endpoint="http://127.0.0.1:1")).close()

asyncio.run(unused())
print([name for name in ("boto3", "botocore", "httpx", "urllib3") if name in sys.modules])
"""


def test_a_store_that_is_not_used_imports_no_client() -> None:
    looked = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, text=True, check=True)
    assert looked.stdout.strip() == "[]"


def test_a_secret_is_not_shown() -> None:
    assert "s3cr3t" not in repr(S3Settings(secret_key="s3cr3t"))
    assert "s3cr3t" not in repr(S3ObjectStore(S3Settings(secret_key="s3cr3t")))


BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


class Bucket(S3ObjectStore):
    """With uploads of ours and of somebody else's, none of which was finished."""

    def __init__(self) -> None:
        super().__init__(S3Settings())
        self.aborted: list[Upload] = []

    async def _client(self) -> Any:
        return self

    async def pages(self, method: str) -> list[dict[str, Any]]:
        keys = ("acme/files/1", "backup/2026.tar", "files/1")
        return [{"Uploads": [{"Key": key, "UploadId": "u", "Initiated": BEGUN} for key in keys]}, {}]

    async def abort(self, upload: Upload) -> None:
        self.aborted.append(upload)


async def test_only_uploads_of_ours_are_discarded() -> None:
    bucket = Bucket()
    assert await bucket.discard_stale(BEGUN) == 0
    assert await bucket.discard_stale(BEGUN + timedelta(seconds=1)) == 1
    assert bucket.aborted == [Upload("acme/files/1", "u")]


class Unreachable(S3ObjectStore):
    """Found to be so after everybody who asked has given up."""

    def __init__(self) -> None:
        super().__init__(S3Settings())
        self.asked = asyncio.Event()

    async def _connect(self) -> Any:
        self.asked.set()
        await asyncio.sleep(0.01)
        self._opening = None
        raise Unavailable("the object store does not answer")


async def test_a_store_that_nobody_waits_for_any_more_fails_in_silence() -> None:
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    unreachable = Unreachable()
    ping = asyncio.create_task(unreachable.ping())
    await unreachable.asked.wait()
    ping.cancel()
    await asyncio.sleep(0.05)
    gc.collect()
    assert complaints == []


class Answers:
    async def presign(self, *_: Any, **__: Any) -> list[str]:
        return ["http://127.0.0.1:1/"]

    async def ask(self, url: str) -> None: ...


async def test_a_client_that_takes_long_to_be_imported_is_no_store_that_is_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More than a second where two cores are busy, and that is no second of the store's."""
    imported: list[str] = []

    def imports(name: str) -> None:
        time.sleep(0.3)
        imported.append(name)

    monkeypatch.setattr("shared.adapters.s3.object_store.import_module", imports)
    monkeypatch.setattr("shared.adapters.s3.object_store._open", lambda _: (Answers(), Answers()))
    monkeypatch.setattr("shared.adapters.s3.object_store._PING", 0.2)
    await S3ObjectStore(S3Settings()).ping()
    assert "shared.adapters.s3.client" in imported, "the one that brings boto3 along"


async def test_a_store_that_hangs_when_it_is_first_asked_is_down_after_its_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shared.adapters.s3.object_store.import_module", lambda name: None)
    monkeypatch.setattr("shared.adapters.s3.object_store._open", lambda _: time.sleep(0.5))
    monkeypatch.setattr("shared.adapters.s3.object_store._PING", 0.1)
    with pytest.raises(OSError, match="no answer in time"):
        await S3ObjectStore(S3Settings()).ping()

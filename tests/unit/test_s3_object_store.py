"""What a function that never stores a byte pays for the S3 adapter: nothing (design.md 8)."""

import subprocess
import sys

from shared.adapters.s3.object_store import S3ObjectStore
from shared.adapters.s3.settings import S3Settings

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

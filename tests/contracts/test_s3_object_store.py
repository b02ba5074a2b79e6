"""
The ObjectStore contract over two implementations of S3 (B1, B2, B5): MinIO, and versitygw, which shares no code with
it. Never over a store that checks neither signatures nor checksums.
"""

import httpx
import pytest

from shared.testing import real_engines
from shared.testing.contracts.object_store import ObjectStoreContract


class OnS3(ObjectStoreContract):
    engine: str

    @pytest.fixture
    async def store(self):
        async with real_engines.s3_object_store(self.engine) as store:
            yield store

    @pytest.fixture
    async def http(self):
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            yield http


@pytest.mark.real("minio")
class TestMinio(OnS3):
    engine = "minio"


@pytest.mark.real("versitygw")
class TestVersitygw(OnS3):
    engine = "versitygw"

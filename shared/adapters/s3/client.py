"""
boto3 for asyncio: calls in a bounded pool of threads, errors of ours.

This is the only module that imports boto3, which takes a third of a second and 30 MB; it is imported when somebody
first uses the store.
"""

import asyncio
import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from shared.adapters.s3.refusals import refusal
from shared.adapters.s3.settings import S3Settings
from shared.domain.errors import Unavailable
from shared.ports.object_store import BLOCK

_CALLS = 8
_READS = 2  # whole objects that are read at the same time: as much as two cores can hash
_ABSENT = frozenset({"404", "NoSuchBucket", "NotFound"})
_OURS = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})
_PRIVATE = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}

_T = TypeVar("_T")


class S3Client:
    """
    One bucket. ``inside`` signs for the address that we use, ``outside`` for the one that clients use.
    """

    def __init__(self, settings: S3Settings) -> None:
        """Takes tens of milliseconds: call it in a thread."""
        self._bucket = settings.bucket
        self._region = settings.region
        session = boto3.Session(
            aws_access_key_id=settings.access_key,
            aws_secret_access_key=settings.secret_key,
            region_name=settings.region,
        )
        config = Config(
            signature_version="s3v4",  # without it URLs are signed by a scheme that is gone
            s3={"addressing_style": "path" if settings.endpoint else "auto"},
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.timeout,
            retries={"mode": "standard", "total_max_attempts": settings.tries},
            max_pool_connections=_CALLS + _READS,
            # By default the library announces a CRC32 for every part, which clients would then have to send.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self._inside = session.client("s3", endpoint_url=settings.endpoint, config=config)
        self._outside = self._inside
        if settings.public_endpoint and settings.public_endpoint != settings.endpoint:
            self._outside = session.client("s3", endpoint_url=settings.public_endpoint, config=config)
        self._calls = ThreadPoolExecutor(_CALLS, thread_name_prefix="s3")
        self._reads = ThreadPoolExecutor(_READS, thread_name_prefix="s3-read")

    def close(self) -> None:
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._reads.shutdown(wait=False, cancel_futures=True)
        self._inside.close()
        self._outside.close()

    def prepare(self) -> None:
        """
        Make the bucket, for nobody else to read, unless it is there.

        Raises:
            Unavailable: the store does not answer, or does not permit it.
        """
        _translated(self._prepare)

    def _prepare(self) -> None:
        try:
            self._inside.head_bucket(Bucket=self._bucket)
            return
        except ClientError as error:
            code, status = _answer(error)
            if code not in _ABSENT:
                if status == 403:  # keys that may use the bucket need not be allowed to look at it
                    return
                raise
        where = {} if self._region == "us-east-1" else {"LocationConstraint": self._region}
        more = {"CreateBucketConfiguration": where} if where else {}
        try:
            self._inside.create_bucket(Bucket=self._bucket, **more)
        except ClientError as error:
            if _answer(error)[0] not in _OURS:
                raise
        try:
            self._inside.put_public_access_block(Bucket=self._bucket, PublicAccessBlockConfiguration=_PRIVATE)
        except ClientError as error:
            # AWS's own. Elsewhere a new bucket is private and there is no such call, or it is refused by name.
            if _answer(error)[1] not in (400, 404, 405, 501):
                raise

    async def call(self, operation: str, **parameters: Any) -> Any:
        """
        One operation of S3 on the bucket, by its name in boto3.

        Raises:
            Chat4AllError: what ``refusals`` makes of the answer; Unavailable when there is none.
        """
        ask = getattr(self._inside, operation)
        return await self._in(self._calls, lambda: ask(Bucket=self._bucket, **parameters))

    async def pages(self, operation: str, **parameters: Any) -> list[Any]:
        """All pages of a list."""
        ask = self._inside.get_paginator(operation).paginate
        return await self._in(self._calls, lambda: list(ask(Bucket=self._bucket, **parameters)))

    async def presign(
        self, operation: str, each: Sequence[dict[str, Any]], *, expires_in: timedelta, outside: bool
    ) -> list[str]:
        """A URL for each of the parameters; computed here, nobody is asked."""
        client, seconds = (self._outside if outside else self._inside), max(int(expires_in.total_seconds()), 1)

        def sign() -> list[str]:
            return [
                client.generate_presigned_url(
                    operation, Params={"Bucket": self._bucket, **parameters}, ExpiresIn=seconds
                )
                for parameters in each
            ]

        return await self._in(self._calls, sign)

    async def sha256(self, key: str) -> str:
        """Of the whole object, in lower case hex; read and hashed in a thread, in blocks."""
        stopped = threading.Event()

        def read() -> str:
            hashed = hashlib.sha256()
            with self._inside.get_object(Bucket=self._bucket, Key=key)["Body"] as body:
                while not stopped.is_set() and (block := body.read(BLOCK)):
                    hashed.update(block)
            return hashed.hexdigest()

        try:
            return await self._in(self._reads, read)
        finally:
            stopped.set()

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(pool, _translated, work)


def _translated(work: Callable[[], _T]) -> _T:
    try:
        return work()
    except ClientError as error:
        raise refusal(*_answer(error)) from None
    except (BotoCoreError, HTTPClientError, OSError) as error:
        raise Unavailable(f"the object store does not answer: {type(error).__name__}") from error


def _answer(error: ClientError) -> tuple[str, int]:
    """Code and HTTP status; a HEAD has no body, so its code is the status."""
    said = error.response
    return str(said["Error"].get("Code", "")), int(said["ResponseMetadata"]["HTTPStatusCode"])

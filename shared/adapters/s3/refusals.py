"""What an S3 says when it cannot or will not, in our words."""

import re

from shared.domain.errors import Chat4AllError, ChecksumMismatch, Conflict, NotFound, StorageFull, Unavailable

_CODE = re.compile(rb"<Code>([\w.]{1,100})</Code>")

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; names with XMinio are MinIO's own.
_MEANS: dict[str, tuple[type[Chat4AllError], str]] = {
    "NoSuchUpload": (NotFound, "there is no such upload (any more)"),
    "NoSuchKey": (NotFound, "there is no such object"),
    "InvalidPart": (Conflict, "a part is not there, or is another one by now"),
    "InvalidPartOrder": (Conflict, "the parts are not in the order of their numbers"),
    "EntityTooSmall": (Conflict, "a part before the last is smaller than 5 MiB"),
    "BadDigest": (ChecksumMismatch, "these are other bytes than the SHA-256 says"),
    "InvalidDigest": (ChecksumMismatch, "these are other bytes than the SHA-256 says"),
    "XAmzContentChecksumMismatch": (ChecksumMismatch, "these are other bytes than the SHA-256 says"),
    "XAmzContentSHA256Mismatch": (ChecksumMismatch, "these are other bytes than the SHA-256 says"),
    "XMinioStorageFull": (StorageFull, "the object store is full"),
    "XMinioAdminBucketQuotaExceeded": (StorageFull, "the bucket's quota is used up"),
    "QuotaExceeded": (StorageFull, "the bucket's quota is used up"),
    "RequestTimeTooSkewed": (
        Unavailable,
        "the clocks here and at the object store differ by more than 15 min",
    ),
    "AccessDenied": (Unavailable, "the object store does not let these keys do this; see CHAT4ALL_S3_ACCESS_KEY"),
    "InvalidAccessKeyId": (Unavailable, "the object store does not know CHAT4ALL_S3_ACCESS_KEY"),
    "SignatureDoesNotMatch": (Unavailable, "CHAT4ALL_S3_SECRET_KEY is not the one of CHAT4ALL_S3_ACCESS_KEY"),
    "NoSuchBucket": (Unavailable, "the bucket is gone"),
}
_BY_STATUS = {404: "NoSuchKey", 403: "AccessDenied", 507: "XMinioStorageFull"}


def refusal(code: str, status: int) -> Chat4AllError:
    """
    The error for what the store answered; one that nobody knows may pass, so it is Unavailable.

    >>> refusal("NoSuchUpload", 404)
    NotFound('there is no such upload (any more)')
    """
    kind, detail = _MEANS.get(code) or _MEANS.get(_BY_STATUS.get(status, ""), (Unavailable, ""))
    return kind(detail or f"the object store answers {status} {code}".rstrip())


def code_of(body: bytes) -> str:
    """
    The code in the XML of an error; empty when there is none.

    >>> code_of(b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Key>a</Key></Error>")
    'NoSuchKey'
    """
    found = _CODE.search(body)
    return found[1].decode() if found else ""

"""
Everything that can go wrong and has a name.

    Chat4AllError
      Refused                  422  the caller is wrong; repeating the request changes nothing
        Unauthenticated        401
        Forbidden              403
          NotAMember           403
        NotFound               404
        TooSlow                408
        Conflict               409
          WrongOffset          409
        TooLarge               413
        UnsupportedMediaType   415
        Invalid                422  carries errors: [{pointer, detail}]
        ChecksumMismatch       422  the bytes are not those that were announced
      Unavailable              503  a dependency is down or slow; repeating the request may work
        Unanswered             503  a conditional write got no answer: it may have happened
        StorageFull            507  no room for the bytes of a file
      RateLimited              429
      ChannelError                  raised by channels only; says what is certain about one call
        Rejected                    not delivered, and never will be
        Busy                        not delivered, come back after its wait
        Unknown                     may have been delivered: the answer was lost

A class says once what every caller must know: ``code`` (stable, for programs; the last part of the problem
type), ``title`` (for people), ``status`` (HTTP). ``detail`` tells the reader what to do.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar, TypedDict


class FieldError(TypedDict):
    """One thing wrong with a request body: a JSON pointer (RFC 6901) and what to do about it."""

    pointer: str
    detail: str


class Chat4AllError(Exception):
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something broke on our side"
    status: ClassVar[int] = 500

    def __init__(self, detail: str = "", *, retry_after: timedelta | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.retry_after = retry_after


class Refused(Chat4AllError):
    code, title, status = "refused", "The request cannot be done", 422


class Unauthenticated(Refused):
    code, title, status = "unauthenticated", "Say who you are", 401


class Forbidden(Refused):
    code, title, status = "forbidden", "You may not do this", 403


class NotAMember(Forbidden):
    code, title, status = "not-a-member", "The user is not a member of the conversation", 403


class NotFound(Refused):
    code, title, status = "not-found", "There is no such thing here", 404


class Conflict(Refused):
    code, title, status = "conflict", "This contradicts what is already there", 409


class WrongOffset(Conflict):
    """``expected`` is where the upload is, in bytes."""

    code, title = "wrong-offset", "The upload is at another offset"

    def __init__(self, expected: int) -> None:
        super().__init__(f"the upload is at {expected}; go on from there")
        self.expected = expected


class TooSlow(Refused):
    code, title, status = "too-slow", "Nothing came for too long", 408


class TooLarge(Refused):
    code, title, status = "too-large", "The request is larger than allowed", 413


class UnsupportedMediaType(Refused):
    code, title, status = "unsupported-media-type", "The body is of a type that is not taken here", 415


def _said(error: FieldError) -> str:
    return f"{error['pointer']}: {error['detail']}" if error["pointer"] else error["detail"]


class Invalid(Refused):
    code, title, status = "invalid", "Something in the request is not right", 422

    def __init__(self, detail: str = "", *, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail or "; ".join(map(_said, errors)))
        self.errors = tuple(errors)


class ChecksumMismatch(Refused):
    code, title, status = "checksum-mismatch", "The bytes are not those that were announced", 422


class Unavailable(Chat4AllError):
    code, title, status = "unavailable", "A part of the system cannot be reached; try again", 503


class Unanswered(Unavailable):
    code, title = "unanswered", "A write got no answer and may have happened; try again"


class StorageFull(Unavailable):
    code, title, status = "storage-full", "There is no room for these bytes now; try again later", 507


class RateLimited(Chat4AllError):
    """``violated``: names of the policies that the request went beyond."""

    code, title, status = "quota-exceeded", "Too many requests; come back later", 429

    def __init__(self, detail: str = "", *, retry_after: timedelta | None = None, violated: Sequence[str] = ()) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.violated = tuple(violated)


class ChannelError(Chat4AllError):
    """A channel could not say "sent"; the subclass says what is certain, ``reason`` what the provider meant."""

    def __init__(self, reason: str, detail: str = "", *, retry_after: timedelta | None = None) -> None:
        super().__init__(detail or reason, retry_after=retry_after)
        self.reason = reason


class Rejected(ChannelError):
    """``reason``: bad_recipient, bad_content, window_closed, opted_out, auth_broken, policy (channels.md 3.0)."""

    code, title, status = "rejected", "The provider refused the message", 502


class Busy(ChannelError):
    """``reason``: rate or retry; ``retry_after`` is how long the provider asks us to wait, if it says."""

    code, title, status = "busy", "The provider asks us to come back later", 503


class Unknown(ChannelError):
    """``reason``: uncertain. Never retried blindly; reconciled by the correlator that comes back."""

    code, title, status = "unknown", "The provider may or may not have taken the message", 503

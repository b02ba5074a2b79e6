"""Errors as RFC 9457 problem+json: one shape, whoever raised them, FastAPI or not."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from math import ceil
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from shared.domain.errors import (
    Chat4AllError,
    FieldError,
    Invalid,
    RateLimited,
    Unauthenticated,
    UnsupportedMediaType,
)

TYPES = "https://chat4all.dev/problems/"
REGISTERED = {RateLimited.code: "https://iana.org/assignments/http-problem-types#quota-exceeded"}
"""Codes whose type is in IANA's registry of problem types, so that clients know it from elsewhere."""
MEDIA_TYPE = "application/problem+json"

Headers = list[tuple[bytes, bytes]]

# What Python calls 416 depends on its version.
_CODES = {400: "malformed", 404: "not-found", 413: "too-large", 416: "requested-range-not-satisfiable"}
_NO_OBJECT = "the body is JSON, but no object: send {…}"


def type_of(code: str) -> str:
    """
    >>> type_of("conflict")
    'https://chat4all.dev/problems/conflict'
    """
    return REGISTERED.get(code) or TYPES + code


def problem_response(error: Exception, *, instance: str, trace_id: str) -> tuple[int, Headers, bytes]:
    """
    Status, headers and body that tell the caller about ``error``.

    An exception that has no name among ours is a bug: 500, and nothing of it is shown.

    Args:
        instance: the path of the request, without its query.
    """
    headers: Headers = [(b"content-type", MEDIA_TYPE.encode())]
    errors: Sequence[FieldError] = ()
    violated: Sequence[str] = ()
    match error:
        case RequestValidationError():
            return problem_response(invalid(error.errors()), instance=instance, trace_id=trace_id)
        case HTTPException():
            status, title = error.status_code, HTTPStatus(error.status_code).phrase
            code = _CODES.get(status, title.lower().replace(" ", "-"))
            detail = str(error.detail)
            headers += [(n.lower().encode(), v.encode()) for n, v in (error.headers or {}).items()]
        case Chat4AllError() if type(error) is not Chat4AllError:
            code, title, status, detail = error.code, error.title, error.status, error.detail
            if error.retry_after is not None:
                headers.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after.total_seconds()))))
            if isinstance(error, Unauthenticated):
                headers.append((b"www-authenticate", b'Bearer realm="chat4all"'))
            if isinstance(error, Invalid):
                errors = error.errors
            if isinstance(error, RateLimited):
                violated = error.violated
        case _:
            code, title, status = Chat4AllError.code, Chat4AllError.title, Chat4AllError.status
            detail = f"{title}; tell us the trace_id"
    problem: dict[str, Any] = {
        "type": type_of(code),
        "title": title,
        "status": status,
        "detail": detail,
        "instance": instance,
        "trace_id": trace_id,
    }
    if errors:
        problem["errors"] = errors
    if violated:
        problem["violated-policies"] = violated
    body = orjson.dumps(problem)
    headers.append((b"content-length", b"%d" % len(body)))
    return status, headers, body


def require_json(content_type: bytes | None) -> None:
    """
    Raises:
        UnsupportedMediaType: a body of this Content-Type is not said to be JSON.

    >>> require_json(b"application/json; charset=utf-8"), require_json(b"application/merge-patch+json")
    (None, None)
    """
    if content_type == b"application/json":
        return
    came = (content_type or b"").decode("latin-1")
    essence = came.partition(";")[0].strip().lower()
    if essence != "application/json" and not (essence.startswith("application/") and essence.endswith("+json")):
        told = f"the body came as {came!r}" if came else "the body came without a Content-Type"
        raise UnsupportedMediaType(f"{told}; send JSON with Content-Type: application/json")


def pointer(location: Sequence[str | int]) -> str:
    """
    A JSON pointer (RFC 6901).

    >>> pointer(["settings", "a/b", 0])
    '/settings/a~1b/0'
    """
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def invalid(errors: Iterable[Any]) -> Invalid:
    """What pydantic found, ``loc`` beginning with body, query, path or header, as our error."""
    return Invalid(errors=[_field_error(one) for one in errors])


def _field_error(error: dict[str, Any]) -> FieldError:
    place, *location = error["loc"]
    detail = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "json_invalid":
        return {
            "pointer": "",
            "detail": f"the body is not JSON: {error['ctx']['error']} (byte {location[0]})",
        }
    if place == "body":
        if not location:
            detail = "send a JSON object as the body; there is none" if error["type"] == "missing" else _NO_OBJECT
        return {"pointer": pointer(location), "detail": detail}
    return {"pointer": "", "detail": f"{place} parameter {'.'.join(map(str, location))}: {detail}"}

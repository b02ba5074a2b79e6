"""
Whatever comes in, what goes out is a whole problem and never a 500 (issue 3, bad input; RFC 9457).

The routes are those of the OpenAPI document, so a new one is here by itself.
"""

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from shared.http.middleware import is_closed
from shared.testing.export import openapi
from shared.testing.live import Caller, Process

DOCUMENT = openapi()
DEEP = b"[" * 100_000 + b"]" * 100_000
DEEP_OBJECT = b'{"a":' * 5_000 + b"1" + b"}" * 5_000
FIELDS = {
    "user_id", "display_name", "metadata", "type", "members", "conversation_id", "from", "to", "channels", "payload",
    "channel", "identifier", "seq", "settings", "secrets", "enabled", "match", "action", "priority", "ttl_seconds",
    "messages", "client_id", "client_secret", "scope", "reply_to", "message_id", "is_active",
}  # fmt: skip
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**400,
    "",
    "\0",
    "\ud83d\ude00" * 10,
    "x" * 70_000,
    [],
    [[]],
    {},
    {"": {}},
]

BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "deep list": DEEP,
    "deep object": DEEP_OBJECT,
    "no UTF-8": b'{"user_id": "\xff\xfe"}',
    "half a surrogate": b'{"user_id": "\\ud800"}',
    "NaN": b'{"seq": NaN, "priority": NaN}',
    "infinity": b'{"seq": 1e999, "priority": -Infinity}',
    "null bytes": b'{"user_id": "a\\u0000b", "conversation_id": "\\u0000", "from": "\\u0000", "channel": "\\u0000"}',
    "raw null bytes": b"\0" * 1000,
    "huge integer": b'{"seq": ' + b"9" * 5000 + b', "priority": ' + b"9" * 5000 + b"}",
    "unknown fields": b'{"no such field": 1, "__class__": "x", "constructor": {}}',
    "a list": b"[]",
    "a string": b'"text"',
    "a number": b"7",
    "null": b"null",
    "the same key twice": b'{"user_id": "a", "user_id": "b"}',
    **{
        f"every field {json.dumps(value)[:12]}": json.dumps(dict.fromkeys(sorted(FIELDS), value)).encode()
        for value in VALUES
    },
}


def operations(*methods: str) -> Iterator[tuple[str, str]]:
    for path, operations in DOCUMENT["paths"].items():
        for method in operations:
            if method in methods:
                yield method.upper(), path


def whole(answer: httpx.Response) -> None:
    assert answer.status_code < 500, f"{answer.request.method} {answer.request.url}: {answer.text}"
    if answer.status_code < 400:
        return
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    said = answer.json()
    assert {"type", "title", "status", "detail", "instance", "trace_id"} <= set(said)
    assert said["status"] == answer.status_code
    assert said["instance"] == answer.request.url.raw_path.decode().partition("?")[0] or "%" in str(answer.request.url)
    assert answer.headers["traceparent"].split("-")[1] == said["trace_id"]
    if answer.status_code == 422 and "errors" in said:
        assert all(set(one) == {"pointer", "detail"} for one in said["errors"])


@pytest.fixture(scope="module")
def victim(new_tenant: Callable[[], Caller]) -> Caller:
    caller = new_tenant()
    caller.users("ana", "bruno")
    return caller


def filled(path: str, caller: Caller) -> str:
    return path.format_map(_Filled(tenant=caller.tenant, channel="whatsapp", user_id="ana"))


class _Filled(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "none"


@pytest.mark.parametrize(("method", "path"), list(operations("post", "put", "patch")))
def test_no_body_whatever_breaks_a_route(victim: Caller, method: str, path: str) -> None:
    url = filled(path, victim)
    for body in BODIES.values():
        answer = victim(method, url, content=body, headers={"content-type": "application/json", "x-act-as": "ana"})
        whole(answer)
        assert answer.status_code != 401 or not is_closed(path), "the token must be good, or nothing is tested"
    for content_type in ("text/plain", "application/xml", "multipart/form-data", "application/json; charset=x", "/"):
        whole(victim(method, url, content=b'{"user_id": "ana"}', headers={"content-type": content_type}))
    whole(victim(method, url, content=b'{"user_id": "ana"}'))


@pytest.mark.parametrize(("method", "path"), list(operations("post", "put", "patch")))
def test_ten_megabytes_are_413_or_refused_by_every_route(victim: Caller, method: str, path: str) -> None:
    url = filled(path, victim)
    large = b'{"user_id": "' + b"x" * (10 * 1024 * 1024) + b'"}'

    def chunks() -> Iterator[bytes]:
        yield from (large[at : at + 1024 * 1024] for at in range(0, len(large), 1024 * 1024))

    for content in (large, chunks()):
        answer = victim(method, url, content=content, headers={"content-type": "application/json"})
        whole(answer)
        assert answer.status_code == 413 or not _has_body(method, path), answer.text


def _has_body(method: str, path: str) -> bool:
    """That is held as a whole: a chunk of a file is not, and may be as large as one."""
    content = DOCUMENT["paths"][path][method.lower()].get("requestBody", {}).get("content", {})
    return bool(content) and "application/octet-stream" not in content


ENDLESS = "/v1/stream"
"""Its answer has no end; what breaks it is in test_realtime.py."""


@pytest.mark.parametrize(
    ("method", "path"),
    [one for one in operations("get", "post", "put", "patch", "delete") if one[1] != ENDLESS],
)
def test_no_path_query_or_header_whatever_breaks_a_route(victim: Caller, method: str, path: str) -> None:
    for part in ("%00", "%FF", "%F0%9F%98%80", "x" * 3000, "..%2F..%2Fetc", "%7B%7D", "'%22;--", "-1"):
        url = path
        for name in DOCUMENT["paths"][path][method.lower()].get("parameters", []):
            if name["in"] == "path":
                url = url.replace(f"{{{name['name']}}}", part)
        query = "".join(f"&{name}={part}" for name in ("limit", "cursor", "since", "before", "after", "trace_id"))
        whole(victim(method, f"{url}?{query[1:]}", headers={"x-act-as": "ana"}))
    for name, value in (("x-act-as", "\xff"), ("x-act-as", "x" * 3000), ("traceparent", "\xff"),
                        ("idempotency-key", "\xff"), ("idempotency-key", ""), ("authorization", "Bearer \xff"),
                        ("authorization", "Basic ====")):  # fmt: skip
        whole(victim(method, filled(path, victim), headers={name: value.encode("latin-1")}))


def test_a_caller_that_hangs_up_in_the_middle_breaks_nothing(victim: Caller, platform: Process) -> None:
    """A half request is none; that nothing is logged as a bug is held at the end of the session."""
    for path, more in (("/v1/users", ""), ("/v1/users", "Idempotency-Key: k\r\n"), ("/v1/messages", ""),
                       ("/v1/inbound/x/whatsapp", ""), ("/v1/events", "")):  # fmt: skip
        with socket.create_connection((platform.host, platform.port)) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {victim.token}\r\n{more}"
            connection.sendall(
                f'{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"user_id"'.encode()
            )
    assert victim("POST", "/v1/users", {"user_id": "zoe"}, headers={"idempotency-key": "k"}).status_code in (200, 201)


def test_what_is_no_http_is_refused(platform: Process) -> None:
    smuggled = b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    for raw in (
        b"\0\0\0\0\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"A" * 100_000 + b"\r\n\r\n",
        b"POST /v1/users HTTP/1.1\r\nHost: x\r\n" + smuggled,
        b"POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ):
        with socket.create_connection((platform.host, platform.port)) as connection:
            connection.settimeout(10)
            connection.sendall(raw)
            try:
                said = connection.recv(65536)
            except ConnectionResetError:
                continue
            assert not said or said.split(b" ")[1].startswith(b"4"), said
    assert platform.client().get("/health/live").status_code == 200

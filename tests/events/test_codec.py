"""
Our CloudEvents codec against the SDK of the specification's authors as the oracle (design.md 8).

What either writes, the other reads as the same event; where the SDK departs from the specification ours is held
against the specification itself (cloudevents/spec v1.0.2, HTTP binding 3 and JSON format 2 and 3).
"""

import base64
import json
import string
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary, from_structured, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent as Theirs
from hypothesis import example, given
from hypothesis import strategies as st

from events import BadEvent, CloudEvent
from events.cloudevent import from_http
from events.cloudevent import from_structured as ours_from_structured
from shared.adapters.kafka.binding import RecordHeaders, from_record

_FORMAT = JSONFormat()
_WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(
    lambda s: s == s.strip()
)
_EXTENSIONS = st.dictionaries(
    st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=20).filter(
        lambda name: (
            name
            not in {"id", "source", "type", "specversion", "time", "subject", "data", "datacontenttype", "dataschema"}
        )
    ),
    _WORDS,
    max_size=4,
)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
).filter(lambda value: value is not None)
_ATTRIBUTES = st.builds(
    lambda id, source, type, subject, more: {
        **more,
        "specversion": "1.0",
        "id": id,
        "source": source,
        "type": type,
        "subject": subject,
        "datacontenttype": "application/json",
    },
    _WORDS,
    _WORDS,
    _WORDS,
    _WORDS,
    _EXTENSIONS,
)


def headers(message: HTTPMessage) -> list[tuple[bytes, bytes]]:
    """As ASGI gives them."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in message.headers.items()]


def http_message(pairs: list[tuple[bytes, bytes]], body: bytes) -> HTTPMessage:
    return HTTPMessage({name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}, body)


def described(event: Theirs) -> dict[str, str]:
    """The SDK adds a time of its own when there is none; it is not the event's."""
    return {name: str(value) for name, value in event.get_attributes().items() if name != "time"}


@given(_ATTRIBUTES, _JSON)
@example({"specversion": "1.0", "id": 'a "b" 100% ç 😀', "source": "/x", "type": "t", "subject": "+55 11"}, {"a": [1]})
def test_the_sdk_reads_our_binary_mode(attributes: dict[str, str], data: Any) -> None:
    ours = CloudEvent({"datacontenttype": "application/json", **attributes}, json.dumps(data).encode())
    theirs = from_binary(http_message(*ours.to_binary()), _FORMAT)
    assert described(theirs) == ours.attributes
    assert theirs.get_data() == data


@given(_ATTRIBUTES, _JSON)
def test_the_sdk_reads_our_structured_mode(attributes: dict[str, str], data: Any) -> None:
    ours = CloudEvent(attributes, json.dumps(data).encode())
    theirs = from_structured(
        HTTPMessage({"content-type": "application/cloudevents+json"}, ours.to_structured()), _FORMAT
    )
    assert described(theirs) == attributes
    assert theirs.get_data() == data


@given(_ATTRIBUTES, st.dictionaries(st.text(max_size=8), _JSON, max_size=4))
def test_we_read_the_sdks_binary_mode(attributes: dict[str, str], data: dict[str, Any]) -> None:
    """Objects only: the SDK writes every other JSON value as Python prints it."""
    message = to_binary(Theirs(dict(attributes), data), _FORMAT)
    ours = from_http(headers(message), message.body)
    assert {name: value for name, value in ours.attributes.items() if name != "time"} == attributes
    assert json.loads(ours.data) == data


@given(_ATTRIBUTES, _JSON)
def test_we_read_the_sdks_structured_mode(attributes: dict[str, str], data: Any) -> None:
    message = to_structured(Theirs(dict(attributes), data), _FORMAT)
    ours = from_http(headers(message), message.body)
    assert {name: value for name, value in ours.attributes.items() if name != "time"} == attributes
    assert json.loads(ours.data) == data


@pytest.mark.parametrize(
    "data", [b"{", b"\xff\xfe", b'"\\ud800"', b"[" * 100_000 + b"]" * 100_000, b"[" * 1024 + b"]" * 1024]
)
def test_what_is_no_json_and_says_so_comes_back_as_it_was(data: bytes) -> None:
    """It is parked like this, and who reads what is parked reads all of it (C8)."""
    event = CloudEvent({**_BASE, "datacontenttype": "application/json"}, data)
    assert ours_from_structured(event.to_structured()) == event


@given(_ATTRIBUTES, st.binary(min_size=1))
def test_bytes_that_are_no_json_come_back_as_they_were(attributes: dict[str, str], data: bytes) -> None:
    event = CloudEvent({**attributes, "datacontenttype": "application/octet-stream"}, data)
    assert json.loads(event.to_structured())["data_base64"] == base64.b64encode(data).decode()
    assert ours_from_structured(event.to_structured()) == event
    assert from_http(*event.to_binary()) == CloudEvent({**event.attributes}, data), "content-length is no attribute"


def test_header_values_are_percent_encoded_as_the_binding_says() -> None:
    event = CloudEvent({**_BASE, "subject": 'Euro € 😀 "quoted" 100%'})
    value = dict(event.to_binary()[0])[b"ce-subject"]
    assert value == b"Euro%20%E2%82%AC%20%F0%9F%98%80%20%22quoted%22%20100%25"  # the specification's example, extended
    assert from_http(*event.to_binary()).attributes["subject"] == event.attributes["subject"]


def test_lower_case_escapes_and_needless_ones_are_decoded_too() -> None:
    pairs = [(b"ce-" + name.encode(), value.encode()) for name, value in _BASE.items()]
    event = from_http([*pairs, (b"ce-subject", b"%c3%a7%41")], b"")
    assert event.attributes["subject"] == "çA"


@pytest.mark.parametrize("value", [b"%ff", b"%c3", b"%ed%a0%80"])
def test_escapes_that_are_no_utf8_are_refused(value: bytes) -> None:
    pairs = [(b"ce-" + name.encode(), text.encode()) for name, text in _BASE.items()]
    with pytest.raises(BadEvent, match="UTF-8"):
        from_http([*pairs, (b"ce-subject", value)], b"")


def test_the_content_type_decides_the_mode_and_not_the_headers() -> None:
    """HTTP binding 3: ``ce-`` headers beside a structured event say nothing."""
    body = CloudEvent({**_BASE, "id": "in the body"}, b"{}").to_structured()
    pairs = [(b"ce-" + name.encode(), value.encode()) for name, value in _BASE.items()]
    event = from_http([*pairs, (b"content-type", b"application/cloudevents+json; charset=utf-8")], body)
    assert event.attributes["id"] == "in the body"


@pytest.mark.parametrize(
    "content_type", ["application/cloudevents-batch+json", "application/cloudevents+avro", "application/cloudevents"]
)
def test_a_batch_or_another_format_is_refused_and_not_taken_for_data(content_type: str) -> None:
    pairs = [(b"ce-" + name.encode(), value.encode()) for name, value in _BASE.items()]
    with pytest.raises(BadEvent, match="not supported"):
        from_http([*pairs, (b"content-type", content_type.encode())], b"[]")


def test_null_attributes_and_null_data_are_as_good_as_absent() -> None:
    event = ours_from_structured(json.dumps({**_BASE, "subject": None, "data": None}).encode())
    assert event == CloudEvent(_BASE, b"")


def test_integers_and_booleans_become_their_canonical_strings() -> None:
    event = ours_from_structured(json.dumps({**_BASE, "sequence": 7, "sampled": True, "old": False}).encode())
    assert {name: event.attributes[name] for name in ("sequence", "sampled", "old")} == {
        "sequence": "7",
        "sampled": "true",
        "old": "false",
    }


_BASE: Mapping[str, str] = {"specversion": "1.0", "id": "1", "source": "/tests", "type": "chat4all.test.v1"}


def _with(**changes: Any) -> bytes:
    return json.dumps({**_BASE, **changes}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"event"',
        b"\xff",
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b'{"specversion": "1.0", "id": "1", "source": "/t", "type": "t", "data": ' + b"[" * 500 + b"]" * 500 + b"}",
        _with(id=""),
        _with(id=None),
        _with(specversion="2.0"),
        _with(specversion=1.0),
        _with(Subject="upper case"),
        _with(message_id="underscore"),
        _with(extension={"an": "object"}),
        _with(extension=1.5),
        _with(data={}, data_base64="e30="),
        _with(data_base64="no base64!"),
        _with(data_base64=7),
        json.dumps({name: value for name, value in _BASE.items() if name != "source"}).encode(),
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
def test_what_the_specification_forbids_is_refused(body: bytes) -> None:
    with pytest.raises(BadEvent):
        ours_from_structured(body)


@pytest.mark.parametrize(
    "odd", ["text/plain; a=ç", "text/plain; a=€", "text/plain\r\nx-a: b", "text/plain\n", "a\0", "\x7f"]
)
def test_a_content_type_that_no_header_holds_is_refused_by_every_way_in(odd: str) -> None:
    """Every other attribute is percent-encoded; an event that cannot be sent on cannot be dead-lettered, either."""
    binary = [(b"ce-" + name.encode(), text.encode()) for name, text in _BASE.items()]
    record: RecordHeaders = [("ce_" + name, text.encode()) for name, text in _BASE.items()]
    for read in (
        lambda: from_http([*binary, (b"content-type", odd.encode())], b"x"),
        lambda: ours_from_structured(_with(datacontenttype=odd)),
        lambda: from_record([*record, ("content-type", odd.encode())], b"x"),
    ):
        with pytest.raises(BadEvent, match="datacontenttype"):
            read()


@given(_ATTRIBUTES, st.text(st.characters(min_codepoint=0, max_codepoint=0x2FF)))
def test_every_header_of_an_event_is_printable_ascii(attributes: dict[str, str], value: str) -> None:
    pairs, _ = CloudEvent({**attributes, "subject": value, "x": value}).to_binary()
    assert all(part.isascii() and part.decode().isprintable() for pair in pairs for part in pair)


@given(
    st.lists(st.tuples(st.sampled_from([b"ce-id", b"ce-type", b"content-type", b"ce-", b"ce-x"]), st.binary())),
    st.binary(),
)
def test_no_request_whatever_raises_anything_else(pairs: list[tuple[bytes, bytes]], body: bytes) -> None:
    for message in (pairs, [*pairs, (b"content-type", b"application/cloudevents+json")]):
        with suppress(BadEvent):
            from_http(message, body)

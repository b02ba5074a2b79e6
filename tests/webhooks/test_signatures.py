"""
What we sign, receivers verify: by the libraries of Standard Webhooks, Python's and JavaScript's (D2).

And what was not signed so, they refuse: a bit of the body, another id, another time, another key.
"""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.adapters.local.clock import SystemClock
from shared.domain.errors import Invalid
from shared.domain.webhook_signature import check_shared_key, headers, private_key, public_key, shared_key
from shared.testing.standard_webhooks import Case, in_javascript, in_python, node_is_here

KEY, OTHER = shared_key(bytes(range(32))), shared_key(bytes(range(1, 33)))
BODY = '{"type":"message.read","data":{"text":"olá 🙂 \\u0000"}}'.encode()


def case(body: bytes = BODY, key: str = KEY, signed_by: tuple[str, ...] = (KEY,), **changed: str) -> Case:
    at = SystemClock().now() + timedelta(seconds=int(changed.pop("shift", "0")))
    return Case(key, {**headers("msg_0192f0c4", at, BODY, signed_by), **changed}, body.decode())


def good() -> list[Case]:
    return [
        case(),
        case(signed_by=(OTHER, KEY)),
        case(signed_by=(KEY, OTHER)),
        case(signed_by=(KEY,) + (OTHER,) * 10),
        case(shift="-240"),
        case(shift="240"),
    ]


def bad() -> list[Case]:
    another_moment = str(int(SystemClock().now().timestamp()) + 7)
    return [
        case(body=BODY.replace(b"read", b"reae")),
        case(body=BODY + b" "),
        case(key=OTHER),
        case(signed_by=(OTHER,)),
        case(shift="-320"),
        case(shift="360"),
        case(**{"webhook-id": "msg_0192f0c5"}),
        case(**{"webhook-timestamp": another_moment}),
        case(**{"webhook-signature": "v1," + base64.b64encode(bytes(32)).decode()}),
        case(**{"webhook-signature": ""}),
        case(signed_by=(private_key(bytes(32)),)),
    ]


IN = [in_python, pytest.param(in_javascript, marks=pytest.mark.skipif(not node_is_here(), reason="needs Node and npm"))]


@pytest.mark.parametrize("library", IN)
def test_a_library_takes_what_is_signed_and_nothing_else(library: Callable[[list[Case]], list[bool]]) -> None:
    assert library(good()) == [True] * len(good())
    assert library(bad()) == [False] * len(bad())


def test_a_private_key_signs_so_that_its_public_one_verifies() -> None:
    private = private_key(bytes(range(32)))
    made = headers("msg_1", SystemClock().now(), BODY, [private, KEY])
    first, second = made["webhook-signature"].split()
    assert (first[:4], second[:3]) == ("v1a,", "v1,")
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key(private).removeprefix("whpk_")))
    public.verify(base64.b64decode(first[4:]), b".".join((b"msg_1", made["webhook-timestamp"].encode(), BODY)))


def test_the_time_is_that_of_the_attempt_in_whole_seconds() -> None:
    at = datetime(2026, 11, 21, 3, 14, 8, 999_000, tzinfo=UTC)
    assert headers("msg_1", at, b"", [KEY])["webhook-timestamp"] == "1795230848"


@pytest.mark.parametrize("length", [24, 32, 64])
def test_a_customer_may_choose_a_key_that_is_long_enough(length: int) -> None:
    assert check_shared_key(shared_key(bytes(length)))


@pytest.mark.parametrize(
    "key", ["", "whsec_", shared_key(bytes(23)), shared_key(bytes(65)), "whsec_ä", "whsec_!!!!", private_key(bytes(32))]
)
def test_any_other_key_is_refused(key: str) -> None:
    with pytest.raises(Invalid, match="/secret"):
        check_shared_key(key)

"""Tokens: how they are got, what they prove, and what forgers try (A1, E12; reliability.md 5.2, RFC 8725)."""

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.repositories.clients import Clients
from shared.repositories.signing_keys import SigningKeys
from shared.runtime.bootstrap import ensure_client
from shared.testing.api import Api, Member, problem


async def ask(api: Api, member: Member, **request: Any) -> httpx.Response:
    return await api.http.post("/auth/token", **request)


def credentials(member: Member) -> dict[str, str]:
    return {
        "client_id": member.credentials.client_id,
        "client_secret": member.credentials.client_secret,
    }


async def test_a_client_gets_a_bearer_token_for_an_hour(api: Api, acme: Member) -> None:
    answer = await ask(api, acme, json=credentials(acme))
    assert answer.status_code == 200
    assert answer.json() | {"access_token": ""} == {
        "access_token": "",
        "token_type": "bearer",
        "expires_in": 3600,
        "scope": "channels messages operations users",
    }
    assert answer.headers["cache-control"] == "no-store"


async def test_a_form_and_http_basic_do_as_well(api: Api, acme: Member) -> None:
    form = {"grant_type": "client_credentials"}
    pair = credentials(acme)
    assert (await ask(api, acme, data=form | pair)).status_code == 200
    basic = httpx.BasicAuth(pair["client_id"], pair["client_secret"])
    assert (await ask(api, acme, data=form, auth=basic)).status_code == 200


async def test_a_wrong_secret_and_an_unknown_client_get_the_same_answer(api: Api, acme: Member) -> None:
    wrong = await ask(api, acme, json=credentials(acme) | {"client_secret": "guess"})
    unknown = await ask(api, acme, json={"client_id": "nobody", "client_secret": "guess"})
    assert problem(wrong, 401, "unauthenticated")["detail"] == unknown.json()["detail"]
    assert wrong.headers["www-authenticate"]


async def test_a_token_may_be_asked_for_less_but_not_for_more(api: Api, acme: Member) -> None:
    less = await ask(api, acme, json=credentials(acme) | {"scope": "messages"})
    assert less.json()["scope"] == "messages"
    weak = Member(acme.http, acme.credentials, less.json()["access_token"])
    problem(await weak("POST", "/v1/users", json={"user_id": "a"}), 403, "forbidden")
    more = await ask(api, acme, json=credentials(acme) | {"scope": "messages root"})
    assert problem(more, 422, "invalid")["errors"][0]["pointer"] == "/scope"


@pytest.mark.parametrize(
    "request_",
    [
        {"content": b""},
        {"content": b"{"},
        {"content": b"[1]"},
        {"content": b"\xff\xfe"},
        {"content": b"[" * 100_000},
        {"json": {"client_id": 1, "client_secret": ["x"]}},
        {"json": {"client_id": "a", "client_secret": "b", "extra": 1}},
        {"json": {"client_id": "a", "client_secret": "b", "grant_type": "password"}},
        {"data": {"client_id": "a"}},
        {"data": {"client_id": "a", "client_secret": "b" * 300}},
        {"files": {"client_id": b"a"}},
        {"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=y"}},
    ],
)
async def test_a_bad_request_for_a_token_is_the_callers_fault(api: Api, request_: dict[str, Any]) -> None:
    answer = await api.http.post("/auth/token", **request_)
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_basic_that_is_none_is_401(api: Api) -> None:
    answer = await api.http.post("/auth/token", headers={"authorization": "Basic %%%"})
    problem(answer, 401, "unauthenticated")


async def test_a_user_token_acts_only_as_that_user(acme: Member) -> None:
    ana = await acme.user("ana")
    await acme.user("bia")
    assert (await ana("GET", "/v1/users/ana")).status_code == 200
    problem(await ana("GET", "/v1/users/bia"), 403, "forbidden")
    problem(await ana("GET", "/v1/users"), 403, "forbidden")
    problem(await ana("PATCH", "/v1/users/ana", json={"display_name": "x"}), 403, "forbidden")
    problem(await ana("POST", "/v1/users/ana/tokens"), 403, "forbidden")


async def test_a_user_token_lives_as_long_as_asked_for(api: Api, acme: Member) -> None:
    await acme.user("ana")
    short = await acme("POST", "/v1/users/ana/tokens", json={"ttl_seconds": 60})
    assert short.json()["expires_in"] == 60
    ana = Member(acme.http, acme.credentials, short.json()["access_token"])
    assert (await ana("GET", "/v1/users/ana")).status_code == 200
    api.clock.advance(61)
    problem(await ana("GET", "/v1/users/ana"), 401, "unauthenticated")
    too_long = await acme("POST", "/v1/users/ana/tokens", json={"ttl_seconds": 3601})
    assert problem(too_long, 422, "invalid")["errors"][0]["pointer"] == "/ttl_seconds"


async def test_there_is_no_token_for_an_unknown_or_a_rivals_user(acme: Member, rival: Member) -> None:
    await acme.user("ana")
    problem(await acme("POST", "/v1/users/nobody/tokens"), 404, "not-found")
    problem(await rival("POST", "/v1/users/ana/tokens"), 404, "not-found")


async def test_a_token_dies_with_its_hour(api: Api, acme: Member) -> None:
    api.clock.advance(timedelta(minutes=59, seconds=59))
    assert (await acme("GET", "/v1/users")).status_code == 200
    api.clock.advance(1)
    problem(await acme("GET", "/v1/users"), 401, "unauthenticated")


async def test_a_disabled_clients_tokens_die_within_seconds(api: Api, acme: Member) -> None:
    ana = await acme.user("ana")
    assert (await ana("GET", "/v1/users/ana")).status_code == 200
    clients = Clients(api.ports.tables, api.clock, api.ports.hasher)
    assert await clients.disable(acme.credentials.client_id)
    api.clock.advance(6)
    problem(await acme("GET", "/v1/users"), 401, "unauthenticated")
    problem(await ana("GET", "/v1/users/ana"), 401, "unauthenticated")
    problem(await ask(api, acme, json=credentials(acme)), 401, "unauthenticated")


async def test_a_new_secret_ends_the_old_ones_tokens_and_the_same_secret_does_not(api: Api, acme: Member) -> None:
    given = acme.credentials
    await ensure_client(api.ports, "acme", given.client_id, given.client_secret)
    api.clock.advance(6)
    assert (await acme("GET", "/v1/users")).status_code == 200
    await ensure_client(api.ports, "acme", given.client_id, "another secret")
    api.clock.advance(6)
    problem(await acme("GET", "/v1/users"), 401, "unauthenticated")
    renewed = await ask(api, acme, json=credentials(acme) | {"client_secret": "another secret"})
    assert renewed.status_code == 200


async def test_an_erased_users_token_dies_within_seconds(api: Api, acme: Member) -> None:
    ana = await acme.user("ana")
    assert (await ana("GET", "/v1/users/ana")).status_code == 200
    await acme("DELETE", "/v1/users/ana")
    api.clock.advance(6)
    problem(await ana("GET", "/v1/users/ana"), 401, "unauthenticated")


async def test_the_published_keys_verify_our_tokens(api: Api, acme: Member) -> None:
    keys = (await api.http.get("/.well-known/jwks.json")).json()["keys"]
    assert len(keys) == 2
    assert all(key["alg"] == "ES256" and "d" not in key for key in keys)
    kid = jwt.get_unverified_header(acme.token)["kid"]
    jwk = next(key for key in keys if key["kid"] == kid)
    jwt.decode(
        acme.token,
        jwt.PyJWK(jwk),
        algorithms=["ES256"],
        audience="chat4all",
        options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
    )


async def test_keys_change_by_the_clock_and_were_published_long_before(api: Api, acme: Member) -> None:
    def kids(answer: httpx.Response) -> list[str]:
        return [key["kid"] for key in answer.json()["keys"]]

    before = kids(await api.http.get("/.well-known/jwks.json"))
    api.clock.advance(timedelta(days=30))
    during = kids(await api.http.get("/.well-known/jwks.json"))
    assert during[:2] == before and len(during) == 3
    token = (await ask(api, acme, json=credentials(acme))).json()["access_token"]
    assert jwt.get_unverified_header(token)["kid"] == before[1]
    api.clock.advance(timedelta(hours=2))
    assert kids(await api.http.get("/.well-known/jwks.json")) == during[1:]


async def test_an_early_rotation_waits_until_everybody_may_have_seen_the_key(api: Api, acme: Member) -> None:
    keys = SigningKeys(api.ports.tables, api.ports.vault, api.clock)
    first = await keys.signing()
    following = await keys.rotate()
    assert following.active_from - following.created_at == timedelta(minutes=15)
    assert (await keys.signing()).kid == first.kid
    api.clock.advance(timedelta(minutes=15))
    assert (await keys.signing()).kid == following.kid
    assert (await acme("GET", "/v1/users")).status_code == 200


def part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return f"{part(header | {'alg': 'none'})}.{part(claims)}."


def without_algorithm(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return unsigned(header, claims)


def another_key(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), algorithm="ES256", headers=header)


def unknown_key(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return another_key(header | {"kid": "theirs"}, claims)


def key_in_header(header: dict[str, Any], claims: dict[str, Any]) -> str:
    mine = ec.generate_private_key(ec.SECP256R1())
    jwk = orjson.loads(jwt.algorithms.ECAlgorithm.to_jwk(mine.public_key()))
    return jwt.encode(claims, mine, algorithm="ES256", headers=header | {"jwk": jwk, "jku": "http://evil.test"})


@pytest.mark.parametrize("forge", [without_algorithm, another_key, unknown_key, key_in_header])
async def test_a_forged_token_proves_nobody(
    acme: Member, forge: Callable[[dict[str, Any], dict[str, Any]], str]
) -> None:
    header = {"typ": "at+jwt", "kid": jwt.get_unverified_header(acme.token)["kid"]}
    claims = jwt.decode(acme.token, options={"verify_signature": False})
    forger = Member(acme.http, acme.credentials, forge(header, claims))
    problem(await forger("GET", "/v1/users"), 401, "unauthenticated")


async def test_our_public_key_is_no_shared_secret(api: Api, acme: Member) -> None:
    """The confusion of HS256 with ES256: a MAC made with the public key in each of its forms."""
    key = (await SigningKeys(api.ports.tables, api.ports.vault, api.clock).signing()).private.public_key()
    claims = jwt.decode(acme.token, options={"verify_signature": False})
    kid = jwt.get_unverified_header(acme.token)["kid"]
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    for form in (
        key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    ):
        signed = f"{part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': kid})}.{part(claims)}"
        signature = base64.urlsafe_b64encode(mac.sign(signed.encode(), form)).rstrip(b"=").decode()
        forger = Member(acme.http, acme.credentials, f"{signed}.{signature}")
        problem(await forger("GET", "/v1/users"), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("change", "header"),
    [
        ({"aud": "somebody else"}, {}),
        ({"aud": None}, {}),
        ({"iss": "https://evil.test"}, {}),
        ({"tenant": None}, {}),
        ({"epoch": "none"}, {}),
        ({"exp": "soon"}, {}),
        ({"exp": 10**30}, {}),
        ({"tenant": "rival"}, {}),
        ({"client_id": "nobody"}, {}),
        ({}, {"typ": "JWT"}),
        ({}, {"typ": "dpop+jwt"}),
    ],
)
async def test_what_we_signed_for_another_purpose_is_no_access_token(
    api: Api, acme: Member, rival: Member, change: dict[str, Any], header: dict[str, str]
) -> None:
    key = await SigningKeys(api.ports.tables, api.ports.vault, api.clock).signing()
    claims = jwt.decode(acme.token, options={"verify_signature": False}) | change
    claims = {name: value for name, value in claims.items() if value is not None}
    token = jwt.encode(claims, key.private, "ES256", headers={"typ": "at+jwt", "kid": key.kid} | header)
    problem(await Member(acme.http, acme.credentials, token)("GET", "/v1/users"), 401, "unauthenticated")


async def test_a_token_with_one_bit_changed_is_refused(acme: Member) -> None:
    head, payload, signature = acme.token.split(".")
    claims = orjson.loads(base64.urlsafe_b64decode(payload + "=="))
    changed = f"{head}.{part(claims | {'tenant': 'rival'})}.{signature}"
    problem(await Member(acme.http, acme.credentials, changed)("GET", "/v1/users"), 401, "unauthenticated")


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a.b", "Bearer " + "x" * 5000, "Bearer \x00", "Bearer a b"],
)
async def test_what_is_no_bearer_token_is_401(api: Api, authorization: str) -> None:
    answer = await api.http.get("/v1/users", headers={"authorization": authorization})
    problem(answer, 401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")

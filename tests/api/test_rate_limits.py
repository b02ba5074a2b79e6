"""Limits per tenant, client address and class of route, what answers say of them, and tenants' own (E11, E14)."""

from ipaddress import ip_network
from typing import Any

import httpx
import pytest

from shared.http.rate_limit import HEARD_WITHIN, Limits, RateLimiter, route_class
from shared.ports import Ports
from shared.repositories.tenants import Tenants
from shared.testing.api import Api, Member, problem

QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"


@pytest.fixture
def limits() -> Limits:
    return Limits(
        requests_per_minute=10,
        messages_per_minute=30,
        trusted_proxies=(ip_network("127.0.0.1"), ip_network("10.0.0.0/8")),
    )


def from_address(address: str) -> dict[str, Any]:
    return {"headers": {"x-forwarded-for": address}}


async def exhaust(member: Member, path: str = "/v1/users", **more: Any) -> httpx.Response:
    """The answer that refuses."""
    for _ in range(100):
        answer = await member("GET", path, **more)
        if answer.status_code == 429:
            return answer
    raise AssertionError(f"{path} is not limited")


async def test_an_answer_says_the_policy_and_where_the_caller_stands(acme: Member) -> None:
    first = await acme("GET", "/v1/users")
    assert first.headers["ratelimit-policy"] == '"default";q=10;w=60'
    assert first.headers["ratelimit"] == '"default";r=9;t=6'
    assert (await acme("GET", "/v1/users")).headers["ratelimit"] == '"default";r=8;t=12'


async def test_who_comes_too_often_is_told_when_to_come_back(acme: Member, api: Api) -> None:
    refused = await exhaust(acme)
    body = refused.json()
    assert refused.headers["content-type"] == "application/problem+json"
    assert body["type"] == QUOTA_EXCEEDED
    assert body["violated-policies"] == ["default"]
    assert "6 s" in body["detail"]
    assert refused.headers["retry-after"] == "6"
    assert refused.headers["ratelimit"] == '"default";r=0;t=60'
    api.clock.advance(6)
    assert (await acme("GET", "/v1/users")).status_code == 200
    assert (await acme("GET", "/v1/users")).status_code == 429


async def test_what_fails_counts_too_and_says_so(acme: Member) -> None:
    answer = await acme("GET", "/v1/users/nobody")
    assert answer.status_code == 404
    assert answer.headers["ratelimit"] == '"default";r=9;t=6'


async def test_tenants_addresses_and_classes_do_not_use_up_each_others(acme: Member, rival: Member, api: Api) -> None:
    await exhaust(acme)
    assert (await rival("GET", "/v1/users")).status_code == 200
    assert (await acme("GET", "/v1/users", **from_address("203.0.113.9"))).status_code == 200
    answer = await acme("GET", "/v1/conversations/c/messages")
    assert answer.status_code == 404  # no such route here, and not refused
    assert answer.headers["ratelimit-policy"] == '"messages";q=30;w=60'


async def test_probes_and_documents_are_not_limited(api: Api) -> None:
    for _ in range(40):
        answer = await api.http.get("/openapi.json")
        assert answer.status_code == 200
    assert "ratelimit" not in answer.headers


async def test_secrets_are_not_guessed_by_trying(api: Api, acme: Member) -> None:
    answers = [
        await api.http.post("/auth/token", json={"client_id": acme.credentials.client_id, "client_secret": f"{n}"})
        for n in range(12)
    ]
    assert [one.status_code for one in answers[:8]] == [401] * 8
    assert answers[-1].status_code == 429
    assert answers[-1].json()["violated-policies"] == ["token"]


async def test_whoever_proves_nobody_is_stopped_and_keeps_nobody_with_a_token_out(api: Api, acme: Member) -> None:
    stranger = {"authorization": "Bearer none"}
    answers = [await api.http.get("/v1/users", headers=stranger) for _ in range(12)]
    assert [one.status_code for one in answers] == [401] * 10 + [429] * 2
    assert answers[-1].json()["violated-policies"] == ["unauthenticated"]
    assert (await acme("GET", "/v1/users")).status_code == 200


async def test_made_up_tenants_share_one_count(api: Api, acme: Member) -> None:
    """A new name in the path of a provider's webhook is no new count."""
    answers = [await api.http.post(f"/v1/inbound/none-{n}/whatsapp") for n in range(12)]
    assert [one.status_code for one in answers[10:]] == [429] * 2
    assert answers[-1].json()["violated-policies"] == ["unauthenticated"]
    known = await api.http.post(f"/v1/inbound/{acme.credentials.tenant}/whatsapp")
    assert known.status_code != 429


async def test_only_trusted_proxies_are_believed(ports: Ports, limits: Limits) -> None:
    limiter = RateLimiter.of(ports, limits)

    def address(peer: str, *forwarded: str) -> str:
        headers = [(b"x-forwarded-for", one.encode()) for one in forwarded]
        return limiter.address({"client": (peer, 1), "headers": headers})

    assert address("203.0.113.1", "198.51.100.7") == "203.0.113.1"
    assert address("127.0.0.1") == "127.0.0.1"
    assert address("127.0.0.1", "198.51.100.7") == "198.51.100.7"
    assert address("127.0.0.1", "6.6.6.6, 198.51.100.7, 10.1.2.3") == "198.51.100.7"
    assert address("127.0.0.1", "6.6.6.6", "198.51.100.7:4711") == "198.51.100.7"
    assert address("127.0.0.1", "10.0.0.1, 10.0.0.2") == "10.0.0.1"
    assert address("::ffff:127.0.0.1", "[2001:db8:1:2:3::4]:80") == "2001:db8:1:2::/64"
    assert address("127.0.0.1", "unknown") == "127.0.0.1"
    assert address("127.0.0.1", "") == "127.0.0.1"
    assert limiter.address({"headers": []}) == "local"


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("/v1/messages", "messages"),
        ("/v1/messages/batch", "messages"),
        ("/v1/messages/m/read", "messages"),
        ("/v1/conversations/c/messages", "messages"),
        ("/v1/conversations/c/read", "messages"),
        ("/v1/conversations/c/members", "default"),
        ("/v1/conversations", "default"),
        ("/v1/files/initiate", "messages"),
        ("/v1/inbound/acme/whatsapp", "messages"),
        ("/v1/webhooks", "default"),
        ("/v1/nothing", "default"),
        ("/auth/token", "token"),
        ("/health/live", None),
        ("/metrics", None),
    ],
)
def test_a_path_has_its_class(path: str, policy: str | None) -> None:
    assert route_class(path) == policy


async def test_a_tenants_own_limit_holds_within_seconds_and_can_be_given_back(acme: Member, api: Api) -> None:
    before = (await acme("GET", "/v1/rate-limits")).json()
    assert before == {
        "requests_per_minute": 10,
        "messages_per_minute": 30,
        "own": {"requests_per_minute": None, "messages_per_minute": None},
    }
    answer = await acme("PUT", "/v1/rate-limits", json={"requests_per_minute": 5})
    assert answer.json()["requests_per_minute"] == answer.json()["own"]["requests_per_minute"] == 5
    assert answer.json()["messages_per_minute"] == 30
    api.clock.advance(HEARD_WITHIN.total_seconds())
    assert (await acme("GET", "/v1/users")).headers["ratelimit-policy"] == '"default";q=5;w=60'
    assert (await acme("PUT", "/v1/rate-limits", json={})).json() == before


async def test_more_than_the_installations_is_given_by_whoever_runs_it(acme: Member, api: Api) -> None:
    for body in ({"requests_per_minute": 11}, {"messages_per_minute": 31}):
        problem(await acme("PUT", "/v1/rate-limits", json=body), 403, "forbidden")
    tenants = Tenants(api.ports.tables, api.clock)
    await tenants.limit("acme", requests_per_minute=1000, messages_per_minute=0)
    api.clock.advance(HEARD_WITHIN.total_seconds())
    assert (await acme("GET", "/v1/users")).headers["ratelimit-policy"] == '"default";q=1000;w=60'
    assert "ratelimit" not in (await acme("GET", "/v1/conversations/c/messages")).headers


@pytest.mark.parametrize("value", [0, -1, "5", 1.5, True])
async def test_what_is_no_limit_is_told(acme: Member, value: Any) -> None:
    answer = await acme("PUT", "/v1/rate-limits", json={"requests_per_minute": value})
    problem(answer, 422, "invalid")
    assert answer.json()["errors"][0]["pointer"].startswith("/requests_per_minute")


async def test_a_user_may_not_set_limits(acme: Member) -> None:
    ana = await acme.user("ana")
    problem(await ana("GET", "/v1/rate-limits"), 403, "forbidden")
    problem(await ana("PUT", "/v1/rate-limits", json={}), 403, "forbidden")

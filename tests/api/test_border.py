"""What every route has in common: problems, strict JSON, limits, repeats, versions (A11, D4, D7, E8)."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request

from shared.adapters.memory.tables import Fault
from shared.domain.errors import Busy, Chat4AllError, Unavailable
from shared.http.middleware import MAX_BODY
from shared.runtime import health
from shared.testing.api import Api, Member, problem

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def errors(app: FastAPI) -> dict[str, Exception]:
    """What GET /v1/raise/{name} raises."""
    raised: dict[str, Exception] = {}

    async def fail(name: str) -> None:
        raise raised[name]

    app.get("/v1/raise/{name}")(fail)
    return raised


async def test_an_error_that_nobody_named_is_500_and_shows_nothing(
    errors: dict[str, Exception], acme: Member, caplog: pytest.LogCaptureFixture
) -> None:
    errors["bug"] = RuntimeError("password=hunter2")
    answer = await acme("GET", "/v1/raise/bug")
    problem(answer, 500, "internal")
    assert "hunter2" not in answer.text
    assert "hunter2" in caplog.text


async def test_unavailable_says_when_to_come_back(errors: dict[str, Exception], acme: Member) -> None:
    errors["down"] = Unavailable("the store does not answer", retry_after=timedelta(milliseconds=1500))
    answer = await acme("GET", "/v1/raise/down")
    problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "2"
    errors["busy"] = Busy("rate", "later", retry_after=timedelta(0))
    assert (await acme("GET", "/v1/raise/busy")).headers["retry-after"] == "1"
    errors["plain"] = Chat4AllError("insides")
    assert "insides" not in (await acme("GET", "/v1/raise/plain")).text


async def test_no_route_and_no_method_are_problems_too(acme: Member) -> None:
    problem(await acme("GET", "/v1/nothing"), 404, "not-found")
    answer = await acme("PUT", "/v1/users")
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, POST"
    assert "GET, POST" in answer.json()["detail"]
    answer = await acme("POST", "/v1/users/ana")
    assert answer.headers["allow"] == "DELETE, GET, PATCH"


async def test_the_bare_address_leads_to_the_docs(api: Api) -> None:
    answer = await api.http.get("/")
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
    assert "/" not in (await api.http.get("/openapi.json")).json()["paths"]
    refused = await api.http.post("/")
    problem(refused, 405, "method-not-allowed")
    assert refused.headers["allow"] == "GET"


@pytest.mark.parametrize("path", ["/nothing", "/docs/assets/nothing"])
async def test_whoever_opens_a_path_at_which_nothing_is_is_led_on(api: Api, path: str) -> None:
    assert "/docs" in problem(await api.http.get(path), 404, "not-found")["detail"]


async def test_a_path_of_the_whole_platform_leads_to_its_health_too(api: Api) -> None:
    assert "/health/live" not in problem(await api.http.get("/nothing"), 404, "not-found")["detail"]
    api.app.state.routes += health.router({}).routes
    assert "/health/live" in problem(await api.http.get("/nothing"), 404, "not-found")["detail"]


async def test_a_trace_goes_on(api: Api, acme: Member) -> None:
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    answer = await acme("GET", "/v1/users/nobody", headers=headers)
    assert problem(answer, 404, "not-found")["trace_id"] == TRACE
    assert answer.headers["traceparent"].split("-")[1] == TRACE
    fresh = await api.http.get("/v1/users", headers={"traceparent": "rubbish"})
    assert problem(fresh, 401, "unauthenticated")["trace_id"] != TRACE


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"user_id": "\xff"}',
        b'{"user_id": "\\ud800"}',
        b'{"user_id": NaN}',
        b'{"user_id": 1e999}',
        b'{"metadata": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b"[" * 500_000,
        b'{"user_id": "a"} trailing',
        b"\x00",
        b'{"user_id": 123456789012345678901234567890}',
        b'{"user_id": "a", "metadata": {"k": ' + b"[" * 900 + b"]" * 900 + b"}}",
        b"",
    ],
)
async def test_what_is_no_json_of_ours_is_422(acme: Member, body: bytes) -> None:
    answer = await acme("POST", "/v1/users", content=body, headers={"content-type": "application/json"})
    problem(answer, 422, "invalid")


async def test_json_must_say_that_it_is(acme: Member) -> None:
    for came in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
        headers = {"content-type": came} if came else {}
        answer = await acme("POST", "/v1/users", content=b'{"user_id": "a"}', headers=headers)
        said = problem(answer, 415, "unsupported-media-type")["detail"]
        assert came in said and "Content-Type: application/json" in said
    for came in ("Application/JSON; charset=utf-8", "application/merge-patch+json"):
        answer = await acme("POST", "/v1/users", content=b'{"user_id": "a"}', headers={"content-type": came})
        assert answer.status_code in (200, 201)


async def test_json_that_is_no_object_is_not_told_to_be_json(acme: Member) -> None:
    said = problem(await acme("POST", "/v1/users", json=[]), 422, "invalid")["detail"]
    assert "no object" in said and "Content-Type" not in said
    assert "send a JSON object" in problem(await acme("POST", "/v1/users"), 422, "invalid")["detail"]


async def test_a_body_over_the_limit_is_413_announced_or_not(acme: Member) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 65_536 + 1):
            yield b"x" * 65_536

    headers = {"content-type": "application/json"}
    announced = await acme("POST", "/v1/users", content=b"x" * (MAX_BODY + 1), headers=headers)
    problem(announced, 413, "too-large")
    problem(await acme("POST", "/v1/users", content=chunks(), headers=headers), 413, "too-large")
    keyed = headers | {"idempotency-key": "big"}
    problem(await acme("POST", "/v1/users", content=chunks(), headers=keyed), 413, "too-large")


async def test_without_a_token_not_even_the_body_is_read(api: Api) -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    for path in ("/v1/users", "/v1/nothing", "/v1/users/a/tokens", "/v1/"):
        problem(await api.http.post(path, content=never()), 401, "unauthenticated")


async def test_every_route_under_v1_is_closed(api: Api, app: FastAPI) -> None:
    document = (await api.http.get("/openapi.json")).json()
    seen = 0
    for path, operations in document["paths"].items():
        for method in operations:
            if path.startswith("/v1/"):
                answer = await api.http.request(method, path.replace("{", "").replace("}", ""))
                problem(answer, 401, "unauthenticated")
                seen += 1
    assert seen > 15


async def test_a_repeated_post_is_one_request(acme: Member) -> None:
    body = {"match": {"channel": "whatsapp"}, "action": {"type": "desk"}}
    headers = {"idempotency-key": "7c2a"}
    first = await acme("POST", "/v1/routing-rules", json=body, headers=headers)
    again = await acme("POST", "/v1/routing-rules", json=body, headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert again.headers["content-type"] == "application/json"
    assert len((await acme("GET", "/v1/routing-rules")).json()["items"]) == 1


async def test_a_key_is_for_one_request_one_tenant_and_one_day(api: Api, acme: Member, rival: Member) -> None:
    body = {"match": {"channel": "whatsapp"}, "action": {"type": "desk"}}
    headers = {"idempotency-key": "k"}
    first = await acme("POST", "/v1/routing-rules", json=body, headers=headers)
    other = await acme("POST", "/v1/routing-rules", json=body | {"priority": 1}, headers=headers)
    problem(other, 422, "invalid")
    problem(await acme("POST", "/v1/users", json={"user_id": "a"}, headers=headers), 422, "invalid")
    theirs = await rival("POST", "/v1/routing-rules", json=body, headers=headers)
    assert theirs.status_code == 201 and theirs.json() != first.json()
    api.clock.advance(timedelta(hours=24, seconds=1))
    token = {"client_id": acme.credentials.client_id, "client_secret": acme.credentials.client_secret}
    acme.token = (await api.http.post("/auth/token", json=token)).json()["access_token"]
    later = await acme("POST", "/v1/routing-rules", json=body, headers=headers)
    assert later.status_code == 201 and later.json() != first.json()


async def test_what_failed_may_be_tried_again_with_the_same_key(acme: Member) -> None:
    headers = {"idempotency-key": "k"}
    body = {"channel": "whatsapp", "identifier": "+551"}
    problem(await acme("POST", "/v1/users/ana/channels", json=body, headers=headers), 404, "not-found")
    await acme("POST", "/v1/users", json={"user_id": "ana"})
    answer = await acme("POST", "/v1/users/ana/channels", json=body, headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize("key", ["", "a b", "ü", "x" * 256])
async def test_a_bad_key_is_422(acme: Member, key: str) -> None:
    headers = {"idempotency-key": key.encode()}
    answer = await acme("POST", "/v1/users", json={"user_id": "a"}, headers=headers)
    problem(answer, 422, "invalid")


async def test_while_the_first_runs_the_second_is_told_to_wait(api: Api, app: FastAPI, acme: Member) -> None:
    started, go_on, runs = asyncio.Event(), asyncio.Event(), 0

    async def slow(request: Request) -> dict[str, Any]:
        nonlocal runs
        runs += 1
        started.set()
        await go_on.wait()
        return {"length": len(await request.body())}

    app.post("/v1/slow")(slow)

    async def post() -> httpx.Response:
        return await acme("POST", "/v1/slow", content=b"abc", headers={"idempotency-key": "k"})

    first = asyncio.create_task(post())
    await started.wait()
    waiting = await post()
    problem(waiting, 409, "conflict")
    assert waiting.headers["retry-after"] == "1"
    go_on.set()
    assert (await first).json() == {"length": 3}
    assert (await post()).headers["idempotent-replayed"] == "true"
    assert runs == 1


async def test_a_key_whose_process_died_is_taken_over_after_a_minute(api: Api, app: FastAPI, acme: Member) -> None:
    class Died(BaseException):
        pass

    deaths = [Died(), None]

    async def dies() -> dict[str, Any]:
        if death := deaths.pop(0):
            tables: Any = api.ports.tables
            tables.fault = lambda method, table: (_ for _ in ()).throw(death)
            raise death
        return {}

    app.post("/v1/dies")(dies)
    headers = {"idempotency-key": "k"}
    with pytest.raises(Died):
        await acme("POST", "/v1/dies", headers=headers)
    tables: Any = api.ports.tables
    tables.fault = lambda method, table: None
    problem(await acme("POST", "/v1/dies", headers=headers), 409, "conflict")
    api.clock.advance(61)
    assert (await acme("POST", "/v1/dies", headers=headers)).status_code == 200


async def test_an_answer_that_could_not_be_kept_is_still_given(api: Api, acme: Member) -> None:
    tables: Any = api.ports.tables
    tables.fault = lambda method, table: (
        Fault.UNREACHED if (method, table.name) == ("update_if", "idempotency_keys") else None
    )
    answer = await acme("POST", "/v1/users", json={"user_id": "ana"}, headers={"idempotency-key": "k"})
    assert answer.status_code == 201


async def test_a_store_that_is_down_is_503(api: Api, acme: Member) -> None:
    tables: Any = api.ports.tables
    tables.fault = lambda method, table: Fault.UNREACHED
    for headers in ({}, {"idempotency-key": "k"}):
        answer = await acme("POST", "/v1/users", json={"user_id": "ana"}, headers=headers)
        problem(answer, 503, "unavailable")
    problem(await api.http.post("/auth/token", json={"client_id": "a", "client_secret": "b"}), 503, "unavailable")


async def test_the_document_shows_problems_and_examples_for_every_route(api: Api) -> None:
    document = (await api.http.get("/openapi.json")).json()
    assert "trace_id" in document["components"]["schemas"]["Problem"]["properties"]
    assert "FieldProblem" in document["components"]["schemas"]
    assert (await api.http.get("/docs")).status_code == 200
    assert "/v2" in document["info"]["description"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            assert operation["tags"], where
            if not path.startswith("/v1/"):
                continue
            assert operation["security"], where
            for status in ("401", "422", "503"):
                content = operation["responses"][status]["content"]
                assert list(content) == ["application/problem+json"], where
                assert content["application/problem+json"]["example"]["type"], where


async def test_the_docs_page_loads_nothing_from_elsewhere(acme: Member) -> None:
    page = await acme("GET", "/docs")
    assert page.status_code == 200
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert linked
    for path in linked:
        assert path.startswith("/docs/assets/"), path
        assert (await acme("GET", path)).status_code == 200, path

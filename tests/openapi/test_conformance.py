"""
What the OpenAPI document says is what the running platform does (D4): schemathesis reads the document, asks with
valid and invalid requests, and holds statuses, content types, headers and bodies against it.

Left to others: who may see what (tests/flow/test_tenant_walk.py), and whether data that fits the schema is also true
(a phone number that is none, a member that nobody knows), which is 422 too.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from shared.testing.export import openapi
from shared.testing.live import Caller, Process

DOCUMENT = openapi()


def _as_somebody_with_a_token() -> dict[str, Any]:
    """Without security: every request here carries a good token, so leaving it out is not among the bad ones."""
    document = deepcopy(DOCUMENT)
    for methods in document["paths"].values():
        for operation in methods.values():
            operation.pop("security", None)
    return document


api = schemathesis.openapi.from_dict(_as_somebody_with_a_token())


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with Process(tmp_path_factory.mktemp("openapi") / "data") as platform:
        yield platform.start()
        assert platform.stop() == 0
        assert "traceback" not in platform.log.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def caller(platform: Process) -> Caller:
    caller = platform.tenant("conforming")
    caller.users("userA", "userB")
    caller.send(caller.conversation("userA", "userB"), "userA")
    return caller


# A limit that was set would answer everything after it: it has a tenant of its own below. A stream has no end.
@api.exclude(path="/v1/rate-limits", method="PUT").exclude(path="/v1/stream").parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_platform_does_what_its_document_says(case: schemathesis.Case, caller: Caller) -> None:
    case.call_and_validate(
        base_url=str(caller.http.base_url),
        headers=dict(caller.headers),
        excluded_checks=[ignored_auth, positive_data_acceptance],
    )


@pytest.fixture(scope="module")
def limited(platform: Process) -> Caller:
    return platform.tenant("limited")


@api.include(path="/v1/rate-limits", method="PUT").parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_limits_are_set_as_its_document_says(case: schemathesis.Case, limited: Caller) -> None:
    case.call_and_validate(
        base_url=str(limited.http.base_url),
        headers=dict(limited.headers),
        excluded_checks=[ignored_auth, positive_data_acceptance],
    )


def test_the_document_that_is_served_is_the_one_that_is_kept(caller: Caller) -> None:
    assert caller.http.get("/openapi.json").json() == DOCUMENT


def operations() -> Iterator[Any]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield pytest.param(operation, id=f"{method.upper()} {path}")


@pytest.mark.parametrize("operation", list(operations()))
def test_an_operation_says_who_it_is_and_how_it_fails(operation: dict[str, Any]) -> None:
    assert operation["tags"]
    assert operation["operationId"]
    for status, answer in operation["responses"].items():
        assert answer["description"]
        if status.startswith(("4", "5")) and "Health" not in operation["tags"]:
            assert set(answer["content"]) == {"application/problem+json"}
            assert answer["content"]["application/problem+json"]["example"]["status"] == int(status)


def test_operations_have_names_of_their_own() -> None:
    names = [one["operationId"] for methods in DOCUMENT["paths"].values() for one in methods.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", sorted(DOCUMENT["components"]["schemas"]))
def test_every_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(DOCUMENT["components"]["schemas"][name])

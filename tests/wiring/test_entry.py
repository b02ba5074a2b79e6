"""The public host's paths against what is deployed: each leads to where its function is (design.md 8)."""

from typing import Any

import pytest
import yaml

from shared.runtime.wiring import manifests, read
from shared.testing.export import entry

ROUTES: list[dict[str, Any]] = list(yaml.safe_load_all(entry()))
RULES: list[dict[str, Any]] = [rule for route in ROUTES for rule in route["spec"]["rules"]]
SERVICES = {f"{service.name}.{service.namespace}.svc.cluster.local" for service in read().services.values()}
DEPLOYMENTS = {path.stem for path in manifests().glob("deployments/*.yaml")}


def paths(rule: dict[str, Any]) -> set[str]:
    return {match["path"]["value"] for match in rule["matches"]}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: min(paths(rule)))
def test_a_rule_leads_to_a_knative_service_by_its_host_or_to_the_service_of_a_deployment(rule: dict[str, Any]) -> None:
    (backend,) = rule["backendRefs"]
    if "filters" in rule:
        (rewrite,) = rule["filters"]
        assert backend == {"name": "entry", "port": 80}
        assert rewrite["urlRewrite"]["hostname"] in SERVICES
    else:
        assert backend["name"] in DEPLOYMENTS, "Knative's network layer does not know it"


def test_no_route_has_more_than_the_gateway_api_takes() -> None:
    """Seen: 17 rules in one HTTPRoute are refused by the API server."""
    names = [route["metadata"]["name"] for route in ROUTES]
    assert len(set(names)) == len(names)
    for route in ROUTES:
        assert len(route["spec"]["rules"]) <= 16
        assert sum(len(rule["matches"]) for rule in route["spec"]["rules"]) <= 128


def test_sockets_streams_and_health_lead_to_the_gateway() -> None:
    (rule,) = (rule for rule in RULES if rule["backendRefs"][0]["name"] == "realtime")
    assert paths(rule) == {"/ws", "/v1/stream", "/v1/ws/ticket", "/health", "/health/live", "/health/ready"}


def test_a_stream_has_no_end_and_an_answer_as_long_as_its_service_gives_it() -> None:
    """Envoy Gateway cuts after 15 s what says nothing."""
    given = {
        path.stem: yaml.safe_load(path.read_text())["spec"]["template"]["spec"]["timeoutSeconds"]
        for path in manifests().glob("services/*.yaml")
    }
    for route in ROUTES:
        for rule in route["spec"]["rules"]:
            name = route["metadata"]["name"]
            assert rule["timeouts"] == {"request": "0s" if name in DEPLOYMENTS else f"{given[name]}s"}
    assert {"0s", "60s", "600s"} <= {rule["timeouts"]["request"] for rule in RULES}

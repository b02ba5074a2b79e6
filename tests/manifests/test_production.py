"""
The production overlay against the code: who may speak to whom, what is told to functions, what can be lost (issue 7).

What a function needs of the network is not written down twice: it is built over ports that note which of them it takes.
"""

import ast
import asyncio
import inspect
import json
import re
import shutil
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from ipaddress import ip_network
from math import ceil, inf
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.fernet import Fernet

import functions
from infra.deploy import plan
from infra.deploy.unsaid import unsaid
from infra.manifests.kustomize import Manifest, manifests, render
from shared import settings
from shared.domain import outbound_address
from shared.http.authenticator import Authenticator
from shared.http.rate_limit import Limits, RateLimiter
from shared.runtime.functions import folder_of, names, new
from shared.runtime.open_servers import SINK_PATIENCE
from shared.runtime.wiring import read
from shared.testing.memory_ports import open_memory

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "infra/overlays/production"
FLOWS = {
    "outbox": "knative-eventing",
    "sink": "knative-eventing",
    "sweeper": "knative-eventing",
    "objects": "minio",
    "tables": "cassandra",
    "log": "kafka",
    "cache": "redis",
    "fan_out": "nats",
}
"""The namespace that an adapter of a port speaks to."""

ALWAYS = {"kube-system", "cassandra", "monitoring"}
"""Every process asks for names, tells of its spans, and waits at its start for Cassandra. Kafka is the Broker's."""

CALLS = {"post", "connect", "send_message", "send_file"}
"""Methods of webhook senders and channels that dial a stranger."""

RUN = {service.name: service.function for service in read().services.values()} | {"realtime": "realtime"}
"""What is deployed, and the function in it."""


@cache
def rendered() -> list[Manifest]:
    return manifests(FOLDER)


def of_kind(kind: str) -> list[Manifest]:
    return [one for one in rendered() if one["kind"] == kind]


class Noting:
    """Ports that note which of them are taken."""

    def __init__(self, ports: object, taken: set[str]) -> None:
        self._ports, self._taken = ports, taken

    def __getattr__(self, name: str) -> Any:
        self._taken.add(name)
        return getattr(self._ports, name)


@cache
def ports_of() -> dict[str, set[str]]:
    async def build() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        async with open_memory({}) as ports:
            for name in names():
                noting: Any = Noting(ports, found.setdefault(name, set()))
                new(name, noting)
                if find_spec(f"functions.{folder_of(name)}.http"):
                    Authenticator.of(noting)
                    RateLimiter.of(noting, Limits.of(requests_per_minute=1, messages_per_minute=1, trusted_proxies=""))
        return found

    return asyncio.run(build())


def calls_strangers(function: str) -> bool:
    """Whether its code dials a provider or a webhook: that it holds the port is not enough, for names do no harm."""
    tree = ast.parse((Path(functions.__path__[0]) / folder_of(function) / "func.py").read_text())
    named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return bool(ports_of()[function] & {"channels", "webhooks"} and named & CALLS)


def needs(deployed: str) -> set[str]:
    function = RUN[deployed]
    internet = {"the internet"} if calls_strangers(function) else set()
    return ALWAYS | internet | {FLOWS[port] for port in ports_of()[function] if port in FLOWS}


def labels(deployed: str) -> dict[str, str]:
    (made,) = (
        one
        for one in rendered()
        if one["metadata"]["name"] == deployed and {"template", "jobTemplate"} & {*one["spec"]}
    )
    pod = made["spec"].get("jobTemplate", made)["spec"]["template"]["metadata"]
    by_knative = {"serving.knative.dev/service": deployed} if made["apiVersion"] == "serving.knative.dev/v1" else {}
    return by_knative | dict(pod["labels"])


def selects(selector: dict[str, Any], given: dict[str, str]) -> bool:
    exact = all(given.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    return exact and all(
        one["key"] in given and (one["operator"] == "Exists" or given[one["key"]] in one["values"])
        for one in selector.get("matchExpressions", [])
    )


def peers(deployed: str, direction: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each peer that some policy lets it speak to (Egress) or be spoken to by (Ingress), with the rule."""
    side = {"Egress": "to", "Ingress": "from"}[direction]
    for policy in of_kind("NetworkPolicy"):
        if selects(policy["spec"]["podSelector"], labels(deployed)):
            for rule in policy["spec"].get(direction.lower(), []):
                assert rule["ports"], "every flow has its port"
                yield from ((peer, rule) for peer in rule[side])


def name_of(peer: dict[str, Any]) -> str:
    if "ipBlock" in peer:
        return (
            "kube-system" if ip_network(peer["ipBlock"]["cidr"]).is_link_local else "the internet"
        )  # NodeLocal DNSCache
    return str(peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"])


def test_all_is_denied_that_is_not_allowed() -> None:
    (policy,) = (one for one in of_kind("NetworkPolicy") if one["metadata"]["name"] == "default-deny")
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("deployed", sorted(RUN))
def test_a_function_may_speak_to_what_its_code_needs_and_to_nothing_else(deployed: str) -> None:
    assert {name_of(peer) for peer, _ in peers(deployed, "Egress")} == needs(deployed)


def test_the_job_of_the_first_tenant_reaches_tables_and_topic_and_nothing_else() -> None:
    """It runs in the mode servers, which looks after the topic itself, and emits nothing."""
    assert {name_of(peer) for peer, _ in peers("first-tenant", "Egress")} == ALWAYS | {FLOWS["log"]}


def test_who_reaches_kafka_and_nobody_else_has_its_password() -> None:
    """Whoever gets in there reads, forges and deletes any tenant's events, past the Broker and the policy before it."""
    told = {
        one["metadata"]["name"]: {
            source["secretRef"]["name"] for source in container["envFrom"] if "secretRef" in source
        }
        for one in rendered()
        for container in plan.containers(one)
    }
    reach = {one for one in told if FLOWS["log"] in {name_of(peer) for peer, _ in peers(one, "Egress")}}
    assert reach == {one for one in told if "log" in ports_of().get(RUN.get(one, ""), ())} | {"first-tenant"}
    assert {one for one, names in told.items() if "chat4all-log" in names} == reach
    assert "CHAT4ALL_KAFKA_PROPERTIES" not in example("secret.env.example")
    assert set(example("log.env.example")) == {"CHAT4ALL_KAFKA_PROPERTIES"}


def test_a_function_that_is_new_is_seen_by_these_tests() -> None:
    deployed = {one["metadata"]["name"] for one in rendered() if one["apiVersion"] == "serving.knative.dev/v1"}
    assert deployed | {"realtime"} == set(RUN)
    assert {one: labels(one)["app.kubernetes.io/component"] for one in RUN} == RUN
    assert {needs(one).issuperset({"the internet"}) for one in RUN} == {True, False}


@pytest.mark.parametrize("deployed", sorted(RUN))
def test_a_function_hears_from_the_way_in_and_from_those_who_measure(deployed: str) -> None:
    heard = {name_of(peer) for peer, _ in peers(deployed, "Ingress")}
    way_in = {"envoy-gateway-system"} if deployed == "realtime" else {"kourier-system", "knative-serving"}
    assert heard == way_in | {"monitoring"}


def forbidden() -> list[Any]:
    tables = [outbound_address._NEVER, outbound_address._PRIVATE]
    return [network for table in tables for network in table]


@pytest.mark.parametrize("network", forbidden(), ids=str)
def test_the_internet_is_nothing_that_webhooks_may_not_reach(network: Any) -> None:
    blocks = [peer["ipBlock"] for peer, _ in peers("webhook-deliver", "Egress") if name_of(peer) == "the internet"]
    assert len(blocks) == 4, "both versions of IP, for either of the ports"
    for block in blocks:
        allowed = ip_network(block["cidr"])
        if allowed.version == network.version and network.overlaps(allowed):
            assert any(network.subnet_of(ip_network(one)) for one in block["except"])


@pytest.mark.parametrize("deployed", sorted(name for name in RUN if calls_strangers(RUN[name])))
def test_receivers_of_webhooks_may_listen_where_the_guide_says_and_providers_on_443(deployed: str) -> None:
    rules = [rule for peer, rule in peers(deployed, "Egress") if name_of(peer) == "the internet"]
    ports = {(one["port"], one.get("endPort", one["port"])) for rule in rules for one in rule["ports"]}
    assert ports == {(443, 443)} | ({(1024, 65535)} if deployed.startswith("webhook") else set())


def test_let_s_encrypt_gets_its_answer() -> None:
    """Seen in cert-manager: a pod of its own in this namespace, on 8089, which default-deny catches as well."""
    (policy,) = (one for one in of_kind("NetworkPolicy") if one["metadata"]["name"] == "to-acme-solver")
    assert policy["spec"]["podSelector"] == {"matchLabels": {"acme.cert-manager.io/http01-solver": "true"}}
    (rule,) = policy["spec"]["ingress"]
    assert [name_of(peer) for peer in rule["from"]] == ["envoy-gateway-system"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8089}]


def settings_map() -> Manifest:
    (found,) = (one for one in of_kind("ConfigMap") if "CHAT4ALL_MODE" in one["data"])
    return found


def example(name: str) -> dict[str, str]:
    lines = (FOLDER / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def sealed() -> dict[str, str]:
    return example("secret.env.example") | example("log.env.example")


def test_what_functions_are_told_are_settings_and_no_secret_is_among_them() -> None:
    known = (
        {settings.PREFIX + name.upper() for name in settings.Settings.model_fields}
        - settings.OF_ONE_PROCESS
        - settings.OF_ONE_SERVICE
    )
    variables = set(settings_map()["data"]) - {"K_SINK"}
    assert variables <= known
    assert not variables & settings.secrets()
    assert set(sealed()) <= known
    assert set(sealed()) >= settings.secrets() & known
    assert not variables & set(sealed())


def test_what_functions_are_told_can_be_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    filled = {name: value for name, value in sealed().items() if value} | {
        name: "filled-in" for name, value in sealed().items() if not value
    }
    filled["CHAT4ALL_SECRET_KEY"] = Fernet.generate_key().decode()
    told = settings_map()["data"] | filled
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(settings.SettingsError, match="NETWORK-OF-PODS"):
        settings.load_settings()
    monkeypatch.setenv(PROXIES, told[PROXIES].replace("NETWORK-OF-PODS", "10.244.0.0/16"))
    assert settings.load_settings().mode == "knative"
    json.loads(filled["CHAT4ALL_KAFKA_PROPERTIES"])


PROXIES = "CHAT4ALL_TRUSTED_PROXIES"


@pytest.mark.parametrize(
    ("hops", "address"),
    [
        ("203.0.113.9, 10.244.1.5, 10.244.2.6", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9, 10.244.1.5, 10.244.2.6", "203.0.113.9"),
        ("10.244.9.9, 203.0.113.9, 10.244.1.5", "203.0.113.9"),
        ("6.6.6.6, 10.0.0.4, 10.244.1.5", "10.0.0.4"),
    ],
    ids=["client", "client says it is another", "client says it is a pod", "behind a node: shared, never chosen"],
)
async def test_a_client_is_counted_by_the_address_that_the_gateway_saw(hops: str, address: str) -> None:
    """What each on the way adds on the right: gateway, Kourier, the activator; the proxy in the pod is the peer."""
    proxies = settings_map()["data"][PROXIES].replace("NETWORK-OF-PODS", "10.244.0.0/16")
    async with open_memory({}) as ports:
        limits = Limits.of(requests_per_minute=1, messages_per_minute=1, trusted_proxies=proxies)
        scope = {"client": ("127.0.0.1", 1), "headers": [(b"x-forwarded-for", hops.encode())]}
        assert RateLimiter.of(ports, limits).address(scope) == address


def test_other_settings_make_new_revisions() -> None:
    name = settings_map()["metadata"]["name"]
    assert name != "chat4all", "kustomize names it by its content"
    for one in rendered():
        if one["apiVersion"] == "serving.knative.dev/v1" or one["kind"] == "Deployment":
            (container,) = one["spec"]["template"]["spec"]["containers"]
            assert container["envFrom"][0] == {"configMapRef": {"name": name}}


ADDRESSES = [
    "CHAT4ALL_CASSANDRA_CONTACT_POINTS",
    "CHAT4ALL_KAFKA_BOOTSTRAP_SERVERS",
    "CHAT4ALL_REDIS_URL",
    "CHAT4ALL_NATS_URL",
    "CHAT4ALL_S3_ENDPOINT",
    "K_SINK",
]


@pytest.mark.parametrize("variable", ADDRESSES)
def test_functions_are_told_addresses_that_they_may_speak_to(variable: str) -> None:
    value = (settings_map()["data"] | sealed())[variable]
    url = urlsplit(value if "//" in value else f"//{value}")
    _, namespace, *rest = (url.hostname or "").split(".")
    assert rest == ["svc", "cluster", "local"]
    ports_of_pods = {"K_SINK": 8080, "CHAT4ALL_S3_ENDPOINT": 9000, "CHAT4ALL_CASSANDRA_CONTACT_POINTS": 9042}
    port = ports_of_pods.get(variable, url.port)
    allowed = {
        (name_of(peer), one["port"]) for name in RUN for peer, rule in peers(name, "Egress") for one in rule["ports"]
    }
    assert (namespace, port) in allowed


def test_a_dead_letter_is_kept_by_what_keeps_the_broker_and_not_by_what_may_have_killed_it() -> None:
    (sink,), (source,) = of_kind("KafkaSink"), of_kind("KafkaSource")
    triggers = of_kind("Trigger")
    assert len(triggers) == len(read().triggers)
    for one in [*triggers, *of_kind("Broker")]:
        assert one["spec"]["delivery"]["deadLetterSink"] == {
            "ref": {"apiVersion": sink["apiVersion"], "kind": "KafkaSink", "name": sink["metadata"]["name"]}
        }
    assert source["spec"]["topics"] == [sink["spec"]["topic"]]
    assert source["spec"]["initialOffset"] == "earliest"
    assert source["spec"]["sink"]["ref"]["name"] == "dead-letter"
    assert sink["spec"]["contentMode"] == "binary"
    bootstrap = told_to_broker()["bootstrap.servers"]
    assert sink["spec"]["bootstrapServers"] == source["spec"]["bootstrapServers"] == [bootstrap]
    assert set(sink["spec"]) == {"topic", "contentMode", "bootstrapServers", "auth"}, "it did not make its topic"
    retry = source["spec"]["delivery"]
    assert retry["backoffPolicy"] == "linear"
    days = sum(range(1, retry["retry"] + 1)) / 86_400  # delay 1 s
    assert 5 < days < 7, "longer than a bad weekend, shorter than the topic keeps it"


def test_knative_s_own_ways_to_kafka_have_credentials() -> None:
    """Kafka's only listener wants SCRAM of everybody."""
    secret = example("kafka.env.example")
    assert set(secret) == {"protocol", "sasl.mechanism", "user", "password"}
    name = told_to_broker()["auth.secret.ref.name"]
    (sink,), (source,) = of_kind("KafkaSink"), of_kind("KafkaSource")
    assert sink["spec"]["auth"] == {"secret": {"ref": {"name": name}}}
    sasl = source["spec"]["net"]["sasl"]
    references = {field: sasl[field]["secretKeyRef"] for field in ("type", "user", "password")}
    assert sasl["enable"] is True
    assert references == {
        field: {"name": name, "key": key}
        for field, key in {"type": "sasl.mechanism", "user": "user", "password": "password"}.items()
    }
    ours = json.loads(sealed()["CHAT4ALL_KAFKA_PROPERTIES"])
    assert [ours[key] for key in ("security.protocol", "sasl.mechanism", "sasl.username")] == [
        secret[key] for key in ("protocol", "sasl.mechanism", "user")
    ]


def told_to_broker() -> dict[str, str]:
    (found,) = (one for one in of_kind("ConfigMap") if "bootstrap.servers" in one["data"])
    return dict(found["data"])


def test_kafka_keeps_three_copies_of_which_two_are_written_before_an_answer() -> None:
    broker = told_to_broker()
    assert broker["default.topic.replication.factor"] == "3"
    assert broker["default.topic.config.min.insync.replicas"] == "2"
    assert broker["default.topic.partitions"] == settings_map()["data"]["CHAT4ALL_KAFKA_PARTITIONS"]
    assert int(broker["default.topic.config.retention.ms"]) == 7 * 86_400_000


def test_the_log_of_events_has_kafkas_times_and_not_its_producers() -> None:
    """Producers' clocks differ: a follower of /v1/events would pass over what one that is behind has published (E9)."""
    assert told_to_broker()["default.topic.config.message.timestamp.type"] == "LogAppendTime"


def test_only_files_lets_a_proxy_answer_before_it_has_read_the_request() -> None:
    """For all others it has cost messages (ADR 43)."""
    annotation = "features.knative.dev/http-full-duplex"
    assert {
        one["metadata"]["name"]
        for one in of_kind("Service")
        if annotation in one.get("spec", {}).get("template", {}).get("metadata", {}).get("annotations", {})
    } == {"files"}


def test_the_broker_s_producer_neither_doubles_nor_reorders() -> None:
    maps = {one["metadata"]["name"]: one for one in manifests(ROOT / "infra/overlays/production-knative")}
    text = maps["config-kafka-broker-data-plane"]["data"]["config-kafka-broker-producer.properties"]
    producer = dict(line.split("=", 1) for line in text.splitlines())
    assert producer["acks"] == "all"
    assert producer["enable.idempotence"] == "true"
    assert int(producer["max.in.flight.requests.per.connection"]) <= 5
    assert int(producer["delivery.timeout.ms"]) >= int(producer["request.timeout.ms"]) + int(producer["linger.ms"])
    assert {"key.serializer", "value.serializer"} <= set(producer), "the file replaces the whole one that is shipped"


@pytest.mark.parametrize("which", ["broker", "sink"])
def test_who_publishes_is_answered_before_it_is_given_up(which: str) -> None:
    """Kafka is away: the Broker says 503 while the function still asks, the function while its Trigger does."""
    maps = {one["metadata"]["name"]: one for one in knative()}
    text = maps[f"config-kafka-{which}-data-plane"]["data"][f"config-kafka-{which}-producer.properties"]
    told = {key: int(value) / 1000 for key, value in (line.split("=", 1) for line in text.splitlines()) if "ms" in key}
    assert told["max.block.ms"] + told["delivery.timeout.ms"] < SINK_PATIENCE
    for trigger in read().triggers:
        assert told["delivery.timeout.ms"] < (trigger.delivery.timeout or inf)


def knative() -> list[Manifest]:
    return manifests(ROOT / "infra/overlays/production-knative")


def test_an_event_and_what_went_wrong_with_it_fit_where_dead_letters_go() -> None:
    """Headers of up to 1.4 kB come on top of what the Broker takes, which is 1 MiB."""
    data = {one["metadata"]["name"]: one["data"] for one in knative() if one["kind"] == "ConfigMap"}
    largest = {
        which: int(dict(line.split("=", 1) for line in data[name][key].splitlines())["max.request.size"])
        for which, name, key in (
            ("broker", "config-kafka-broker-data-plane", "config-kafka-broker-producer.properties"),
            ("sink", "config-kafka-sink-data-plane", "config-kafka-sink-producer.properties"),
        )
    }
    (topic,) = (one for one in manifests(ROOT / "infra/overlays/production-engines") if one["kind"] == "KafkaTopic")
    assert largest["sink"] >= largest["broker"] + 4096
    assert topic["metadata"]["name"] == of_kind("KafkaSink")[0]["spec"]["topic"]
    assert topic["spec"]["config"]["max.message.bytes"] >= largest["sink"]
    assert (topic["spec"]["replicas"], topic["spec"]["config"]["min.insync.replicas"]) == (3, 2)


def test_nobody_else_of_the_cluster_reaches_what_takes_events_without_a_token() -> None:
    told = {
        one["spec"]["podSelector"]["matchLabels"]["app"]: one for one in knative() if one["kind"] == "NetworkPolicy"
    }
    reach = {
        app: {
            (name_of(peer), one["port"])
            for rule in policy["spec"]["ingress"]
            for peer in rule["from"]
            for one in rule["ports"]
        }
        for app, policy in told.items()
    }
    for policy in told.values():
        assert all(
            peer["namespaceSelector"]["matchLabels"] for rule in policy["spec"]["ingress"] for peer in rule["from"]
        )
    measured = {app: {port for space, port in pairs if space == "monitoring"} for app, pairs in reach.items()}
    assert measured == {app: {9000} if app == "3scale-kourier-gateway" else {9090} for app in told}
    events = {app: {space for space, _ in pairs if space != "monitoring"} for app, pairs in reach.items()}
    assert events == {
        "kafka-broker-receiver": {"chat4all", "knative-eventing"},
        "kafka-sink-receiver": {"knative-eventing"},
        "3scale-kourier-gateway": {"envoy-gateway-system", "knative-eventing", "knative-serving"},
        "activator": {"kourier-system", "knative-serving"},
    }
    (grant,) = (one for one in knative() if one["kind"] == "ReferenceGrant")
    assert grant["metadata"]["namespace"] == told["3scale-kourier-gateway"]["metadata"]["namespace"]


def test_the_autoscaler_and_nothing_else_of_knative_s_may_ask_the_activator_before_it_takes_the_last_pod() -> None:
    """Without its answer no function gets to zero (serving, pkg/reconciler/autoscaling/kpa/scaler.go)."""
    (policy,) = (one for one in knative() if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == "activator")
    asked = [
        (peer["podSelector"], {one["port"] for one in rule["ports"]})
        for rule in policy["spec"]["ingress"]
        for peer in rule["from"]
        if name_of(peer) == "knative-serving"
    ]
    assert asked == [({"matchLabels": {"app": "autoscaler"}}, {8012, 8013})]


def test_what_every_request_and_event_passes_is_there_twice_and_can_be_drained() -> None:
    least = {
        one["spec"]["scaleTargetRef"]["name"]: one["spec"]["minReplicas"]
        for one in knative()
        if one["kind"] == "HorizontalPodAutoscaler"
    }
    by_hand = re.findall(r"kubectl -n \S+ scale --replicas=(\d+) ([\w/ -]+)", GUIDE)
    scaled = {name: int(count) for count, names in by_hand for name in names.replace("deploy/", "").split()}
    assert min(scaled.values()) >= 2
    there = least | scaled
    assert there.keys() >= {"3scale-kourier-gateway", "activator", "autoscaler", "controller", "kafka-controller"}
    budgets = {
        one["spec"]["selector"]["matchLabels"]["app"]: one["spec"]
        for one in knative()
        if one["kind"] == "PodDisruptionBudget"
    }
    assert budgets.keys() == least.keys() | {"kafka-broker-receiver", "kafka-sink-receiver"}
    for app, budget in budgets.items():
        kept = ceil(there[app] * int(budget["minAvailable"].removesuffix("%")) / 100) if "minAvailable" in budget else 1
        assert 1 <= kept < there[app], app


def test_engines_are_named_as_functions_are_told_and_shut_to_others() -> None:
    made = {
        (one["kind"], one["metadata"]["name"]): one for one in manifests(ROOT / "infra/overlays/production-engines")
    }
    (kafka,) = (one for (kind, _), one in made.items() if kind == "Kafka")
    (cassandra,) = (one for (kind, _), one in made.items() if kind == "K8ssandraCluster")
    told, (listener,) = settings_map()["data"], kafka["spec"]["kafka"]["listeners"]
    bootstrap = f"{kafka['metadata']['name']}-kafka-bootstrap.{kafka['metadata']['namespace']}.svc.cluster.local"
    assert told["CHAT4ALL_KAFKA_BOOTSTRAP_SERVERS"] == f"{bootstrap}:{listener['port']}"
    assert ("KafkaUser", json.loads(sealed()["CHAT4ALL_KAFKA_PROPERTIES"])["sasl.username"]) in made
    (datacenter,) = cassandra["spec"]["cassandra"]["datacenters"]
    name, dc = cassandra["spec"]["cassandra"]["clusterName"], datacenter["metadata"]["name"]
    assert told["CHAT4ALL_CASSANDRA_CONTACT_POINTS"].startswith(f"{name}-{dc}-service.")
    assert told["CHAT4ALL_CASSANDRA_DATACENTER"] == dc
    assert {name_of(peer) for peer in listener["networkPolicyPeers"]} == {"chat4all", "kafka", "knative-eventing"}
    shut = {
        one["metadata"]["namespace"]
        for one in manifests(ROOT / "infra/overlays/production-engines")
        if one["kind"] == "NetworkPolicy"
    }
    assert shut | {"kafka"} == set(FLOWS.values()) - {"knative-eventing"}


def engines(kind: str) -> list[Manifest]:
    return [one for one in manifests(ROOT / "infra/overlays/production-engines") if one["kind"] == kind]


def test_a_nats_that_goes_has_time_to_send_its_clients_away() -> None:
    """
    Seen of nats-server 2.15: it refuses less than 30 s ("minimum is 30 seconds"), and at TERM alone it ends at once.
    As shipped it takes two minutes, longer than the pod is given.
    """
    (config,) = (one["data"]["nats.conf"] for one in engines("ConfigMap") if "nats.conf" in one["data"])
    (seconds,) = re.findall(r"^lame_duck_duration: (\d+)s$", config, re.M)
    (pod,) = (one["spec"]["template"]["spec"] for one in engines("StatefulSet") if one["metadata"]["name"] == "nats")
    assert 30 <= int(seconds) < pod["terminationGracePeriodSeconds"]
    (container,) = pod["containers"]
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["nats-server", "--signal", "ldm=1"]
    assert "command" not in container, "the image's entrypoint makes itself nats-server, so that is process 1"


def test_events_are_thrown_away_before_the_disks_of_kafka_are_full() -> None:
    (pool,), broker = engines("KafkaNodePool"), told_to_broker()
    disks = pool["spec"]["replicas"] * int(pool["spec"]["storage"]["size"].removesuffix("Gi"))
    copies = int(broker["default.topic.replication.factor"])
    kept = (
        copies * int(broker["default.topic.partitions"]) * int(broker["default.topic.config.retention.bytes"]) / 2**30
    )
    week = 40e6 * 0.8 * 5 * 7 * copies / 2**20  # a million users, docs/guides/production.md
    assert week < kept <= 0.8 * disks


def test_cassandra_is_backed_up_hourly_and_its_racks_are_even() -> None:
    (cassandra,) = engines("K8ssandraCluster")
    (datacenter,) = cassandra["spec"]["cassandra"]["datacenters"]
    assert datacenter["size"] % len(datacenter["racks"]) == 0
    assert datacenter["config"]["cassandraYaml"]["paxos_variant"] == "v2"
    properties = cassandra["spec"]["medusa"]["storageProperties"]
    assert properties["secure"] and properties["sslVerify"] and properties["storageSecretRef"]["name"]
    schedules = {one["spec"]["backupSpec"]["backupType"]: one for one in engines("MedusaBackupSchedule")}
    assert schedules.keys() == {"full", "differential"}
    assert schedules["differential"]["spec"]["cronSchedule"].split()[1:] == ["*"] * 4
    for one in schedules.values():
        assert one["spec"]["backupSpec"]["cassandraDatacenter"] == datacenter["metadata"]["name"]
        assert one["metadata"]["namespace"] == cassandra["metadata"]["namespace"]


def test_the_object_store_outlives_a_zone_and_a_pause_of_an_upload() -> None:
    (tenant,) = engines("Tenant")
    (pool,) = tenant["spec"]["pools"]
    told = {one["name"]: one["value"] for one in tenant["spec"]["env"]}
    (spread,) = pool["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["maxSkew"]) == ("topology.kubernetes.io/zone", 1)
    parity = int(told["MINIO_STORAGE_CLASS_STANDARD"].removeprefix("EC:"))
    assert ceil(pool["servers"] / 3) * pool["volumesPerServer"] <= parity
    assert told["MINIO_API_STALE_UPLOADS_EXPIRY"] == "192h"


def test_a_target_is_what_it_says_and_the_activator_is_not_in_the_way() -> None:
    """Unless told otherwise Knative takes 70 % of it."""
    for one in rendered():
        annotations = (
            one["spec"]["template"]["metadata"].get("annotations", {}) if "template" in one.get("spec", {}) else {}
        )
        if "autoscaling.knative.dev/target" in annotations:
            assert annotations["autoscaling.knative.dev/target-utilization-percentage"] == "100"
            assert annotations["autoscaling.knative.dev/target-burst-capacity"] == "0"


def test_who_is_waited_for_is_warm_and_outlives_a_drained_node() -> None:
    scale = {
        one["metadata"]["name"]: int(
            one["spec"]["template"]["metadata"]["annotations"]["autoscaling.knative.dev/min-scale"]
        )
        for one in rendered()
        if one["apiVersion"] == "serving.knative.dev/v1"
    }
    warm = {"send", "push", "route", "messages", "inbound", "token"}
    assert {name for name, least in scale.items() if least} == warm
    assert {scale[name] for name in warm} == {2}
    budgets = {one["metadata"]["name"]: one["spec"] for one in of_kind("PodDisruptionBudget")}
    assert set(budgets) == warm | {"realtime"}
    for name in warm:
        assert selects(budgets[name]["selector"], labels(name))
        assert budgets[name]["maxUnavailable"] == 1


def test_the_gateway_s_replicas_belong_to_its_autoscaler() -> None:
    (gateway,) = of_kind("Deployment")
    (autoscaler,) = of_kind("HorizontalPodAutoscaler")
    assert "replicas" not in gateway["spec"], "each apply would set it back"
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == gateway["metadata"]["name"]
    assert autoscaler["spec"]["minReplicas"] >= 3
    (container,) = gateway["spec"]["template"]["spec"]["containers"]
    used = next(one["resource"] for one in autoscaler["spec"]["metrics"] if one["resource"]["name"] == "memory")
    mib = int(container["resources"]["requests"]["memory"].removesuffix("Mi"))
    sockets = (mib * used["target"]["averageUtilization"] / 100 - 163) * 1024 / 21.9
    assert sockets > 10_000, "an empty gateway would already be too full"
    assert sockets * autoscaler["spec"]["maxReplicas"] > 1_000_000
    budgets = {one["metadata"]["name"] for one in of_kind("PodDisruptionBudget")}
    assert "realtime" in budgets


def test_priorities_are_declared() -> None:
    declared = {one["metadata"]["name"] for one in of_kind("PriorityClass")}
    used = {
        one["spec"]["template"]["spec"].get("priorityClassName")
        for one in rendered()
        if one["apiVersion"] == "serving.knative.dev/v1" or one["kind"] == "Deployment"
    }
    assert used == declared


def test_no_function_evicts_an_engine_and_each_gets_a_node() -> None:
    """An engine has no class, which is 0. Below -10 the cluster autoscaler adds no node, unless told otherwise."""
    for one in of_kind("PriorityClass"):
        assert one["value"] <= 0 or one["preemptionPolicy"] == "Never"
        assert one["value"] >= -10
    value = {one["metadata"]["name"]: one["value"] for one in of_kind("PriorityClass")}
    assert value["chat4all-live"] > value["chat4all-later"]


def test_every_public_path_is_tls_and_leads_where_the_network_layer_is() -> None:
    routes = [one for one in of_kind("HTTPRoute") if one["metadata"]["name"] not in ("to-https", "files-host")]
    assert routes
    for one in routes:
        assert one["spec"]["parentRefs"] == [{"name": "chat4all", "sectionName": "https"}]
        (rule,) = one["spec"]["rules"]
        (backend,) = rule["backendRefs"]
        assert backend["name"] == ("realtime" if one["metadata"]["name"] == "realtime" else "kourier-internal")
    told = {listener["name"]: listener.get("hostname") for listener in the_gateway()["spec"]["listeners"]}
    host, files = (
        urlsplit(settings_map()["data"][name]).hostname
        for name in ("CHAT4ALL_PUBLIC_URL", "CHAT4ALL_S3_PUBLIC_ENDPOINT")
    )
    assert told == {"http": None, "https": host, "files": files}


def the_gateway() -> Manifest:
    (gateway,) = of_kind("Gateway")
    return gateway


def test_bytes_of_files_have_a_host_and_as_long_as_they_take() -> None:
    (route,) = (one for one in of_kind("HTTPRoute") if one["metadata"]["name"] == "files-host")
    assert route["spec"]["parentRefs"] == [{"name": "chat4all", "sectionName": "files"}]
    (rule,) = route["spec"]["rules"]
    assert rule["timeouts"] == {"request": "0s"}, "Envoy's own is 15 s"
    (backend,) = rule["backendRefs"]
    store = urlsplit(settings_map()["data"]["CHAT4ALL_S3_ENDPOINT"])
    assert (f"{backend['name']}.{backend['namespace']}", backend["port"]) == (
        ".".join((store.hostname or "").split(".")[:2]),
        store.port or 80,
    )
    granted = {
        (one["metadata"]["namespace"], to["name"])
        for one in manifests(ROOT / "infra/overlays/production-engines")
        if one["kind"] == "ReferenceGrant"
        for to in one["spec"]["to"]
    }
    assert granted == {(backend["namespace"], backend["name"])}


def test_paths_come_as_they_were_written() -> None:
    """%2F is part of an id, and // of a key, wherever they are."""
    (policy,) = of_kind("ClientTrafficPolicy")
    assert policy["spec"]["path"] == {"escapedSlashesAction": "KeepUnchanged", "disableMergeSlashes": True}
    (target,) = policy["spec"]["targetRefs"]
    assert (target["kind"], target["name"]) == ("Gateway", the_gateway()["metadata"]["name"])


@pytest.mark.parametrize("port", ["user-port", "http-usermetric"])
def test_prometheus_asks_each_function_where_it_is_let_in(port: str) -> None:
    number = {"user-port": 8080, "http-usermetric": 9091}[port]  # serving, pkg/apis/serving/v1/revision_helpers.go
    monitors = manifests(ROOT / "infra/overlays/production-monitoring")
    (functions_,) = (one for one in monitors if one["metadata"]["name"] == "functions" and one["kind"] == "PodMonitor")
    assert {"port": port, "path": "/metrics"} in functions_["spec"]["podMetricsEndpoints"]
    for deployed in RUN:
        allowed = {
            one["port"]
            for peer, rule in peers(deployed, "Ingress")
            if name_of(peer) == "monitoring"
            for one in rule["ports"]
        }
        assert number in allowed


def test_an_alert_rings_for_a_counter_that_begins_at_one() -> None:
    """``increase`` sees no rise in a series whose first value is 1, and dead-letter wakes from zero."""
    (rules,) = (
        one for one in manifests(ROOT / "infra/overlays/production-monitoring") if one["kind"] == "PrometheusRule"
    )
    asked = {rule["alert"]: rule["expr"] for group in rules["spec"]["groups"] for rule in group["rules"]}
    for expression in asked.values():
        (counter,) = set(re.findall(r"\w+_total(?:{.*?})?", expression))
        began = f"(max_over_time({counter}[10m]) > 0 unless max_over_time({counter}[10m] offset 10m))"
        assert expression == f"increase({counter}[10m]) > 0 or {began}"
    assert f"`{asked['Chat4AllEventIsGone']}`" in GUIDE


def test_nothing_here_is_left_over() -> None:
    """Every file of the folder is taken by its kustomization."""
    text = (FOLDER / "kustomization.yaml").read_text()
    there = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}
    assert {name for name in there if name not in text} == {
        "kustomization.yaml",
        "secret.env.example",
        "log.env.example",
        "kafka.env.example",
    }


GUIDE = (ROOT / "docs/guides/production.md").read_text()


def test_the_overlay_of_the_guide_is_one(tmp_path: Path) -> None:
    """What it shows, with this repository as a folder beside it, makes what it promises."""
    (shown,) = (block for block in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL) if "secretGenerator" in block)
    for folder in ("knative", "infra/overlays"):
        shutil.copytree(ROOT / folder, tmp_path / "chat4all" / folder)
    (tmp_path / "kustomization.yaml").write_text(shown)
    (tmp_path / "secret.env").write_text("CHAT4ALL_SECRET_KEY=filled-in\n")
    for name in ("log.env", "kafka.env"):
        shutil.copy(FOLDER / f"{name}.example", tmp_path / name)
    made = manifests(tmp_path)
    (told,) = (one for one in made if one["kind"] == "ConfigMap" and "CHAT4ALL_MODE" in one["data"])
    secrets = {one["metadata"]["name"]: one for one in made if one["kind"] == "Secret"}
    (broker,) = (one for one in made if one["kind"] == "ConfigMap" and "bootstrap.servers" in one["data"])
    assert secrets.pop(broker["data"]["auth.secret.ref.name"])["data"].keys() >= {"user", "password"}
    # Named by its content, as the other: a new password makes new revisions.
    (log,) = (name for name in secrets if name.startswith("chat4all-log-"))
    (secret,) = secrets.keys() - {log}
    Limits.of(requests_per_minute=1, messages_per_minute=1, trusted_proxies=told["data"][PROXIES])
    assert told["data"]["CHAT4ALL_PUBLIC_URL"] == "https://chat.acme.example"
    for one in made:
        if one["apiVersion"] == "serving.knative.dev/v1":
            (container,) = one["spec"]["template"]["spec"]["containers"]
            assert container["envFrom"] == [
                {"configMapRef": {"name": told["metadata"]["name"]}},
                {"secretRef": {"name": secret}},
                *([{"secretRef": {"name": log}}] if one["metadata"]["name"] == "events" else []),
            ]
            assert container["image"] == "registry.acme.example/chat4all@sha256:…"
    (account,) = (one for one in made if one["kind"] == "ServiceAccount")
    assert account["imagePullSecrets"] == [{"name": "registry"}]
    assert len(plan.unversioned(made)) == len(RUN) + 1, "a digest that nobody filled in is none; the Job's is one more"
    left = " ".join(unsaid(made))
    assert "password in the Secret chat4all-kafka still says PASSWORD" in left
    assert f"CHAT4ALL_KAFKA_PROPERTIES in the Secret {log} still says PASSWORD" in left
    assert plan.secrets_wanted(made) == {"registry"}, "all else that is named is made, under that name"
    assert "example.org" not in left
    assert "CHAT4ALL_PUBLIC_URL has chat.acme.example" in left, "who copies it is told what is not theirs"
    assert "NETWORK-OF-PODS" not in left


def test_the_overlay_of_the_guide_says_where_backups_go_and_which_zones_there_are(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", GUIDE.partition("### Engines")[2].partition("\n## ")[0], re.DOTALL)
    shutil.copytree(ROOT / "infra/overlays", tmp_path / "chat4all/infra/overlays")
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines/kustomization.yaml").write_text(shown)

    def left(folder: Path) -> int:
        """What the command below it counts."""
        return len(re.findall(r"\.example\b|ZONE-", render(folder)))

    below, made = tmp_path / "chat4all/infra/overlays/production-engines", tmp_path / "engines"
    assert left(below) == 4, "a host and three zones"
    assert left(made) == 1, "the host is yet to be replaced by one's own"
    assert len(manifests(made)) == len(manifests(below))
    (cassandra,) = (one for one in manifests(made) if one["kind"] == "K8ssandraCluster")
    properties = cassandra["spec"]["medusa"]["storageProperties"]
    assert properties.items() > {"host": "s3.backup.acme.example", "bucketName": "acme-cassandra"}.items()
    (datacenter,) = cassandra["spec"]["cassandra"]["datacenters"]
    assert [one["nodeAffinityLabels"] for one in datacenter["racks"]] == [
        {"topology.kubernetes.io/zone": f"eu-central-1{zone}"} for zone in "abc"
    ]
    assert "-k infra/overlays/production-engines" not in GUIDE, "bare it is nobody's"


def test_the_guide_deploys_no_image_that_nobody_publishes() -> None:
    assert f"--image {plan.IMAGE}" not in GUIDE


def test_the_guide_counts_right() -> None:
    assert f"{len(read().services)} functions are Knative Services" in GUIDE
    assert set(re.findall(r"(\d+) Triggers\b(?! a pod)", GUIDE)) == {str(len(read().triggers))}


def test_the_guide_reckons_with_every_dispatcher_that_must_be_there() -> None:
    """The least is that of each StatefulSet (eventing-kafka-broker, reconciler/consumergroup/controller.go)."""
    sets = set(re.findall(r"statefulset/(kafka-\w+-dispatcher)", GUIDE))
    assert sets == {"kafka-broker-dispatcher", "kafka-source-dispatcher"}
    memory = re.sub(r"\s+", " ", GUIDE.partition("**Memory of the Broker**")[2].partition("\n\n")[0])
    receivers, dispatchers, controller, webhook = map(
        int, re.findall(r"receivers (\d+) MiB, dispatchers (\d+), controller (\d+), webhook (\d+)", memory)[0]
    )
    (told,) = re.findall(r"set env deploy/kafka-controller DISPATCHERS_MIN_REPLICAS=(\d)", GUIDE)
    assert f"For A: 3 + 3 receivers (the Broker's and the sink's) × {receivers} + {told} + {told} dispatchers" in memory
    for each, said in ((int(told), r"= ([\d.]+) GiB"), (6, r"for B, with 6 \+ 6 dispatchers, ([\d.]+) GiB")):
        made = 6 * receivers + len(sets) * each * dispatchers + 2 * controller + 2 * webhook
        assert re.findall(said, memory)[0] == f"{made / 1024:.1f}"


KNATIVE = re.findall(
    r"^\tknative\.dev/(?:serving|eventing) v0\.(\d+)\.", (ROOT / "infra/cluster/go/knative/go.mod").read_text(), re.M
)


@pytest.mark.parametrize("page", sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name)
def test_knative_is_named_by_its_release(page: Path) -> None:
    """Installers know knative-v1.23 and the like; its Go modules count 27 more, and from 0."""
    (module,) = set(KNATIVE)
    release = f"1.{int(module) - 27}"
    for line in page.read_text().splitlines():
        if re.search(rf"\b0\.{module}(?:\.0)?\b(?! s\b)", line):
            assert release in line, line


def test_these_tests_know_every_port() -> None:
    from shared.ports import Ports

    known = set(FLOWS) | {"channels", "webhooks", "clock", "ids", "vault", "hasher", "scanner", "webhook_policy"}
    assert set(inspect.signature(Ports).parameters) == known

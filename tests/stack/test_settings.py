"""What scripts/stack writes for its servers, and what it tells the platform (E13, B9)."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.stack.cassandra import Cassandra, cassandra_yaml
from infra.stack.kafka import Kafka, server_properties
from infra.stack.layout import INFRA, Layout, saved_layout
from infra.stack.minio import Minio, credentials
from infra.stack.nats import Nats
from infra.stack.redis import Redis
from infra.stack.stack import ENGINES, TOOLS

_COMPOSE = ("compose.yaml", "compose.cluster.yaml")


def _properties(text: str) -> dict[str, str]:
    lines = (line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value for name, value in lines}


@pytest.fixture
def one(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


@pytest.fixture
def three(tmp_path: Path) -> Layout:
    return Layout(tmp_path, nodes=3, port_offset=100)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    folder = tmp_path / "program"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib/jamm-0.4.0.jar").touch()
    return folder


def test_three_brokers_keep_every_record_three_times_and_acknowledge_it_with_two(three: Layout) -> None:
    settings = _properties(server_properties(three, 2))

    for topic in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic"):
        assert settings[f"{topic}.replication.factor"] == "3"
    assert settings["default.replication.factor"] == "3"
    assert settings["min.insync.replicas"] == settings["transaction.state.log.min.isr"] == "2"
    assert settings["unclean.leader.election.enable"] == "false"


def test_one_broker_does_not_wait_for_others(one: Layout) -> None:
    settings = _properties(server_properties(one, 1))

    assert {value for name, value in settings.items() if name.endswith((".replication.factor", ".isr"))} == {"1"}
    assert settings["controller.quorum.voters"] == "1@127.0.0.1:9093"


def test_a_broker_has_its_own_number_ports_and_folder(three: Layout) -> None:
    settings = _properties(server_properties(three, 2))

    assert settings["node.id"] == "2"
    assert settings["listeners"] == "PLAINTEXT://127.0.0.1:9202,CONTROLLER://127.0.0.1:9203"
    assert settings["advertised.listeners"] == "PLAINTEXT://127.0.0.1:9202"
    assert settings["controller.quorum.voters"] == "1@127.0.0.1:9193,2@127.0.0.1:9203,3@127.0.0.1:9213"
    assert settings["log.dirs"] == str(three.data("kafka-2"))


def test_cassandra_nodes_share_the_ring_evenly_and_know_each_other(three: Layout) -> None:
    nodes = [yaml.safe_load(cassandra_yaml(three, node)) for node in (1, 2, 3)]

    assert [node["listen_address"] for node in nodes] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    assert [node["rpc_address"] for node in nodes] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    tokens = [node["initial_token"] for node in nodes]
    assert tokens == [-9223372036854775808, -3074457345618258603, 3074457345618258602]
    for node in nodes:
        assert node["seed_provider"][0]["parameters"] == [{"seeds": "127.0.0.1,127.0.0.2,127.0.0.3"}]
        assert (node["native_transport_port"], node["storage_port"]) == (9142, 7100)


def test_one_cassandra_node_seeks_nobody_else(one: Layout) -> None:
    assert yaml.safe_load(cassandra_yaml(one, 1))["seed_provider"][0]["parameters"] == [{"seeds": "127.0.0.1"}]


@pytest.mark.parametrize("nodes", [1, 3])
def test_everything_listens_on_loopback_and_nothing_twice(nodes: int, tmp_path: Path, program: Path) -> None:
    layout = Layout(tmp_path, nodes=nodes)
    engines = [*ENGINES.values(), *TOOLS.values()]
    servers = [server for engine in engines for server in engine.servers(layout, program)]
    ports = [address for server in servers for address in server.ports]

    assert [server.name for server in servers] == [name for one in engines for name in one.names(layout)]
    assert len(set(ports)) == len(ports)
    assert all(host.startswith("127.") for host, _ in ports)


def test_an_offset_moves_every_port(tmp_path: Path, program: Path) -> None:
    def ports(offset: int) -> list[int]:
        layout = Layout(tmp_path, nodes=3, port_offset=offset)
        servers = [server for engine in ENGINES.values() for server in engine.servers(layout, program)]
        return [port for server in servers for _, port in server.ports]

    assert ports(1000) == [port + 1000 for port in ports(0)]


def test_data_of_one_node_and_of_three_are_kept_apart(one: Layout, three: Layout) -> None:
    assert one.data("kafka-1") != three.data("kafka-1")


def test_a_layout_is_found_again(three: Layout) -> None:
    assert saved_layout(three.state) is None
    three.save()
    assert saved_layout(three.state) == three


def test_minio_credentials_are_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    user, password = credentials(tmp_path / "state")

    assert credentials(tmp_path / "state") == (user, password)
    assert credentials(tmp_path / "other") != (user, password)
    assert "minioadmin" not in (user, password)
    assert len(password) >= 40
    assert (tmp_path / "state/minio.credentials").stat().st_mode & 0o777 == 0o600


def test_two_servers_that_ask_for_the_credentials_at_once_get_the_same(tmp_path: Path) -> None:
    """MinIO and versitygw do when they come up together."""
    with ThreadPoolExecutor(8) as pool:
        for n in range(50):
            assert len(set(pool.map(credentials, [tmp_path / f"{n}"] * 8))) == 1


def test_minio_spreads_over_four_drives_when_there_are_three_nodes(one: Layout, three: Layout, program: Path) -> None:
    def drives(layout: Layout) -> list[str]:
        (server,) = Minio().servers(layout, program)
        return [part for part in server.command if part.startswith(str(layout.data("minio")))]

    assert len(drives(one)) == 1
    assert len(set(drives(three))) == 4


def test_no_credential_is_on_a_command_line(three: Layout, program: Path) -> None:
    user, password = credentials(three.state)
    (server,) = Minio().servers(three, program)

    assert server.environment["MINIO_ROOT_PASSWORD"] == password
    assert not {user, password}.intersection(server.command)


def test_the_platform_is_told_where_everything_is(three: Layout) -> None:
    user, password = credentials(three.state)
    told = [engine.settings(three) for engine in (Kafka(), Cassandra(), Redis(), Nats(), Minio())]

    assert told == [
        {
            "CHAT4ALL_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9192,127.0.0.1:9202,127.0.0.1:9212",
            "CHAT4ALL_KAFKA_REPLICATION_FACTOR": "3",
        },
        {
            "CHAT4ALL_CASSANDRA_CONTACT_POINTS": "127.0.0.1,127.0.0.2,127.0.0.3",
            "CHAT4ALL_CASSANDRA_PORT": "9142",
            "CHAT4ALL_CASSANDRA_REPLICATION_FACTOR": "3",
        },
        {"CHAT4ALL_REDIS_URL": "redis://127.0.0.1:6479/0"},
        {"CHAT4ALL_NATS_URL": "nats://127.0.0.1:4322"},
        {
            "CHAT4ALL_MINIO_ENDPOINT": "http://127.0.0.1:9100",
            "CHAT4ALL_MINIO_ACCESS_KEY": user,
            "CHAT4ALL_MINIO_SECRET_KEY": password,
        },
    ]


def _services(name: str) -> dict[str, Any]:
    services = yaml.safe_load((INFRA / name).read_text())["services"]
    assert isinstance(services, dict)
    return services


@pytest.mark.parametrize("name", _COMPOSE)
def test_containers_run_the_versions_that_scripts_stack_runs(name: str) -> None:
    images = {service["image"] for service in _services(name).values() if "image" in service}
    versions = {"apache/kafka": _version_in_pom("kafka"), "cassandra": _version_in_pom("cassandra")}
    versions["nats"] = Nats.program.version.removeprefix("v") + "-alpine"

    for program, version in versions.items():
        assert {image for image in images if image.startswith(f"{program}:")} <= {f"{program}:{version}"}
    assert f"VERSION={Minio.program.version}\n" in (INFRA / "minio/Dockerfile").read_text()


def _version_in_pom(name: str) -> str:
    text = (INFRA / name / "pom.xml").read_text()
    (version,) = set(re.findall(r"org\.apache\.\w+</groupId>.*<version>(.*)</version>", text))
    return str(version)


@pytest.mark.parametrize("name", _COMPOSE)
def test_containers_read_the_settings_that_scripts_stack_reads(name: str) -> None:
    text = (INFRA / name).read_text()
    paths = set(re.findall(r"\./[\w./-]+", text))

    assert paths >= {"./kafka", "./cassandra"}
    assert all((INFRA / path).exists() for path in paths)
    assert "minioadmin" not in text


def test_brokers_in_containers_are_a_cluster_by_the_same_settings(three: Layout) -> None:
    cluster = _properties((INFRA / "kafka/cluster.properties").read_text())
    for broker in ("kafka-1", "kafka-2", "kafka-3"):
        environment = _services("compose.cluster.yaml")[broker]["environment"]
        for name, value in cluster.items():
            assert str(environment[f"KAFKA_{name.replace('.', '_').upper()}"]) == value


def test_containers_are_reached_where_scripts_stack_has_them(tmp_path: Path, program: Path) -> None:
    published = {port for name in _COMPOSE for service in _services(name).values() for port in service.get("ports", [])}
    servers = [one for engine in ENGINES.values() for one in engine.servers(Layout(tmp_path, nodes=3), program)]

    assert published >= {f"{server.address}:{server.ports[0][1]}" for server in servers}
    assert all(port.startswith("127.0.0.") for port in published)


def test_cassandra_in_containers_shares_the_ring_as_scripts_stack_does(three: Layout) -> None:
    for node in (2, 3):
        token = yaml.safe_load(cassandra_yaml(three, node))["initial_token"]
        environment = _services("compose.cluster.yaml")[f"cassandra-{node}"]["environment"]
        assert environment["JVM_EXTRA_OPTS"] == f"-Dcassandra.initial_token={token}"

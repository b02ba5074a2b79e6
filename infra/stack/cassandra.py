"""Apache Cassandra; nodes differ in their loopback address, as drivers expect one port for all."""

import re
from ipaddress import IPv4Address
from pathlib import Path

from infra.stack import archive, probes
from infra.stack.install import Jars, found
from infra.stack.layout import INFRA, Layout
from infra.stack.server import Server, numbered

_SETTINGS = INFRA / "cassandra"
_FIRST_TOKEN = -(2**63)


class Cassandra:
    name = "cassandra"
    program = Jars("cassandra", _SETTINGS / "pom.xml")

    def names(self, layout: Layout) -> list[str]:
        return numbered(self.name, layout)

    def servers(self, layout: Layout, program: Path) -> list[Server]:
        return [self._server(layout, program, node) for node in range(1, layout.nodes + 1)]

    def answers_as_a_whole(self, layout: Layout) -> None:
        for host in _hosts(layout):
            probes.cassandra(host, layout.port(9042), every_replica=layout.nodes > 1)

    def settings(self, layout: Layout) -> dict[str, str]:
        return {
            "CHAT4ALL_CASSANDRA_CONTACT_POINTS": ",".join(_hosts(layout)),
            "CHAT4ALL_CASSANDRA_PORT": str(layout.port(9042)),
            "CHAT4ALL_CASSANDRA_REPLICATION_FACTOR": str(layout.nodes),
        }

    def _server(self, layout: Layout, program: Path, node: int) -> Server:
        name = f"cassandra-{node}"
        host = _hosts(layout)[node - 1]
        client, storage, management = layout.port(9042), layout.port(7000), layout.port(7198 + node)
        file = layout.settings(name) / "cassandra.yaml"
        java = found("java", "apt-get install openjdk-17-jre-headless")
        agents = [f"-javaagent:{jar}" for jar in (program / "lib").glob("jamm-*.jar")]
        archived = archive.options(program)

        def prepare() -> None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(cassandra_yaml(layout, node))
            layout.data(name).mkdir(parents=True, exist_ok=True)

        return Server(
            name=name,
            ports=[(host, client), (host, storage), ("127.0.0.1", management)],
            command=(
                java,
                f"@{_SETTINGS}/jvm.options",
                *archived,
                *agents,
                f"-Dlogback.configurationFile=file://{_SETTINGS}/logback.xml",
                f"-Dcassandra.config=file://{file}",
                f"-Dcassandra.storagedir={layout.data(name)}",
                f"-Dcassandra.logdir={layout.data(name)}/log",
                f"-Dcassandra.jmx.local.port={management}",
                "-Dcassandra-foreground=yes",
                "-cp",
                f"{program}/lib/*",
                "org.apache.cassandra.service.CassandraDaemon",
            ),
            environment={"MALLOC_ARENA_MAX": "2"},
            answers=lambda: probes.cassandra(host, client),
            prepare=prepare,
        )


def cassandra_yaml(layout: Layout, node: int) -> str:
    """
    infra/cassandra/cassandra.yaml with the lines of one node.

    Raises:
        KeyError: the file has no such line to replace.
    """
    hosts = _hosts(layout)
    text = (_SETTINGS / "cassandra.yaml").read_text()
    own = {
        "listen_address": hosts[node - 1],
        "rpc_address": hosts[node - 1],
        "storage_port": layout.port(7000),
        "native_transport_port": layout.port(9042),
        "initial_token": _FIRST_TOKEN + (node - 1) * 2**64 // layout.nodes,
        "      - seeds": f'"{",".join(hosts)}"',
    }
    for name, value in own.items():
        text, count = re.subn(rf"^({name}:).*$", rf"\1 {value}", text, flags=re.MULTILINE)
        if count != 1:
            raise KeyError(name)
    return text


def _hosts(layout: Layout) -> list[str]:
    first = IPv4Address(layout.host)
    return [str(first + node) for node in range(layout.nodes)]

"""Apache Kafka in KRaft mode; every node is broker and controller."""

import subprocess
from pathlib import Path

from infra.stack import archive, probes
from infra.stack.install import InstallError, Jars, found
from infra.stack.layout import INFRA, Layout
from infra.stack.server import Server, numbered

_SETTINGS = INFRA / "kafka"
_CLUSTER_ID = "4L6g3nShT-eMCtK--X86sw"
_LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.log.kafka.server=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)


class Kafka:
    name = "kafka"
    program = Jars("kafka", _SETTINGS / "pom.xml")

    def names(self, layout: Layout) -> list[str]:
        return numbered(self.name, layout)

    def servers(self, layout: Layout, program: Path) -> list[Server]:
        return [self._server(layout, program, node) for node in range(1, layout.nodes + 1)]

    def answers_as_a_whole(self, layout: Layout) -> None:
        for node in range(1, layout.nodes + 1):
            probes.kafka(layout.host, _client_port(layout, node), set(range(1, layout.nodes + 1)))

    def settings(self, layout: Layout) -> dict[str, str]:
        brokers = [f"{layout.host}:{_client_port(layout, node)}" for node in range(1, layout.nodes + 1)]
        return {
            "CHAT4ALL_KAFKA_BOOTSTRAP_SERVERS": ",".join(brokers),
            "CHAT4ALL_KAFKA_REPLICATION_FACTOR": str(layout.nodes),
        }

    def _server(self, layout: Layout, program: Path, node: int) -> Server:
        name = f"kafka-{node}"
        port = _client_port(layout, node)
        file = layout.settings(name) / "server.properties"
        java = found("java", "apt-get install openjdk-17-jre-headless")
        classes = ("-cp", f"{program}/lib/*")
        archived = archive.options(program)

        def prepare() -> None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(server_properties(layout, node))
            if not (layout.data(name) / "meta.properties").exists():
                small = ("-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
                tool = ("kafka.tools.StorageTool", "format", "-t", _CLUSTER_ID, "-c", str(file))
                ended = subprocess.run((java, *small, *archived, *classes, *tool), capture_output=True, text=True)
                if ended.returncode != 0:
                    raise InstallError(f"{layout.data(name)} cannot be formatted: {ended.stdout}{ended.stderr}".strip())

        return Server(
            name=name,
            ports=[(layout.host, port), (layout.host, port + 1)],
            command=(java, f"@{_SETTINGS}/jvm.options", *archived, *_LOGGING, *classes, "kafka.Kafka", str(file)),
            answers=lambda: probes.kafka(layout.host, port, {node}),
            prepare=prepare,
        )


def server_properties(layout: Layout, node: int) -> str:
    """The settings file of one node: in a properties file the last line of a name holds."""
    parts = [_SETTINGS / "server.properties"]
    if layout.nodes > 1:
        parts.append(_SETTINGS / "cluster.properties")
    port = _client_port(layout, node)
    voters = [f"{one}@{layout.host}:{_client_port(layout, one) + 1}" for one in range(1, layout.nodes + 1)]
    own = {
        "node.id": node,
        "controller.quorum.voters": ",".join(voters),
        "listeners": f"PLAINTEXT://{layout.host}:{port},CONTROLLER://{layout.host}:{port + 1}",
        "advertised.listeners": f"PLAINTEXT://{layout.host}:{port}",
        "log.dirs": layout.data(f"kafka-{node}"),
    }
    return "\n".join([*(part.read_text() for part in parts), *(f"{name}={value}" for name, value in own.items()), ""])


def _client_port(layout: Layout, node: int) -> int:
    """9092, 9102, 9112; the controller's is the next."""
    return layout.port(9092) + 10 * (node - 1)

"""NATS with JetStream: always one."""

from pathlib import Path

from infra.stack import probes
from infra.stack.install import GoProgram
from infra.stack.layout import INFRA, Layout
from infra.stack.server import Server


class Nats:
    name = "nats"
    program = GoProgram("nats", "github.com/nats-io/nats-server/v2", "v2.15.2")

    def names(self, layout: Layout) -> list[str]:
        return [self.name]

    def servers(self, layout: Layout, program: Path) -> list[Server]:
        folder, port, monitoring = layout.data(self.name), layout.port(4222), layout.port(8222)
        own = ("-a", layout.host, "-p", str(port), "-m", str(monitoring), "-sd", str(folder))
        return [
            Server(
                name=self.name,
                ports=[(layout.host, port), (layout.host, monitoring)],
                command=(f"{program}/bin/nats-server", "-c", f"{INFRA}/nats/nats.conf", *own),
                answers=lambda: probes.nats(layout.host, port),
                prepare=lambda: folder.mkdir(parents=True, exist_ok=True),
            )
        ]

    def answers_as_a_whole(self, layout: Layout) -> None:
        probes.nats(layout.host, layout.port(4222))

    def settings(self, layout: Layout) -> dict[str, str]:
        return {"CHAT4ALL_NATS_URL": f"nats://{layout.host}:{layout.port(4222)}"}

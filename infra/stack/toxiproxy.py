"""Toxiproxy: slow, cut and mute connections on demand. For faults only, so it comes only when it is asked for."""

from pathlib import Path

from infra.stack import probes
from infra.stack.install import GoProgram
from infra.stack.layout import Layout
from infra.stack.server import Server

_HOST = "127.0.0.1"


class Toxiproxy:
    name = "toxiproxy"
    program = GoProgram("toxiproxy", "github.com/Shopify/toxiproxy/v2/cmd/server", "v2.12.0")

    def names(self, layout: Layout) -> list[str]:
        return [self.name]

    def servers(self, layout: Layout, program: Path) -> list[Server]:
        port = layout.port(8474)
        return [
            Server(
                name=self.name,
                ports=[(_HOST, port)],
                command=(f"{program}/bin/server", "-host", _HOST, "-port", str(port)),
                answers=lambda: probes.toxiproxy(_HOST, port),
                environment={"LOG_LEVEL": "warn"},
            )
        ]

    def answers_as_a_whole(self, layout: Layout) -> None:
        probes.toxiproxy(_HOST, layout.port(8474))

    def settings(self, layout: Layout) -> dict[str, str]:
        return {}

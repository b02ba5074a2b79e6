"""Redis: always one; it holds nothing that may not be lost."""

from pathlib import Path

from infra.stack import probes
from infra.stack.install import DebianProgram
from infra.stack.layout import INFRA, LOOPBACK, Layout
from infra.stack.server import Server


class Redis:
    name = "redis"
    # redis-tools has the server's program, too, but not the service that redis-server would start.
    program = DebianProgram("redis", "redis-server", package="redis-tools", installs="redis-check-rdb")

    def names(self, layout: Layout) -> list[str]:
        return [self.name]

    def servers(self, layout: Layout, program: Path) -> list[Server]:
        folder, port = layout.data(self.name), layout.port(6379)
        # Protected, it refuses callers from elsewhere that show no password.
        protected = "yes" if layout.host == LOOPBACK else "no"
        own = ("--bind", layout.host, "--port", str(port), "--dir", str(folder), "--protected-mode", protected)
        return [
            Server(
                name=self.name,
                ports=[(layout.host, port)],
                command=(f"{program}/bin/redis-server", f"{INFRA}/redis/redis.conf", *own),
                answers=lambda: probes.redis(layout.host, port),
                prepare=lambda: folder.mkdir(parents=True, exist_ok=True),
            )
        ]

    def answers_as_a_whole(self, layout: Layout) -> None:
        probes.redis(layout.host, layout.port(6379))

    def settings(self, layout: Layout) -> dict[str, str]:
        return {"CHAT4ALL_REDIS_URL": f"redis://{layout.host}:{layout.port(6379)}/0"}

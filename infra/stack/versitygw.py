"""versitygw: an S3 gateway over a folder; a second S3 to hold the adapter against. Started by ``--only`` alone."""

from pathlib import Path

from infra.stack import probes
from infra.stack.install import GoProgram
from infra.stack.layout import Layout
from infra.stack.minio import credentials
from infra.stack.server import Server

_HOST = "127.0.0.1"


class Versitygw:
    """It takes MinIO's credentials: what is made at random once is enough for both."""

    name = "versitygw"
    program = GoProgram("versitygw", "github.com/versity/versitygw/cmd/versitygw", "v1.8.0")

    def names(self, layout: Layout) -> list[str]:
        return [self.name]

    def servers(self, layout: Layout, program: Path) -> list[Server]:
        port, folder = layout.port(7070), layout.data(self.name)
        buckets, attributes = folder / "buckets", folder / "attributes"
        user, password = credentials(layout.state)

        def prepare() -> None:
            buckets.mkdir(parents=True, exist_ok=True)
            attributes.mkdir(exist_ok=True)

        return [
            Server(
                name=self.name,
                ports=[(_HOST, port)],
                # Attributes in a folder of their own: not every file system has room for them.
                command=(
                    f"{program}/bin/versitygw",
                    *("--port", f"{_HOST}:{port}", "--region", "us-east-1", "--health", "/health", "--quiet"),
                    *("posix", "--sidecar", str(attributes), str(buckets)),
                ),
                environment={"ROOT_ACCESS_KEY": user, "ROOT_SECRET_KEY": password, "GOMEMLIMIT": "200MiB"},
                answers=lambda: probes.versitygw(_HOST, port),
                prepare=prepare,
            )
        ]

    def answers_as_a_whole(self, layout: Layout) -> None:
        probes.versitygw(_HOST, layout.port(7070))

    def settings(self, layout: Layout) -> dict[str, str]:
        user, password = credentials(layout.state)
        return {
            "CHAT4ALL_VERSITYGW_ENDPOINT": f"http://{_HOST}:{layout.port(7070)}",
            "CHAT4ALL_VERSITYGW_ACCESS_KEY": user,
            "CHAT4ALL_VERSITYGW_SECRET_KEY": password,
        }

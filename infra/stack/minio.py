"""
MinIO: one process; with three nodes it spreads every object over four drives, any one of which may be lost.

Several processes would show no more on one machine than four folders do, and cost 100 MiB each.
"""

import contextlib
import os
import secrets
from pathlib import Path
from tempfile import NamedTemporaryFile

from infra.stack import probes
from infra.stack.install import GoProgram
from infra.stack.layout import INFRA, Layout
from infra.stack.server import Server

_DRIVES = 4


class Minio:
    name = "minio"
    program = GoProgram("minio", "github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c")

    def names(self, layout: Layout) -> list[str]:
        return [self.name]

    def servers(self, layout: Layout, program: Path) -> list[Server]:
        port = layout.port(9000)
        drives = _drives(layout)
        user, password = credentials(layout.state)

        def prepare() -> None:
            for drive in drives:
                drive.mkdir(parents=True, exist_ok=True)

        return [
            Server(
                name=self.name,
                ports=[(layout.host, port)],
                command=(
                    f"{program}/bin/minio",
                    "server",
                    "--quiet",
                    "--address",
                    f"{layout.host}:{port}",
                    *map(str, drives),
                ),
                environment={**_environment_file(), "MINIO_ROOT_USER": user, "MINIO_ROOT_PASSWORD": password},
                answers=lambda: probes.minio(layout.host, port),
                prepare=prepare,
            )
        ]

    def answers_as_a_whole(self, layout: Layout) -> None:
        probes.minio(layout.host, layout.port(9000))

    def settings(self, layout: Layout) -> dict[str, str]:
        user, password = credentials(layout.state)
        return {
            "CHAT4ALL_MINIO_ENDPOINT": f"http://{layout.host}:{layout.port(9000)}",
            "CHAT4ALL_MINIO_ACCESS_KEY": user,
            "CHAT4ALL_MINIO_SECRET_KEY": password,
        }


def credentials(state: Path) -> tuple[str, str]:
    """Access key and secret key of this stack, made at random when first asked for; the file is for its owner only."""
    file = state / "minio.credentials"
    if not file.exists():
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        with NamedTemporaryFile("w", dir=state, prefix=".minio.credentials.") as partial:
            partial.write(f"chat4all-{secrets.token_hex(6)}\n{secrets.token_urlsafe(30)}\n")
            partial.flush()
            with contextlib.suppress(FileExistsError):  # the first one wins, whole
                os.link(partial.name, file)
    user, password = file.read_text().split()
    return user, password


def _drives(layout: Layout) -> list[Path]:
    folder = layout.data("minio")
    return [folder] if layout.nodes == 1 else [folder / f"drive-{number}" for number in range(1, _DRIVES + 1)]


def _environment_file() -> dict[str, str]:
    lines = (INFRA / "minio/minio.env").read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name: value for name, value in pairs}

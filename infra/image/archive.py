"""Writes container images without an engine: archives in Docker's format, which ``ctr images import`` takes."""

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infra.image.rootfs import ENTRYPOINT, ENVIRONMENT, LABELS

USER = "65532:65532"  # a number: the kubelet cannot tell whether a name is root
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Image:
    """layers: uncompressed tar files, lowest first; labels and environment go into the image's configuration."""

    name: str
    layers: Sequence[bytes]
    entrypoint: Sequence[str]
    environment: Sequence[str] = (_PATH,)
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def configuration(self) -> bytes:
        digests = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in self.layers]
        return json.dumps(
            {
                "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
                "os": "linux",
                "config": {
                    "Entrypoint": list(self.entrypoint),
                    "Env": list(self.environment),
                    "Labels": dict(self.labels),
                    "User": USER,
                    "WorkingDir": "/",
                },
                "rootfs": {"type": "layers", "diff_ids": digests},
            }
        ).encode()


def file_layer(source: Path, path: str) -> bytes:
    """A layer of one program, and of a /tmp."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        layer.addfile(folder)
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.mode = 0o755
        entry.size = source.stat().st_size
        with source.open("rb") as content:
            layer.addfile(entry, content)
    return buffer.getvalue()


def folder_layer(source: Path) -> bytes:
    """
    A layer of everything below a folder: the same content is the same layer.

    So it is owned by root, without times, and everybody may read it, whatever the umask of who made it: a function
    runs as nobody. A folder that is everybody's to write in, as /tmp, stays so.
    """

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        if entry.isdir() and entry.mode & stat.S_ISVTX:
            entry.mode = 0o1777
        else:
            entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        for path in sorted(source.rglob("*")):
            layer.add(path, str(path.relative_to(source)), recursive=False, filter=plain)
    return buffer.getvalue()


def of_functions(root: Path, name: str) -> Image:
    """The functions' image, of their root file system."""
    environment = [f"{key}={value}" for key, value in ENVIRONMENT.items()]
    return Image(name, [folder_layer(root)], ENTRYPOINT, environment, LABELS)


def write_archive(images: Iterable[Image], target: Path) -> None:
    manifest = []
    with tarfile.open(target, "w") as archive:

        def add(name: str, content: bytes) -> str:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
            return name

        for one in images:
            digest = hashlib.sha256(one.configuration).hexdigest()
            manifest.append(
                {
                    "Config": add(f"{digest}.json", one.configuration),
                    "RepoTags": [one.name],
                    "Layers": [add(f"{hashlib.sha256(layer).hexdigest()}/layer.tar", layer) for layer in one.layers],
                }
            )
        add("manifest.json", json.dumps(manifest).encode())

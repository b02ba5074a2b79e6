"""Puts an overlay together, as ``kubectl apply -k`` does before it sends anything."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from infra.stack.install import GoProgram, install

PROGRAM = GoProgram("kustomize", "sigs.k8s.io/kustomize/kustomize/v5", "v5.7.1")
"""The one in kubectl 1.34; built once where there is neither kubectl nor kustomize."""

Manifest = dict[str, Any]


class RenderError(Exception):
    """kustomize refuses the folder; the text is what it says."""


def render(folder: Path) -> str:
    """
    The manifests of one overlay, as YAML.

    Raises:
        RenderError: kustomize refuses the folder.
        InstallError: there is no kustomize, and none can be built.
    """
    ended = subprocess.run((*_kustomize(), str(folder)), capture_output=True, text=True)
    if ended.returncode != 0:
        raise RenderError(ended.stderr.strip())
    return ended.stdout


def manifests(folder: Path) -> list[Manifest]:
    """The same, read. Raises as ``render``."""
    return list(yaml.load_all(render(folder), yaml.CSafeLoader))


def _kustomize() -> tuple[str, ...]:
    if kubectl := shutil.which("kubectl"):
        return (kubectl, "kustomize")
    if kustomize := shutil.which("kustomize"):
        return (kustomize, "build")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")  # noqa: TID251 where caches are
    return (str(install(PROGRAM, cache / "chat4all") / "bin/kustomize"), "build")

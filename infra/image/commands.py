"""The programs that make the image."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path


class ImageError(Exception):
    """The image, or the bill of what is in it, cannot be made; the text is for people."""


def uv(repository: Path) -> tuple[str, ...]:
    """The command: the repository's own uv, or whichever is on the PATH."""
    own = repository / ".venv/bin/uv"
    return (str(own) if own.exists() else "uv", "--no-progress")


def run(*command: str, folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """
    Returns: what it printed.

    Raises:
        ImageError: it is not installed, may not be run, or failed.
    """
    try:
        ended = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | (environment or {}),  # noqa: TID251 the tools need the caller's PATH and proxies
            capture_output=True,
            text=True,
        )
    except OSError as error:
        if error.filename == command[0] and isinstance(error, FileNotFoundError):
            raise ImageError(f"{command[0]} is not installed") from None
        raise ImageError(f"{command[0]} could not be run: {error}") from None
    if ended.returncode != 0:
        raise ImageError(f"{' '.join(command[:4])} …: {ended.stderr.strip()[-2000:]}")
    return ended.stdout

"""What is in the image, as CycloneDX 1.5: what uv.lock names for the product, and the packages of Debian below it."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from infra.image.commands import run

EXTRAS = ("servers", "otel")
"""Of the product, which the image has."""

PATH = "usr/share/sbom/chat4all.cdx.json"
"""Where it is in the image."""


def bill_of_materials(repository: Path, uv: Sequence[str], debian: Iterable[dict[str, str]] = ()) -> dict[str, Any]:
    """
    Asks no network: uv.lock says it all. The same lock makes the same bill: no time and no random number is in it.

    Arguments:
        uv: the command.
        debian: components to add.

    Raises:
        ImageError: there is no uv, or it refuses the lock.
    """
    extras = [option for extra in EXTRAS for option in ("--extra", extra)]
    export = (*uv, "--quiet", "export", "--frozen", "--no-dev", "--format", "cyclonedx1.5", *extras)
    bill: dict[str, Any] = json.loads(run(*export, folder=repository))
    del bill["serialNumber"], bill["metadata"]["timestamp"]
    bill["components"] = [*bill["components"], *debian]
    return bill

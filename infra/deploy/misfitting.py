"""What an overlay tells functions that none of them would start with: found before pods fail one after the other."""

from collections.abc import Iterable, Iterator, Mapping

from infra.deploy.plan import containers
from infra.deploy.unsaid import is_unsaid, values_of
from infra.manifests.kustomize import Manifest
from shared.settings import misfits

HEADING = "functions would not start with what the overlay tells them (docs/reference/settings.md):"


def misfitting(manifests: Iterable[Manifest]) -> list[str]:
    """A line for each: what it is, where, and why. What is only unsaid yet is left to infra/deploy/unsaid.py."""
    lines: list[str] = []
    for one in manifests:
        for told in _told(one):
            said = {name: value for name, value in told.items() if not is_unsaid(one, name, value)}
            where = f"in the {one['kind']} {one['metadata']['name']}"
            lines += [f"{name} {where}: {why}" for name, why in misfits(said).items()]
    return list(dict.fromkeys(lines))


def _told(manifest: Manifest) -> Iterator[Mapping[str, str]]:
    if manifest["kind"] in ("ConfigMap", "Secret"):
        yield {name: value for name, value in values_of(manifest).items() if value is not None}
    for container in containers(manifest):
        yield {one["name"]: str(one["value"]) for one in container.get("env") or [] if one.get("value") is not None}

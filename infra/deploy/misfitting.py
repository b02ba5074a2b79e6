"""What an overlay tells functions that none of them would start with: found before pods fail one after the other."""

from collections.abc import Iterable, Iterator, Mapping

from infra.deploy.plan import containers
from infra.deploy.unsaid import NEW_KEY, is_unsaid, values_of
from infra.manifests.kustomize import Manifest
from shared.adapters.local.vault import FernetVault
from shared.runtime.choices import split
from shared.settings import misfits

_KEY = "CHAT4ALL_SECRET_KEY"


def misfitting(manifests: Iterable[Manifest]) -> list[str]:
    """A line for each: what it is, where, and why. What is only unsaid yet is left to infra/deploy/unsaid.py."""
    lines = (
        f"{name} in the {one['kind']} {one['metadata']['name']}: {why}"
        for one in manifests
        for told in _told(one)
        for name, why in _misfits({name: value for name, value in told.items() if not is_unsaid(one, name, value)})
    )
    return list(dict.fromkeys(lines))


def _told(manifest: Manifest) -> Iterator[Mapping[str, str]]:
    if manifest["kind"] in ("ConfigMap", "Secret"):
        yield {name: value for name, value in values_of(manifest).items() if value is not None}
    for container in containers(manifest):
        yield {one["name"]: str(one["value"]) for one in container.get("env") or [] if one.get("value") is not None}


def _misfits(told: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    yield from misfits(told).items()
    if _KEY in told and not _is_key(told[_KEY]):
        yield _KEY, f"no Fernet key, or several with commas between; make one by: {NEW_KEY}"


def _is_key(text: str) -> bool:
    try:
        FernetVault([key.encode() for key in split(text)])
    except ValueError:
        return False
    return True


def refusal(lines: Iterable[str]) -> str:
    """For people: all of them, and where it is explained."""
    listed = "".join(f"  {line}\n" for line in lines)
    return (
        f"functions would not start with what the overlay tells them (docs/reference/settings.md):\n{listed.rstrip()}"
    )

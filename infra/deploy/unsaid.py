"""What an overlay leaves as the examples have it: host names that nobody owns, passwords that nobody chose."""

import base64
import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_network

from infra.manifests.kustomize import Manifest
from shared.domain.sealing_keys import NEW_KEY

_EXAMPLE_HOST = re.compile(
    r"(?<![\w-])(?:(?:[\w-]+\.)*example\.(?:org|com|net)|(?:[\w-]+\.)+example)(?!\.?[\w-])", re.IGNORECASE
)
_PLACEHOLDER = re.compile(r"\b(?:PASSWORD|USER)\b")
_PROXIES = "CHAT4ALL_TRUSTED_PROXIES"

HEADING = "the overlay leaves unsaid what is yours; say it in an overlay of your own (docs/guides/production.md):"


def unsaid(manifests: Iterable[Manifest]) -> list[str]:
    """A line for each thing that is to be said yet: what it is, and where to say it. One image is of many objects."""
    lines = (line for one in manifests for line in (*_of_secret(one), *_of_proxies(one), *_of_hosts(one)))
    return list(dict.fromkeys(lines))


def _of_secret(manifest: Manifest) -> Iterator[str]:
    """Only of a Secret that the overlay makes: what one in the cluster holds is nobody's to read."""
    if manifest["kind"] != "Secret":
        return
    for name, value in values_of(manifest).items():
        at = f"{name} in the Secret {manifest['metadata']['name']}"
        if value is None:
            yield f"{at} is no base64: encode it, or write it into stringData"
        elif not value.strip():
            how = f"make one by: {NEW_KEY}" if name == "CHAT4ALL_SECRET_KEY" else "fill it in, or leave its line out"
            yield f"{at} is empty: {how} (the file that secretGenerator reads)"
        elif found := sorted(set(_PLACEHOLDER.findall(value))):
            yield f"{at} still says {' and '.join(found)}: fill it in (the file that secretGenerator reads)"


def values_of(manifest: Manifest) -> dict[str, str | None]:
    """Of a ConfigMap or a Secret; None is what is no base64 where it must be some."""
    if manifest["kind"] == "ConfigMap":
        return dict(_map(manifest, "data"))
    return {name: _decoded(value) for name, value in _map(manifest, "data")} | dict(_map(manifest, "stringData"))


def is_unsaid(manifest: Manifest, name: str, value: str) -> bool:
    """Whether ``unsaid`` has a line for it already, which says better what to do than that it does not fit."""
    if manifest["kind"] == "Secret":
        return not value.strip() or bool(_PLACEHOLDER.search(value))
    return manifest["kind"] == "ConfigMap" and name == _PROXIES


def _of_proxies(manifest: Manifest) -> Iterator[str]:
    """What is no address and no network among the proxies that functions are told to trust: they would not start."""
    told = dict(_map(manifest, "data")).get(_PROXIES) if manifest["kind"] == "ConfigMap" else ""
    if unknown := [part for part in map(str.strip, (told or "").split(",")) if part and not _is_network(part)]:
        yield (
            f"{_PROXIES} has {', '.join(unknown)}: set it to the network of your pods "
            "(configMapGenerator), or no function with an HTTP face starts"
        )


def _of_hosts(manifest: Manifest) -> Iterator[str]:
    if manifest["kind"] == "Secret":
        return
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    for path, text in _texts(manifest):
        if found := _EXAMPLE_HOST.search(text):
            if path.endswith("/image"):
                where = f"the image {text} is of {found[0]}: name it (images)"
            elif kind == "ConfigMap":
                where = f"{path.removeprefix('/data/')} has {found[0]}: set it (configMapGenerator)"
            else:
                where = f"{path} of the {kind} {name} has {found[0]}: replace it (patches)"
            yield f"{where} by a host of your own"


def _map(manifest: Manifest, field: str) -> Iterable[tuple[str, str]]:
    """A number without quotes is refused by the API server, which says so better than a traceback from here."""
    return [(name, "" if value is None else str(value)) for name, value in (manifest.get(field) or {}).items()]


def _texts(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text below, with the path that a patch names it by."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, f"{path}/{key.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _texts(inner, f"{path}/{at}")
    elif isinstance(value, str):
        yield path, value


def _decoded(text: str) -> str | None:
    """As the API server reads it: it takes line breaks, and nothing else that is no letter of base64."""
    try:
        return base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True).decode(errors="replace")
    except ValueError:
        return None


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True

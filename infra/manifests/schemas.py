"""Whether the API server would take a manifest as it is written: every field known, every value of its type."""

import json
from collections.abc import Iterator
from functools import cache

import kubernetes_validate
from jsonschema import Draft202012Validator

from infra.manifests.definitions import SCHEMAS
from infra.manifests.kustomize import Manifest

KUBERNETES = "1.34"
"""What scripts/cluster runs."""


class UnknownKindError(Exception):
    """No schema of this kind and version is at hand."""


def problems(manifest: Manifest) -> Iterator[str]:
    """
    What is wrong with it, each with the place: ``spec.broker: 1 is not of type 'string'``.

    Raises:
        UnknownKindError: whether it is right cannot be told.
    """
    api_version, kind = manifest["apiVersion"], manifest["kind"]
    own = _definition(api_version, kind)
    if own is not None:
        yield from (_said(error.absolute_path, error.message) for error in own.iter_errors(manifest))
        return
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        raise UnknownKindError(f"{api_version} {kind}") from None
    except kubernetes_validate.ValidationError as error:
        yield _said(error.absolute_path, error.message)


@cache
def _definition(api_version: str, kind: str) -> Draft202012Validator | None:
    path = SCHEMAS / f"{kind.lower()}-{api_version.replace('/', '-')}.json"
    return Draft202012Validator(json.loads(path.read_text())) if path.is_file() else None


def _said(place: object, what: str) -> str:
    return f"{'.'.join(map(str, place))}: {what}"  # type: ignore[call-overload]

"""Where the bytes of files are: in a folder, whose presigned URLs this process serves, or in an S3."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from shared.ports import Clock, ObjectStore
from shared.runtime.dependency import Dependency
from shared.runtime.wiring_error import WiringError

if TYPE_CHECKING:
    from shared.adapters.s3.settings import S3Settings
    from shared.runtime.choices import Choices

_FIELDS = ("endpoint", "public_endpoint", "bucket", "region", "access_key", "secret_key")


class OpenedObjects(NamedTuple):
    """
    ``serve``: the ASGI application of presigned URLs, None when they lead elsewhere. ``ping`` raises OSError when the
    store does not answer.
    """

    store: ObjectStore
    serve: Any
    ping: Callable[[], Awaitable[None]]


@asynccontextmanager
async def open_folder(folder: Path, *, url: str, clock: Clock) -> AsyncIterator[OpenedObjects]:
    """
    Args:
        url: how clients reach this process; presigned URLs begin with it.

    Raises:
        OSError: the folder cannot be used.
    """
    from shared.adapters.filesystem.endpoint import ObjectsEndpoint
    from shared.adapters.filesystem.objects import FilesystemObjects
    from shared.adapters.local.vault import load_or_create_key
    from shared.domain.file import MAX_SIZE
    from shared.http.middleware import Border

    async def ping() -> None:
        (folder / "objects").stat()

    objects = FilesystemObjects(
        folder / "objects", key=load_or_create_key(folder / "objects.key"), base_url=url, clock=clock
    )
    try:
        yield OpenedObjects(objects, Border(ObjectsEndpoint(objects), max_body=MAX_SIZE), ping)
    finally:
        objects.close()


@asynccontextmanager
async def open_s3(settings: "S3Settings") -> AsyncIterator[OpenedObjects]:
    """Nothing is asked, nor boto3 imported, until the store is first used."""
    from shared.adapters.s3.object_store import S3ObjectStore

    store = S3ObjectStore(settings)
    try:
        yield OpenedObjects(store, None, store.ping)
    finally:
        await store.close()


def open_objects(folder: Path | None, choices: "Choices", clock: Clock) -> AbstractAsyncContextManager[OpenedObjects]:
    """
    Raises:
        WiringError: neither an S3 nor a folder was said.
    """
    if choices.s3 is not None:
        return open_s3(choices.s3)
    if folder is None:
        raise WiringError("CHAT4ALL_OBJECT_STORE=folder needs CHAT4ALL_DATA_DIR: the folder is in it")
    return open_folder(folder, url=choices.url, clock=clock)


def dependency(objects: OpenedObjects) -> Dependency:
    """Messages go on without files."""

    async def check() -> str:
        await objects.ping()
        return "answers"

    return Dependency(check, needed=False)


def s3_settings(cfg: Mapping[str, str], *, mode: str) -> "S3Settings | None":
    """
    What the environment of a function says; None when files are in a folder.

    Raises:
        WiringError: there is no such kind of store.
    """
    from shared.adapters.s3.settings import S3Settings

    chosen = cfg.get("CHAT4ALL_OBJECT_STORE") or ("folder" if mode == "embedded" else "s3")
    if chosen not in ("folder", "s3"):
        raise WiringError(f"CHAT4ALL_OBJECT_STORE={chosen}: it is 'folder' or 's3'")
    if chosen == "folder":
        return None
    given: dict[str, Any] = {
        name: value
        for name in _FIELDS
        if (value := cfg.get(f"CHAT4ALL_S3_{name.upper()}") or cfg.get(f"CHAT4ALL_MINIO_{name.upper()}"))
    }
    return S3Settings(**given)

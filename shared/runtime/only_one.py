"""One ``up`` on a data directory, and no function beside an embedded one: its log knows only what it writes itself."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.runtime import start_error
from shared.runtime.data_directory import unusable
from shared.runtime.start_error import StartError


@contextmanager
def only_one(data_dir: Path) -> Iterator[None]:
    """
    The kernel lets go of the lock when the process dies, however it dies.

    Raises:
        StartError: another process has it, or the data directory cannot be used.
    """
    try:
        lock = (data_dir / "lock").open("w")
    except OSError as error:
        raise unusable(data_dir, error) from error
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartError(
                f"another instance runs on {data_dir}; stop it, or give this one its own --data-dir",
                start_error.ALREADY_RUNNING,
            ) from error
        yield

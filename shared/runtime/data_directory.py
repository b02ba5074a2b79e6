"""The folder that a platform keeps its data in, made and found usable before anything else is."""

from pathlib import Path

from shared.runtime import start_error
from shared.runtime.start_error import StartError


def prepare(data_dir: Path) -> None:
    """
    Raises:
        StartError: it cannot be made or written.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = data_dir / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # another process may have had the same thought
    except OSError as error:
        raise unusable(data_dir, error) from error


def unusable(data_dir: Path, error: OSError) -> StartError:
    return StartError(
        f"the data directory {data_dir} cannot be used ({error.strerror}); "
        "choose another with --data-dir or CHAT4ALL_DATA_DIR",
        start_error.DATA_DIR_UNUSABLE,
    )

"""The image from the command line: ``python -m infra.image --help``."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.image.archive import of_functions, write_archive
from infra.image.bill_of_materials import bill_of_materials
from infra.image.commands import ImageError, uv
from infra.image.rootfs import make

_REPOSITORY = Path(__file__).resolve().parent.parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    given = parser.parse_args(arguments)
    if bool(given.folder) == given.bill or bool(given.archive) != bool(given.name) or (given.bill and given.archive):
        parser.error("name a FOLDER, or --bill; --archive and --name go together, with a FOLDER")
    if given.archive and not given.archive.parent.is_dir():
        parser.error(f"{given.archive.parent} is no folder")  # now, not when the image is made
    try:
        if given.bill:
            sys.stdout.write(json.dumps(bill_of_materials(_REPOSITORY, uv(_REPOSITORY)), indent=1) + "\n")
            return 0
        make(given.folder.absolute(), _REPOSITORY)
        if given.archive:
            write_archive([of_functions(given.folder, given.name)], given.archive)
    except ImageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:  # a folder where nothing can be made, a full disk
        sys.stderr.write(f"{error.filename or given.folder}: {error.strerror or error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.image",
        description="Makes the root file system of the functions' image, without a container engine; on Debian 12.",
    )
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="a new one, or an empty one; 260 MB")
    parser.add_argument("--archive", type=Path, metavar="FILE", help="the image of it too, in Docker's format")
    parser.add_argument("--name", metavar="NAME:TAG", help="of the image in the archive")
    parser.add_argument("--bill", action="store_true", help="print what is in the product (CycloneDX), make nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())

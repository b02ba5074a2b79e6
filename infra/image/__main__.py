"""``python -m infra.image FOLDER``: the root file system into a new folder."""

import sys
from pathlib import Path

from infra.image.rootfs import ImageError, make

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m infra.image FOLDER")
    try:
        make(Path(sys.argv[1]).absolute(), Path(__file__).resolve().parent.parent.parent)
    except ImageError as error:
        sys.exit(str(error))

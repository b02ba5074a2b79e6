"""``python -m infra.image FOLDER``: the root file system, into a new folder; ``--bill``: what is in the product."""

import json
import sys
from pathlib import Path

from infra.image.bill_of_materials import bill_of_materials
from infra.image.rootfs import ImageError, make, uv

_REPOSITORY = Path(__file__).resolve().parent.parent.parent

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m infra.image FOLDER | --bill")
    if sys.argv[1] == "--bill":
        sys.stdout.write(json.dumps(bill_of_materials(_REPOSITORY, uv(_REPOSITORY)), indent=1) + "\n")
        sys.exit()
    try:
        make(Path(sys.argv[1]).absolute(), _REPOSITORY)
    except ImageError as error:
        sys.exit(str(error))

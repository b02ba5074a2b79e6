"""``python -m infra.manifests``: writes the schemas again; with ``--check`` only compares. Needs Go and its proxy."""

import sys

from infra.manifests.definitions import SCHEMAS, definitions

_USAGE = "usage: python -m infra.manifests [--check]"

if __name__ == "__main__":
    if sys.argv[1:] in (["-h"], ["--help"]):
        sys.stdout.write(f"{_USAGE}\n")
        sys.exit()
    made = {one.path: one.text for one in definitions()}
    there = {path: path.read_text() for path in SCHEMAS.glob("*.json")}
    if sys.argv[1:] == ["--check"]:
        sys.exit(None if made == there else "infra/manifests/schemas is not what `python -m infra.manifests` makes")
    if sys.argv[1:]:
        sys.exit(_USAGE)
    for path in there.keys() - made.keys():
        path.unlink()
    for path, text in made.items():
        path.write_text(text)
    sys.stdout.write(f"{len(made)} schemas in {SCHEMAS}\n")

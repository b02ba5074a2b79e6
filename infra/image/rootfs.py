"""
Makes the root file system of the one image that every function runs in.

Nothing is in it but Debian's Python with the libraries it needs, the product with what uv.lock names, and their
bill of materials: no shell, no package manager. No root and no container engine is needed to make it; it runs on
Debian 12, whose packages it takes.
"""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.image import bill_of_materials
from infra.image.commands import ImageError, run, uv

_PYTHON = "python3.11"
PRODUCT = "opt/chat4all"
ENTRYPOINT = (f"/usr/bin/{_PYTHON}", "-m", "shared.runtime")
ENVIRONMENT = {
    "PATH": "/usr/bin",
    "LANG": "C.UTF-8",
    "HOME": "/tmp",
    "PYTHONPATH": f"/{PRODUCT}",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
}
LABELS = {"org.opencontainers.image.licenses": "Apache-2.0"}
USER = 65532
SOURCES = (
    "events",
    "functions",
    "shared",
    "knative",
    "infra/image",
    "pyproject.toml",
    "uv.lock",
    "README.md",
    "LICENSE",
)
"""Of the repository, what goes into the image or makes it."""

_PACKAGES = (
    "ca-certificates",
    "libbz2-1.0",
    "libc6",
    "libcrypt1",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    f"lib{_PYTHON}-minimal",
    f"lib{_PYTHON}-stdlib",
    "libsqlite3-0",
    "libssl3",
    "libstdc++6",
    "libuuid1",
    "media-types",
    "netbase",
    f"{_PYTHON}-minimal",
    "tzdata",
    "zlib1g",
)
_NOT_NEEDED = (
    "usr/share/man",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bug",
    "usr/share/pixmaps",
    "usr/share/applications",
    "usr/share/binfmts",
    "usr/sbin",
    "usr/lib/binfmt.d",
    "usr/share/zoneinfo/right",
    f"usr/lib/{_PYTHON}/lib2to3",
    f"usr/lib/{_PYTHON}/ensurepip",
    f"usr/lib/{_PYTHON}/pydoc_data",
)


def make(target: Path, repository: Path) -> None:
    """
    Arguments:
        target: a folder that does not exist yet, or is empty.

    Raises:
        ImageError: there is something in it; a tool is missing or failed.
        OSError: nothing can be written there.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ImageError(f"{target} is there and not an empty folder: name a new one, or remove it first")
    _merge_usr(target)
    with TemporaryDirectory(prefix="chat4all-image-") as folder:
        debian = _unpack_debian(target, Path(folder))
    _trim(target)
    _write_accounts(target)
    _install(target / PRODUCT, repository)
    _write_bill(target, repository, debian)
    _compile(target)


def pinned(repository: Path) -> str:
    """A hash that changes with whatever of the repository goes into the image."""
    files = sorted(
        path
        for name in SOURCES
        for path in ([repository / name] if (repository / name).is_file() else (repository / name).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    )
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(repository)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _merge_usr(target: Path) -> None:
    for name in ("bin", "lib", "lib64", "sbin"):
        (target / "usr" / name).mkdir(parents=True)
        (target / name).symlink_to(f"usr/{name}")
    (target / "tmp").mkdir()
    (target / "tmp").chmod(0o1777)
    for name in ("dev", "etc/ssl/certs", "proc", "sys", "run"):
        (target / name).mkdir(parents=True)


def _unpack_debian(target: Path, folder: Path) -> list[dict[str, str]]:
    """Returns: what the bill of materials says of each package."""
    run("apt-get", "download", "-qq", *_PACKAGES, folder=folder)
    components = []
    for package in sorted(folder.glob("*.deb")):
        content = subprocess.Popen(("dpkg-deb", "--fsys-tarfile", package), stdout=subprocess.PIPE)
        # A package that has files in /lib does not replace the link to /usr/lib.
        options = ("--extract", "--keep-directory-symlink", "--no-same-owner", "--directory", target)
        subprocess.run(("tar", *options), stdin=content.stdout, check=True)
        if content.wait() != 0:
            raise ImageError(f"{package.name} cannot be unpacked")
        name, version, architecture = run(
            "dpkg-deb", "--show", "--showformat=${Package}\n${Version}\n${Architecture}", str(package), folder=folder
        ).split("\n")
        purl = f"pkg:deb/debian/{name}@{version}?arch={architecture}&distro=debian-12"
        components.append({"type": "library", "name": name, "version": version, "bom-ref": purl, "purl": purl})
    return components


def _trim(target: Path) -> None:
    for name in _NOT_NEEDED:
        shutil.rmtree(target / name, ignore_errors=True)
    (target / "usr/sbin").mkdir()
    for path in (target / "usr/share/doc").rglob("*"):
        if path.name != "copyright" and (path.is_symlink() or path.is_file()):
            path.unlink()
    for path in (target / f"usr/lib/{_PYTHON}").glob("config-*"):
        shutil.rmtree(path)


def _write_accounts(target: Path) -> None:
    etc = target / "etc"
    (etc / "passwd").write_text(f"root:x:0:0::/:/none\nchat4all:x:{USER}:{USER}::/tmp:/none\n")
    (etc / "group").write_text(f"root:x:0:\nchat4all:x:{USER}:\n")
    (etc / "nsswitch.conf").write_text("hosts: files dns\n")
    roots = sorted((target / "usr/share/ca-certificates").rglob("*.crt"))
    (etc / "ssl/certs/ca-certificates.crt").write_text("".join(path.read_text() for path in roots))


def _install(target: Path, repository: Path) -> None:
    """The product and what uv.lock names, each by its hash; wheels only, so nothing is compiled here."""
    extras = [option for extra in bill_of_materials.EXTRAS for option in ("--extra", extra)]
    names = run(*uv(repository), "export", "--frozen", "--no-dev", "--no-emit-project", *extras, folder=repository)
    target.parent.mkdir(parents=True, exist_ok=True)
    requirements = target.with_suffix(".txt")
    requirements.write_text(names)
    where = ("pip", "install", "--quiet", "--target", str(target), "--python-version", "3.11", "--no-deps")
    only = ("--require-hashes", "--only-binary", ":all:", "-r", str(requirements))
    run(*uv(repository), *where, *only, folder=repository)
    requirements.unlink()
    run(*uv(repository), *where, str(repository), folder=repository)
    shutil.rmtree(target / "bin", ignore_errors=True)
    for path in (target / ".lock", target / "uv_cache.json"):
        path.unlink(missing_ok=True)


def _write_bill(target: Path, repository: Path, debian: list[dict[str, str]]) -> None:
    bill = bill_of_materials.bill_of_materials(repository, uv(repository), debian)
    (target / bill_of_materials.PATH).parent.mkdir(parents=True)
    (target / bill_of_materials.PATH).write_text(json.dumps(bill, indent=1) + "\n")


def _compile(target: Path) -> None:
    """By the image's own Python. The files' times do not count, so layers without times fit."""
    (loader,) = target.glob("usr/lib*/ld-linux-*.so.[12]")  # lib64 and .2 on amd64, lib and .1 on arm64
    libraries = ":".join(str(path) for path in _library_folders(target))
    python = (str(loader), "--library-path", libraries, str(target / "usr/bin" / _PYTHON))
    options = (
        "-m",
        "compileall",
        "-q",
        "-j",
        "1",
        "--invalidation-mode",
        "unchecked-hash",
        "-s",
        str(target),
        "-p",
        "/",
    )
    for folder in (target / "usr/lib" / _PYTHON, target / PRODUCT):
        run(*python, *options, str(folder), folder=target, environment={"PYTHONHOME": str(target / "usr")})


def _library_folders(target: Path) -> Iterator[Path]:
    yield from (target / "usr/lib").glob("*-linux-gnu")

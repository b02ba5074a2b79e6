"""
Builds the cluster's programs from what is pinned, once.

Kubernetes, Knative and CoreDNS come from the Go module proxy, at the sums of the go.sum files of ``go/``; etcd,
containerd, crun and the network plugins are Debian's, unpacked and not installed. The result is a folder in the
cache named for what was pinned: it exists only when complete.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.cluster import knative
from infra.cluster.layout import HERE
from infra.image import archive
from infra.stack.install import InstallError, found, locked

_POLITE = ("nice", "-n", "19", "ionice", "-c3")
_KUBERNETES = "v1.34.4"
_VERSION = "k8s.io/component-base/version"
# Knative refuses a Kubernetes that does not say its version.
_STAMP = (
    f"-X {_VERSION}.gitVersion={_KUBERNETES} -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=34"
    f" -X {_VERSION}.gitTreeState=clean -X {_VERSION}.gitCommit=unknown"
    f" -X {_VERSION}.buildDate=1970-01-01T00:00:00Z"
)
_DEBIAN = ("containerd", "containernetworking-plugins", "crun", "etcd-client", "etcd-server", "nftables")

Say = Callable[[str, str], None]
"""Called with the name of what is meant and what happened to it."""


@dataclass(frozen=True, slots=True)
class GoProgram:
    """
    One program of one of the modules below ``go/``.

    in_image: it runs in a pod, so an image of it is made; otherwise it runs on the node.
    """

    name: str
    module: str
    package: str
    in_image: bool = False
    stamp: str = ""


_PROGRAMS = (
    *(
        GoProgram(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}", stamp=_STAMP)
        for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
    ),
    GoProgram("coredns", "coredns", ".", in_image=True),
    GoProgram("pause", "knative", "./pause", in_image=True),
    GoProgram("ingress", "knative", "./ingress", in_image=True),
    *(GoProgram(name, "knative", package, in_image=True) for package, name in knative.PROGRAMS.items()),
)


@dataclass(frozen=True, slots=True)
class Programs:
    """What a build leaves: ``bin`` and ``debian`` for the node, ``images`` to import, ``manifests`` to apply."""

    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def images(self) -> Path:
        return self.folder / "images.tar"

    @property
    def manifests(self) -> Path:
        return self.folder / f"manifests-{hashlib.sha256(Path(knative.__file__).read_bytes()).hexdigest()[:12]}"

    @property
    def network_plugins(self) -> Path:
        return self.folder / "debian/usr/lib/cni"

    @property
    def environment(self) -> dict[str, str]:
        """PATH and where the unpacked programs find their libraries."""
        debian = self.folder / "debian/usr"
        path = (
            self.bin,
            debian / "bin",
            debian / "sbin",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        libraries = [str(one) for one in (debian / "lib").glob("*-linux-gnu")]
        return {"PATH": ":".join(map(str, path)), "LD_LIBRARY_PATH": ":".join(libraries)}


def pinned() -> str:
    """A hash that changes exactly when something else is to be built."""
    sources = sorted(path for path in (HERE / "go").rglob("*") if path.is_file())
    content = [repr((_PROGRAMS, _DEBIAN)).encode(), *(path.read_bytes() for path in sources)]
    return hashlib.sha256(b"\0".join(content)).hexdigest()[:12]


def build(cache: Path, say: Say) -> Programs:
    """Whoever comes second waits for the first. Raises InstallError."""
    folder = cache / pinned()
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "build.lock", lambda: say("another", "build is at work; waiting for it")):
        if not folder.is_dir():
            partial = cache / f"{folder.name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            _build(Programs(partial), cache / "build.log", say)
            partial.rename(folder)
        built = Programs(folder)
        if not built.manifests.is_dir():
            say("manifests", "rendering Knative's own")
            knative.render(_module_folder, built.manifests)
    return built


def _build(target: Programs, log: Path, say: Say) -> None:
    log.write_text("")
    say("debian", f"unpacking {', '.join(_DEBIAN)}")
    _unpack_debian(target.folder / "debian", log)
    target.bin.mkdir()
    in_pods = target.folder / "pods"
    in_pods.mkdir()
    for number, program in enumerate(_PROGRAMS, 1):
        say(program.name, f"building, {number} of {len(_PROGRAMS)}")
        _go_build(program, in_pods if program.in_image else target.bin, log)
    say("images", "packing")
    archive.write_archive(map(_image, sorted(in_pods.iterdir())), target.images)
    shutil.rmtree(in_pods)


def _image(program: Path) -> archive.Image:
    path = f"/{program.name}"
    return archive.Image(f"dev.local/{program.name}:1", [archive.file_layer(program, path)], [path])


def _go_build(program: GoProgram, folder: Path, log: Path) -> None:
    go = found("go", "install Go, see https://go.dev/dl; Debian 12's own is too old")
    flags = ("-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {program.stamp}".strip())
    command = (go, "build", *flags, "-o", str(folder / program.name), program.package)
    _run(command, log, HERE / "go" / program.module, {"CGO_ENABLED": "0"})


def _module_folder(module: str) -> Path:
    """Of the sources of one of Knative's modules, in Go's module cache."""
    command = ("go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module)
    return Path(subprocess.check_output(command, cwd=HERE / "go/knative", text=True).strip())


def _unpack_debian(folder: Path, log: Path) -> None:
    """What this system lacks of these packages and of what they need; what it has is taken from where it is."""
    apt = found("apt-get", "this needs Debian or Ubuntu")
    packages = folder.with_suffix(".packages")
    (packages / "partial").mkdir(parents=True)
    fetch = ("install", "--download-only", "--reinstall", "-y", "-qq", "--no-install-recommends")
    where = ("-o", f"Dir::Cache::archives={packages}", "-o", "Debug::NoLocking=true", "-o", "APT::Sandbox::User=root")
    command = (apt, *where, *fetch, *_DEBIAN)
    try:
        _run(command, log)
    except InstallError:  # lists that are missing or old
        _run((apt, "update", "-qq"), log)
        _run(command, log)
    folder.mkdir()
    for package in sorted(packages.glob("*.deb")):
        _run(("dpkg-deb", "-x", str(package), str(folder)), log)
    shutil.rmtree(packages)


def _run(
    command: Sequence[str], log: Path, folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> None:
    with log.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        ended = subprocess.run(
            (*_POLITE, *command),
            cwd=folder,
            env=os.environ | (environment or {}),  # noqa: TID251 the tools need the caller's PATH and proxies
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if ended.returncode != 0:
        raise InstallError(f"{command[0]} ended with {ended.returncode}; what it said is in {log}")

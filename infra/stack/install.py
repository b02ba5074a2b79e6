"""
Fetches what is pinned, once, from package registries: Maven Central, Go's module proxy, Debian.

Each program has a folder in the cache, named for what is pinned: another version is another folder, and a folder
that exists is complete.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_POLITE = ("nice", "-n", "19")


class InstallError(Exception):
    """Something cannot be installed; the text says what is missing and what to do."""


class Program(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def pinned(self) -> str:
        """Changes exactly when something else is to be installed."""

    def install(self, folder: Path, log: Path) -> None:
        """Puts it into ``folder``; what the tools say goes to ``log``. Raises InstallError."""


def folder_of(program: Program, cache: Path) -> Path:
    """Where it is, or will be when it is installed."""
    return cache / f"{program.name}-{hashlib.sha256(program.pinned.encode()).hexdigest()[:12]}"


def install(program: Program, cache: Path) -> Path:
    """The program's folder, after installing if need be; whoever comes second waits for the first."""
    folder = folder_of(program, cache)
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f"{folder.name}.lock"):
        if not folder.is_dir():
            partial = cache / f"{folder.name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            program.install(partial, cache / f"{folder.name}.log")
            partial.rename(folder)
    return folder


@contextmanager
def locked(path: Path, when_it_is_not_free: Callable[[], None] = lambda: None) -> Iterator[None]:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            when_it_is_not_free()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _used_together(folder: Path) -> Iterator[Path]:
    """
    A folder for all who build at the same time, so that Go's own library is compiled once. Whoever leaves last
    removes it: it is gigabytes, and of no more use.
    """
    with folder.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        folder.mkdir(exist_ok=True)
        try:
            yield folder
        finally:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)


@dataclass(frozen=True, slots=True)
class Jars:
    """Everything that a pom.xml asks for, in ``lib/``."""

    name: str
    pom: Path

    @property
    def pinned(self) -> str:
        return self.pom.read_text()

    def install(self, folder: Path, log: Path) -> None:
        maven = found("mvn", "apt-get install maven")
        goal = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'lib'}")
        _run((maven, "-B", "-f", str(self.pom), *goal), log, {"MAVEN_OPTS": "-Xmx384m -XX:+UseSerialGC"})


@dataclass(frozen=True, slots=True)
class GoProgram:
    """One program built by ``go install``, in ``bin/``. The proxy's checksum database vouches for the sources."""

    name: str
    package: str
    version: str

    @property
    def pinned(self) -> str:
        return f"{self.package}@{self.version}"

    def install(self, folder: Path, log: Path) -> None:
        go = found("go", "install Go, see https://go.dev/dl; Debian 12's own is too old")
        with _used_together(folder.parent / "go-build") as build:
            environment = {
                "GOBIN": str(folder / "bin"),
                "GOMODCACHE": str(build / "modules"),
                "GOCACHE": str(build / "cache"),
                "GOFLAGS": "-trimpath -modcacherw -buildvcs=false",
                "CGO_ENABLED": "0",
            }
            _run((go, "install", "-ldflags=-s -w", self.pinned), log, environment)


@dataclass(frozen=True, slots=True)
class DebianProgram:
    """
    A program of a Debian package, in ``bin/``: the one of the system, which is installed if need be and permitted.

    installs: the file that the package has; the name in ``bin/`` is what makes it behave as ``name``.
    """

    name: str
    program: str
    package: str
    installs: str

    @property
    def pinned(self) -> str:
        return f"{self.program} of {self.package}"

    def install(self, folder: Path, log: Path) -> None:
        if not (shutil.which(self.program) or shutil.which(self.installs)):
            self._apt_install(log)
        there = shutil.which(self.program) or found(self.installs, f"apt-get install {self.package}")
        (folder / "bin").mkdir()
        (folder / "bin" / self.program).symlink_to(there)

    def _apt_install(self, log: Path) -> None:
        apt = found("apt-get", f"install {self.program} and put it on the PATH")
        if os.geteuid() != 0:
            raise InstallError(f"{self.program} is not installed: sudo apt-get install {self.package}")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        command = (apt, "install", "-y", "-qq", "--no-install-recommends", self.package)
        try:
            _run(command, log, quiet)
        except InstallError:  # lists that are missing or old
            _run((apt, "update", "-qq"), log, quiet)
            _run(command, log, quiet)


def found(program: str, remedy: str) -> str:
    """
    The path of a program.

    Raises:
        InstallError: it is not on the PATH.
    """
    path = shutil.which(program)
    if path is None:
        raise InstallError(f"{program} is not installed: {remedy}")
    return path


def _run(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
    with log.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        ended = subprocess.run(
            (*_POLITE, *command),
            env=os.environ | environment,  # noqa: TID251 the tools need the caller's PATH and proxies
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if ended.returncode != 0:
        raise InstallError(f"{command[0]} ended with {ended.returncode}; what it said is in {log}")

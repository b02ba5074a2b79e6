"""Programs are installed once, wholly or not at all."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from infra.stack.install import DebianProgram, GoProgram, InstallError, Jars, folder_of, install


@dataclass
class Tool:
    pinned: str = "tool 1"
    name: str = "tool"
    fails: bool = False
    times: list[Path] = field(default_factory=list)

    def install(self, folder: Path, log: Path) -> None:
        self.times.append(folder)
        (folder / "half").touch()
        if self.fails:
            raise InstallError("no network")
        (folder / "whole").touch()


def test_a_program_is_installed_once(tmp_path: Path) -> None:
    tool = Tool()

    folder = install(tool, tmp_path)

    assert install(tool, tmp_path) == folder_of(tool, tmp_path) == folder
    assert (folder / "whole").exists()
    assert len(tool.times) == 1


def test_two_who_want_it_at_once_install_it_once(tmp_path: Path) -> None:
    tool = Tool()
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: install(tool, tmp_path), range(4)))

    assert len(set(folders)) == 1
    assert len(tool.times) == 1


def test_half_an_installation_counts_for_nothing(tmp_path: Path) -> None:
    with pytest.raises(InstallError):
        install(Tool(fails=True), tmp_path)
    assert not folder_of(Tool(), tmp_path).exists()

    assert sorted(path.name for path in install(Tool(), tmp_path).iterdir()) == ["half", "whole"]


def test_another_version_is_another_folder(tmp_path: Path) -> None:
    assert install(Tool("tool 1"), tmp_path) != install(Tool("tool 2"), tmp_path)


def test_what_is_pinned_changes_with_what_is_to_be_installed(tmp_path: Path) -> None:
    pom = tmp_path / "pom.xml"
    pom.write_text("1")
    before = Jars("x", pom).pinned
    pom.write_text("2")

    assert Jars("x", pom).pinned != before
    assert GoProgram("x", "example.org/x", "v1").pinned != GoProgram("x", "example.org/x", "v2").pinned


GO_OF_OURS = """#!/bin/sh
# Stands where Go's compiler would; fails unless it meets the other builders in its cache.
mkdir -p "$GOCACHE" && touch "$GOCACHE/$3"
tries=0
until [ "$(ls "$GOCACHE" | wc -l)" -eq "$BUILDERS" ]; do
  tries=$((tries + 1)); [ $tries -lt 100 ] || exit 1
  sleep 0.05
done
"""


@pytest.mark.parametrize("builders", [1, 2])
def test_who_builds_at_the_same_time_shares_one_cache_and_nobody_leaves_it(
    builders: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = tmp_path / "path" / "go"
    go.parent.mkdir()
    go.write_text(GO_OF_OURS)
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(go.parent), prepend=os.pathsep)
    monkeypatch.setenv("BUILDERS", str(builders))
    cache = tmp_path / "cache"

    with ThreadPoolExecutor(builders) as pool:
        programs = [GoProgram(f"p{number}", f"p{number}", "v1") for number in range(builders)]
        folders = list(pool.map(lambda program: install(program, cache), programs))

    assert all(folder.is_dir() for folder in folders)
    assert not (cache / "go-build").exists()


@pytest.mark.parametrize(
    "program",
    [Jars("x", Path("pom.xml")), GoProgram("x", "example.org/x", "v1"), DebianProgram("x", "x", "x-tools", "y")],
)
def test_a_missing_tool_is_named_with_its_remedy(
    program: Jars | GoProgram | DebianProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(InstallError, match=r"is not installed: .*install"):
        program.install(tmp_path, tmp_path / "log")

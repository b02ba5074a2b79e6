"""scripts/install over what an installation that was interrupted has left (design.md 1: one command)."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON_THAT_MAKES_NONE = """#!/bin/sh
case $1 in -c) exit 0 ;; esac
echo "asked: $*" >&2
exit 7
"""
PYTHON_WITHOUT_PIP = """#!/bin/sh
case $1 in -c) exit 0 ;; esac
echo "No module named pip" >&2
exit 1
"""
PYTHON_WITH_PIP = """#!/bin/sh
case "$*" in *install*) echo "pip was asked" >&2; exit 8 ;; esac
exit 0
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/install", "uv.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/pyvenv.cfg").touch()
    for tool in ("sh", "dirname", "cksum", "cut", "cat", "rm"):
        found = shutil.which(tool)
        assert found
        _program(tmp_path / "bin" / tool, f'#!/bin/sh\nexec {found} "$@"\n')
    _program(tmp_path / "bin/python3", PYTHON_THAT_MAKES_NONE)
    return tmp_path


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _install(clone: Path) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PATH": str(clone / "bin")}  # noqa: TID251  of the process that is started
    return subprocess.run(["/bin/sh", clone / "scripts/install"], env=env, capture_output=True, text=True, check=False)


def test_an_environment_without_pip_is_made_anew(clone: Path) -> None:
    _program(clone / ".venv/bin/python", PYTHON_WITHOUT_PIP)
    (clone / ".venv/left").touch()
    done = _install(clone)
    assert "asked: -m venv .venv" in done.stderr
    assert not (clone / ".venv/left").exists()


def test_an_environment_with_pip_is_kept(clone: Path) -> None:
    _program(clone / ".venv/bin/python", PYTHON_WITH_PIP)
    done = _install(clone)
    assert done.returncode == 8
    assert "pip was asked" in done.stderr
    assert (clone / ".venv/pyvenv.cfg").exists()

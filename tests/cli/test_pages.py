"""What README and the guides name is there: files, commands, scripts (issue 3: a newcomer finds the way)."""

import os
import re
from pathlib import Path

import pytest
from typer.main import get_command

from shared.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "docs" / "guides" / "first-steps.md"]
_PATH = re.compile(r"(?<![\w/.:])((?:docs|events|functions|infra|knative|scripts|sdk|shared|tests)/[\w./-]*\w)")
_COMMAND = re.compile(r"(?:scripts/|`|^|\$\(|: )chat4all ((?:[a-z]+ ?){1,2})", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_every_file_that_a_page_names_exists(page: Path) -> None:
    missing = {path for path in _PATH.findall(page.read_text()) if not (ROOT / path).exists()}
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_every_command_that_a_page_names_exists(page: Path) -> None:
    root = get_command(app)
    for words in _COMMAND.findall(page.read_text()):
        command = root
        for word in words.split():
            children = getattr(command, "commands", None)
            if not children:
                break
            assert word in children, f"chat4all {words}"
            command = children[word]


@pytest.mark.parametrize("name", ["up", "chat4all", "test", "check", "fix", "install"])
def test_every_script_can_be_run(name: str) -> None:
    assert os.access(ROOT / "scripts" / name, os.X_OK)

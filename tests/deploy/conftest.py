"""A cluster that is a program called kubectl: it notes what it is told and says what the test put into its folder."""

import json
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_PROGRAM = """\
#!{python}
import json, sys
from pathlib import Path
folder = Path({folder!r})
told = sys.argv[1:]
given = sys.stdin.read() if "-" in told else ""
if "kustomize" in told:
    given = (Path(told[-1]) / "kustomization.yaml").read_text()
with (folder / "told").open("a") as file:
    file.write(json.dumps({{"program": {name!r}, "told": told, "given": given}}) + "\\n")
for rule in json.loads((folder / "rules").read_text()):
    if all(one in told for one in rule["told"]):
        answers = rule["answers"]
        at = folder / ("asked-" + "-".join(rule["told"]).replace("/", "_"))
        n = int(at.read_text()) if at.exists() else 0
        at.write_text(str(n + 1))
        answer = answers[min(n, len(answers) - 1)]
        sys.stdout.write(answer if isinstance(answer, str) else json.dumps(answer))
        sys.stderr.write(rule["stderr"])
        sys.exit(rule["code"])
sys.exit("nobody said what to answer to " + " ".join(told))
"""


@dataclass
class FakeCluster:
    folder: Path

    def install(self, name: str) -> None:
        program = self.folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(_PROGRAM.format(python=sys.executable, folder=str(self.folder), name=name))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def answers(self, *told: str, by: list[Any], code: int = 0, stderr: str = "") -> None:
        """To a command that has all these words, one answer after the other; the last one stays."""
        path = self.folder / "rules"
        rules = json.loads(path.read_text()) if path.exists() else []
        path.write_text(json.dumps([{"told": told, "answers": by, "code": code, "stderr": stderr}, *rules]))

    @property
    def told(self) -> list[dict[str, Any]]:
        path = self.folder / "told"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def commands(self) -> list[str]:
        return [" ".join((one["program"], *one["told"])) for one in self.told]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    fake = FakeCluster(tmp_path)
    fake.install("kubectl")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return fake

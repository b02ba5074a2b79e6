"""
What the pages name is there: files, links, metrics, settings, events, tables (G6).

A page may be wrong in other ways; this finds the ways in which pages grow wrong by themselves.
"""

import re
from collections import Counter
from pathlib import Path

import pytest

from events import CATALOGUE
from shared.observability import metrics
from shared.repositories.schema import TABLES
from shared.runtime.start_error import EXIT_CODES
from shared.settings import PREFIX, READ_ELSEWHERE, Settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "events/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()
REQUIREMENTS = (ROOT / "docs/requirements.md").read_text()

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(r"`([^`\n]+)`")
_TOP = ("events", "functions", "infra", "knative", "shared", "sdk", "tests", "scripts", "docs", ".ci")
_PATH = re.compile(rf"(?<![\w/.<-])(?:{'|'.join(map(re.escape, _TOP))})/[\w./*<>-]+[\w/*>]")
_MADE_BY_THE_READER = re.compile(r"pigeon|skeleton_|NAME|<|^infra/\.env$")
"""Guides name files that their reader is about to write."""


def paths(text: str) -> set[str]:
    """Paths of this repository that ``text`` names, in prose, tables, drawings and commands."""
    return {found.rstrip("/") for found in _PATH.findall(text) if not _MADE_BY_THE_READER.search(found)}


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    made = []
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
        made.append(plain.replace(" ", "-"))
    return set(made)


def exists(path: str) -> bool:
    if "*" in path:
        return any(ROOT.glob(path))
    return (ROOT / path).exists()


def names_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=names_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.findall(_FENCE.sub("", page.read_text())):
        target, _, anchor = link.partition("#")
        if "://" in link or link.startswith("mailto:"):
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file.read_text())):
            broken.append(link)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=names_of)
def test_every_path_that_is_named_exists(page: Path) -> None:
    assert not sorted(path for path in paths(page.read_text()) if not exists(path))


@pytest.mark.parametrize("page", PAGES, ids=names_of)
def test_every_setting_that_is_named_exists(page: Path) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | set(READ_ELSEWHERE)
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]\b", page.read_text()))
    assert not sorted(named - known)


def metric_names() -> set[str]:
    named = {metrics.TRIGGER_LAG[0], metrics.TRIGGER_IN_FLIGHT[0], metrics.TRIGGER_CALL_LIMIT[0]}
    for family in metrics.REGISTRY.collect():
        named.add(family.name + ("_total" if family.type == "counter" else ""))
    return named


@pytest.mark.parametrize("page", PAGES, ids=names_of)
def test_every_metric_that_is_named_exists(page: Path) -> None:
    named = {
        re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bchat4all_[a-z_]+\b", page.read_text())
    }
    assert not sorted(named - metric_names() - {"chat4all_pigeon"})


def test_operations_lists_every_metric_and_every_exit_code() -> None:
    assert not sorted(name for name in metric_names() if f"| `{name}` |" not in OPERATIONS)
    assert not [code for code in EXIT_CODES if f"| {code} |" not in OPERATIONS]


def test_the_table_of_events_is_the_catalogue() -> None:
    assert set(re.findall(r"^\| `(chat4all\.[a-z0-9.]+)` \|", ARCHITECTURE, re.MULTILINE)) == set(CATALOGUE)


def test_the_table_of_tables_is_the_schema() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| ([^|]*) \|([^|]*)\|([^|]*)\|", ARCHITECTURE, re.MULTILINE)
    written = {name: (partition, clustering.strip(), marks.strip()) for name, partition, clustering, marks in rows}
    declared = {
        table.name: (
            ", ".join(table.partition),
            ", ".join(table.clustering),
            ", ".join(["CAS"] * table.conditional + ["TTL"] * table.expiring),
        )
        for table in TABLES
    }
    assert written == declared


def test_the_numbers_of_decisions_are_unique_and_each_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    pages = sorted((ROOT / "docs/adr").glob("*.md"))
    numbers = Counter(page.name[:4] for page in pages)
    assert all(re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", page.name) for page in pages)
    assert not [number for number, times in numbers.items() if times > 1]
    assert not [page.name for page in pages if f"(adr/{page.name})" not in index]
    assert not [page.name for page in pages if not re.match(rf"# 0*{int(page.name[:4])}\b", page.read_text())]


def test_every_decision_that_code_refers_to_is_there() -> None:
    known = {page.name[:4] for page in (ROOT / "docs/adr").glob("*.md")}
    files = [
        file
        for folder in _TOP
        for file in (ROOT / folder).rglob("*")
        if file.suffix in {".py", ".yaml", ".toml", ".md"} and file.is_file()
    ]
    referred = {
        number.zfill(4) for file in files for number in re.findall(r"(?:ADR |docs/adr/)(\d+)", file.read_text())
    }
    assert not sorted(referred - known)


def test_the_tests_that_requirements_name_exist() -> None:
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", REQUIREMENTS):
        assert re.search(rf"\bdef {name}\b", (ROOT / path).read_text()), f"{path}::{name}"

"""
The image: what its Dockerfile says is what the engine-less way makes, and what is in it is known (G1, issue 7).

No engine is needed: the Dockerfile is read as one would read it for hadolint, and scripts/cluster makes the same root
file system by the same code.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.model.bom import Bom
from dockerfile_parse import DockerfileParser

from infra.image import rootfs
from infra.image.bill_of_materials import EXTRAS, bill_of_materials
from infra.image.commands import uv

ROOT = Path(__file__).resolve().parents[2]
IMAGE = ROOT / "infra/image"


@pytest.fixture(scope="module")
def dockerfile() -> Iterator[DockerfileParser]:
    with (IMAGE / "Dockerfile").open("rb+") as file:
        yield DockerfileParser(fileobj=file)


def steps(dockerfile: DockerfileParser) -> list[tuple[str, str]]:
    return [(step["instruction"], step["value"]) for step in dockerfile.structure if step["instruction"] != "COMMENT"]


def last_stage(dockerfile: DockerfileParser) -> list[tuple[str, str]]:
    everything = steps(dockerfile)
    begins = max(at for at, (instruction, _) in enumerate(everything) if instruction == "FROM")
    return everything[begins:]


def test_the_last_stage_is_the_root_file_system_and_nothing_else(dockerfile: DockerfileParser) -> None:
    stage = last_stage(dockerfile)
    assert stage[:2] == [("FROM", "scratch"), ("COPY", "--from=build --chown=0:0 /rootfs /")]
    assert {instruction for instruction, _ in stage[2:]} == {"ENV", "USER", "EXPOSE", "LABEL", "ENTRYPOINT"}
    assert ("RUN", "python3 -m infra.image /rootfs") in steps(dockerfile)


def test_both_ways_start_the_same_program_as_the_same_user(dockerfile: DockerfileParser) -> None:
    stage = dict(last_stage(dockerfile))
    assert tuple(json.loads(stage["ENTRYPOINT"])) == rootfs.ENTRYPOINT
    assert dockerfile.envs == rootfs.ENVIRONMENT
    assert dockerfile.labels == rootfs.LABELS
    assert stage["USER"] == f"{rootfs.USER}:{rootfs.USER}"
    assert rootfs.USER > 0
    from infra.image.archive import USER

    assert stage["USER"] == USER


def test_bases_are_named_by_version_and_can_be_named_by_digest(dockerfile: DockerfileParser) -> None:
    """hadolint DL3006, DL3007."""
    named = [value.split()[0] for instruction, value in steps(dockerfile) if instruction == "FROM"]
    assert named == ["${UV}", "${DEBIAN}", "scratch"]
    defaults = dict(value.split("=", 1) for instruction, value in steps(dockerfile) if instruction == "ARG")
    for image in defaults.values():
        assert re.search(r":[0-9][^:]*$", image), f"{image}: no version"


def test_nothing_is_fetched_but_by_the_package_manager(dockerfile: DockerfileParser) -> None:
    """hadolint DL3020, DL3015, DL3059, DL4006, DL3004."""
    for instruction, value in steps(dockerfile):
        assert instruction not in {"ADD", "SHELL", "VOLUME", "ONBUILD", "MAINTAINER"}
        if instruction == "RUN":
            assert not re.search(r"\b(curl|wget|sudo|pip install|chmod 777)\b|\|", value)
            assert "apt-get install" not in value or "--no-install-recommends" in value
        if instruction == "WORKDIR":
            assert value.startswith("/")


def test_the_build_sees_what_the_root_file_system_is_made_of() -> None:
    lines = (IMAGE / "Dockerfile.dockerignore").read_text().splitlines()
    assert lines[0] == "**", "nothing is sent but what is named"
    assert {line[1:] for line in lines if line.startswith("!")} == set(rootfs.SOURCES)
    assert all((ROOT / name).exists() for name in rootfs.SOURCES)


def locked() -> dict[str, str]:
    packages = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    return {one["name"]: one.get("version", "") for one in packages}


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    debian = {"type": "library", "name": "libc6", "version": "2.36", "purl": "pkg:deb/debian/libc6@2.36"}
    return bill_of_materials(ROOT, uv(ROOT), [debian])


@pytest.mark.filterwarnings("ignore:.*tools. is deprecated")  # uv names itself as 1.4 did
def test_the_bill_of_materials_is_one(bill: dict[str, Any]) -> None:
    """As CycloneDX's own library reads it; its validator takes minutes for the addresses in it."""
    read = Bom.from_json(data=bill)
    assert {one.name for one in read.components} == {one["name"] for one in bill["components"]}
    assert not [one.name for one in read.components if one.purl is None or not one.version]


def test_it_names_what_is_installed_by_version_and_nothing_for_developers(bill: dict[str, Any]) -> None:
    known = locked()
    components = {one["name"]: one["version"] for one in bill["components"] if one["purl"].startswith("pkg:pypi/")}
    assert components.items() <= known.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    direct = [*project["project"]["dependencies"]]
    direct += [one for extra in EXTRAS for one in project["project"]["optional-dependencies"][extra]]
    assert {re.split(r"[\[<>=~ ]", one)[0].lower() for one in direct} <= set(components)
    assert "pytest" not in components
    assert any(one["purl"].startswith("pkg:deb/") for one in bill["components"])


def test_the_same_lock_is_the_same_bill(bill: dict[str, Any]) -> None:
    assert "serialNumber" not in bill
    assert "timestamp" not in bill["metadata"]

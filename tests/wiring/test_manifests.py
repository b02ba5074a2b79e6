"""
The manifests are the only wiring, so they are held against the code (design.md 2, G1).

Every Trigger names a service and a function that exist, every function has a service and accepts what its
Triggers bring, every event that code emits is declared, and no event can be lost for want of a sink.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

import events
import functions
from events import CATALOGUE, CloudEvent, EventData, TimerTicked
from infra.manifests.kustomize import render
from shared.runtime.functions import folder_of, names
from shared.runtime.wiring import Timer, Trigger, manifests, read
from shared.ticks import BUDGET, UNDER_WAY

WIRING = read()
FOLDERS = sorted(path.name for path in Path(functions.__path__[0]).iterdir() if (path / "__init__.py").is_file())
SOURCES = sorted(Path(functions.__path__[0]).rglob("*.py"))
TYPES = {model.__name__: model for model in CATALOGUE.values()}


def accepted_by(folder: str) -> set[type]:
    """What ``accepts`` in the function's func.py names, without importing or building it."""
    tree = ast.parse((Path(functions.__path__[0]) / folder / "func.py").read_text())
    found: set[type] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "accepts":
            named = {leaf.id for leaf in ast.walk(node.value) if isinstance(leaf, ast.Name)} if node.value else set()
            found |= {getattr(events, name) for name in named}
    return found


def name_of(one: Trigger | Timer) -> str:
    return one.name


def brought_by(trigger: Trigger) -> type[EventData]:
    return TimerTicked if "timer" in trigger.filter else CATALOGUE[trigger.filter["type"]]


@pytest.mark.parametrize("trigger", WIRING.triggers, ids=lambda trigger: trigger.name)
def test_a_trigger_wakes_a_function_that_accepts_what_it_brings(trigger: Trigger) -> None:
    function = WIRING.services[trigger.subscriber].function
    assert function in names()
    assert brought_by(trigger) in accepted_by(folder_of(function))


@pytest.mark.parametrize("trigger", WIRING.triggers, ids=lambda trigger: trigger.name)
def test_a_trigger_carries_a_whole_delivery_block_and_a_sink_that_takes_anything(trigger: Trigger) -> None:
    delivery = trigger.delivery
    assert delivery.timeout is not None
    assert sum(delivery.pause(n) for n in range(1, delivery.retry + 1)) < 10, (
        "seconds are the broker's, more is redrive's"
    )
    assert delivery.dead_letter is not None
    sink = WIRING.services[delivery.dead_letter].function
    assert CloudEvent in accepted_by(folder_of(sink))


@pytest.mark.parametrize(
    "trigger", [trigger for trigger in WIRING.triggers if "timer" in trigger.filter], ids=lambda trigger: trigger.name
)
def test_a_tick_ends_before_its_trigger_is_out_of_patience(trigger: Trigger) -> None:
    """What is under way when the budget ends needs some seconds more. A function may have a budget of its own."""
    function = import_module(f"functions.{folder_of(WIRING.services[trigger.subscriber].function)}.func")
    longest = getattr(function, "BUDGET", BUDGET) + getattr(function, "UNDER_WAY", UNDER_WAY)
    assert trigger.delivery.timeout is not None
    assert trigger.delivery.timeout >= longest.total_seconds()


@pytest.mark.parametrize("path", sorted(manifests().glob("triggers/*.yaml")), ids=lambda path: path.stem)
def test_no_trigger_leaves_its_delivery_to_defaults(path: Path) -> None:
    block = yaml.safe_load(path.read_text())["spec"]["delivery"]
    assert set(block) == {"retry", "backoffPolicy", "backoffDelay", "timeout", "deadLetterSink"}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_function_has_a_service_or_a_deployment(folder: str) -> None:
    deployed = {path.stem for path in manifests().glob("deployments/*.yaml")}
    assert folder in {folder_of(service.function) for service in WIRING.services.values()} | set(
        map(folder_of, deployed)
    )


@pytest.mark.parametrize("name", sorted(WIRING.services))
def test_a_service_names_a_function_that_exists(name: str) -> None:
    assert WIRING.services[name].function in names()


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_a_function_accepts_is_declared_and_some_trigger_brings_it(folder: str) -> None:
    accepts = accepted_by(folder) - {CloudEvent}
    assert accepts <= set(CATALOGUE.values())
    brought = {
        brought_by(trigger)
        for trigger in WIRING.triggers
        if folder_of(WIRING.services[trigger.subscriber].function) == folder
    }
    assert accepts == brought


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_event_that_a_function_makes_is_in_the_catalogue(path: Path) -> None:
    """A subclass of EventData that nobody declared would be refused by every host."""
    tree = ast.parse(path.read_text())
    bases = {
        base.id
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name)
    }
    assert "EventData" not in bases, "events are declared in events/"
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("events")
        for alias in node.names
    }
    models = {name for name in imported if isinstance(getattr(events, name, None), type)}
    undeclared = {name for name in models if issubclass(getattr(events, name), EventData)} - set(TYPES) - {"EventData"}
    assert not undeclared


def test_every_file_is_listed_and_every_listed_file_exists() -> None:
    folder = manifests()
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    listed = kustomization["resources"]
    there = {str(path.relative_to(folder)) for path in folder.rglob("*.yaml")} - {"kustomization.yaml"}
    assert {*listed, *(patch["path"] for patch in kustomization["patches"])} == there
    assert len(listed) == len(set(listed))


def test_what_kustomize_adds_is_no_wiring(tmp_path: Path) -> None:
    """The local broker reads the files as they are, the cluster gets them patched: both are wired alike."""
    (tmp_path / "all.yaml").write_text(render(manifests()))
    (tmp_path / "kustomization.yaml").write_text("kind: Kustomization\nnamespace: chat4all\nresources: [all.yaml]\n")
    deployed = read(tmp_path)
    assert sorted(deployed.triggers, key=name_of) == sorted(WIRING.triggers, key=name_of)
    assert sorted(deployed.timers, key=name_of) == sorted(WIRING.timers, key=name_of)
    assert deployed.services == WIRING.services


def test_every_timer_wakes_somebody_and_its_data_is_its_event() -> None:
    woken = {trigger.filter.get("timer") for trigger in WIRING.triggers} - {None}
    assert {timer.name for timer in WIRING.timers} == woken
    for path in manifests().glob("timers/*.yaml"):
        manifest: dict[str, Any] = yaml.safe_load(path.read_text())
        assert yaml.safe_load(manifest["spec"]["data"]) == {"name": manifest["metadata"]["name"]}

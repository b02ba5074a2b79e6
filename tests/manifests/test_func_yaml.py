"""func.yaml makes the repository a `func` project (H, ADR 8): what it says is what func's schema of that file takes."""

from datetime import datetime
from pathlib import Path
from typing import Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.runtime.functions import names

ROOT = Path(__file__).resolve().parents[2]


class Closed(BaseModel):
    """func refuses a key that it does not know (additionalProperties: false everywhere in its schema)."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Variable(Closed):
    name: str = Field(pattern=r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")
    value: str


class Build(Closed):
    builder: Literal["pack", "s2i"] | None = None


class Run(Closed):
    envs: list[Variable]


class HealthEndpoints(Closed):
    liveness: str
    readiness: str


class Deploy(Closed):
    namespace: str
    serviceAccountName: str
    healthEndpoints: HealthEndpoints


class Func(Closed):
    """Those of its fields that we use; knative/func, schema/func_yaml-schema.json."""

    specVersion: str = Field(pattern=r"^0\.\d+\.\d+$")
    name: str = Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    runtime: Literal["python"]
    invoke: Literal["http", "cloudevent"]
    created: datetime
    registry: str
    image: str
    build: Build = Build()
    run: Run
    deploy: Deploy


def test_func_takes_it() -> None:
    told = Func.model_validate(yaml.safe_load((ROOT / "func.yaml").read_text()))
    assert {one.name: one.value for one in told.run.envs}["CHAT4ALL_FUNCTION"] in names()
    assert told.deploy.healthEndpoints == HealthEndpoints(liveness="/health/liveness", readiness="/health/readiness")
    assert told.image.startswith(told.registry)


def test_a_builder_that_func_does_not_know_is_refused() -> None:
    told = yaml.safe_load((ROOT / "func.yaml").read_text()) | {"build": {"builder": "host"}}
    with pytest.raises(ValidationError, match="builder"):
        Func.model_validate(told)


def test_the_project_that_func_builds_says_the_same() -> None:
    assert (ROOT / "infra/func/func.yaml").resolve() == ROOT / "func.yaml"


def test_it_says_what_the_manifests_say() -> None:
    told = yaml.safe_load((ROOT / "func.yaml").read_text())
    base = yaml.safe_load((ROOT / "knative/kustomization.yaml").read_text())
    assert told["deploy"]["namespace"] == base["namespace"]
    patched = yaml.safe_load((ROOT / "knative/patches/every-pod.yaml").read_text())
    given = {step["path"].rpartition("/")[2]: step["value"] for step in patched}
    assert (told["image"], told["deploy"]["serviceAccountName"]) == (given["image"], given["serviceAccountName"])

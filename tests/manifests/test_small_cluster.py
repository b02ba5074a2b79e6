"""The overlay one-node-kafka-broker and its guide: what is told to functions, to the Broker, and to who follows it."""

import json
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet

from infra.deploy.plan import misled, secrets_wanted
from infra.deploy.unsaid import unsaid
from infra.manifests.kustomize import Manifest, manifests
from shared import settings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "infra/overlays/one-node-kafka-broker"
GUIDE = (ROOT / "docs/guides/small-cluster.md").read_text()
KNOWN = (
    {settings.PREFIX + name.upper() for name in settings.Settings.model_fields}
    - settings.OF_ONE_PROCESS
    - settings.OF_ONE_SERVICE
)


@cache
def rendered() -> list[Manifest]:
    return manifests(FOLDER)


def data(name: str, made: list[Manifest] | None = None) -> dict[str, str]:
    (found,) = (one for one in made or rendered() if one["kind"] == "ConfigMap" and one["metadata"]["name"] == name)
    return dict(found["data"])


def sealed() -> dict[str, str]:
    lines = (FOLDER / "secret.env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_broker_and_functions_are_told_the_same_of_kafka() -> None:
    told, broker = data("chat4all"), data("chat4all-kafka-broker")
    assert told["CHAT4ALL_KAFKA_BOOTSTRAP_SERVERS"] == broker["bootstrap.servers"]
    assert told["CHAT4ALL_KAFKA_PARTITIONS"] == broker["default.topic.partitions"]
    assert told["CHAT4ALL_KAFKA_REPLICATION_FACTOR"] == broker["default.topic.replication.factor"] == "1"
    assert broker["default.topic.config.min.insync.replicas"] == "1"
    assert broker["default.topic.config.message.timestamp.type"] == "LogAppendTime"
    assert not misled(rendered(), "chat4all")


def test_nobody_is_asked_for_a_password_that_nothing_there_wants() -> None:
    """Kafka and Cassandra have none."""
    assert "auth.secret.ref.name" not in data("chat4all-kafka-broker")
    assert secrets_wanted(rendered()) == {"chat4all"}
    assert "CHAT4ALL_CASSANDRA_USERNAME" not in data("chat4all")
    assert not {"CHAT4ALL_CASSANDRA_PASSWORD", "CHAT4ALL_KAFKA_PROPERTIES"} & set(sealed())


def test_what_functions_are_told_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    told, secret = set(data("chat4all")) - {"K_SINK"}, set(sealed())
    assert told | secret <= KNOWN
    assert not told & (settings.secrets() | secret)
    filled = {name: value or "filled-in" for name, value in sealed().items()}
    filled["CHAT4ALL_SECRET_KEY"] = Fernet.generate_key().decode()
    for name, value in (data("chat4all") | filled).items():
        monkeypatch.setenv(name, value)
    assert settings.load_settings().mode == "knative"


def test_nothing_is_left_to_say_but_the_image_and_the_secret() -> None:
    assert unsaid(rendered()) == []


def test_the_first_tenant_is_made_as_in_production() -> None:
    def job(folder: Path) -> dict[str, Any]:
        (found,) = (one for one in manifests(folder) if one["kind"] == "CronJob")
        (container,) = found["spec"]["jobTemplate"]["spec"]["template"]["spec"].pop("containers")
        # Names differ, and a Kafka without passwords needs no Secret of its own.
        container["envFrom"] = {next(iter(one)) for one in container["envFrom"]}
        return {"cronjob": found, "container": container}

    assert job(FOLDER) == job(ROOT / "infra/overlays/production")


def test_the_header_is_what_the_guide_does() -> None:
    header = re.findall(r"^# +((?:kubectl|scripts/).*?)(?: +#.*)?$", (FOLDER / "kustomization.yaml").read_text(), re.M)
    assert len(header) == 4
    shown = re.sub(r" +#.*", "", GUIDE)
    assert not [line for line in header if line.split(" --image")[0] not in shown]


def test_the_overlay_on_top_of_the_guide_is_one(tmp_path: Path) -> None:
    (shown,) = (block for block in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL) if "kind: Kustomization" in block)
    for folder in ("knative", "infra/overlays"):
        shutil.copytree(ROOT / folder, tmp_path / "chat4all" / folder)
    (tmp_path / "kustomization.yaml").write_text(shown)
    made = manifests(tmp_path)
    told, broker = data("chat4all", made), data("chat4all-kafka-broker", made)
    assert told["CHAT4ALL_KAFKA_BOOTSTRAP_SERVERS"] == broker["bootstrap.servers"] != data("chat4all")["K_SINK"]
    assert "10.244.0.0/16" in told["CHAT4ALL_TRUSTED_PROXIES"]
    assert set(told) >= set(data("chat4all")), "merged, not replaced"
    assert unsaid(made) == []
    assert yaml.safe_load(shown)["configMapGenerator"][0]["behavior"] == "merge"
    for one in made:
        if one["apiVersion"] == "serving.knative.dev/v1":
            (container,) = one["spec"]["template"]["spec"]["containers"]
            assert container["envFrom"][0] == {"configMapRef": {"name": "chat4all"}}, json.dumps(container)


def test_the_guide_says_which_functions_never_sleep() -> None:
    """As Knative is shipped a function goes to zero after a minute without requests: a tick each minute keeps it."""
    often = {
        one["spec"]["ceOverrides"]["extensions"]["timer"]
        for one in rendered()
        if one["kind"] == "PingSource" and one["spec"]["schedule"] == "* * * * *"
    }
    (said,) = re.findall(r"\*\*What sleeps\*\*: .*?((?:`[\w-]+`(?:, | and )?)+)", GUIDE)
    assert set(re.findall(r"[\w-]+", said.replace(" and ", " "))) == often
    subscribers = {
        one["spec"]["filter"]["attributes"]["timer"]: one["spec"]["subscriber"]["ref"]["name"]
        for one in rendered()
        if one["kind"] == "Trigger" and "timer" in one["spec"].get("filter", {}).get("attributes", {})
    }
    assert {subscribers[timer] for timer in often} == often


def test_the_guide_restarts_every_pod() -> None:
    ((label, but),) = re.findall(r"delete pods -l '(\S+),\1!=(\S+)'`", GUIDE)
    templates = [one["spec"]["template"] for one in rendered() if "template" in one.get("spec", {})]
    assert len(templates) == 28
    assert not [one for one in templates if one["metadata"]["labels"].get(label, but) == but]
    (job,) = (one["spec"]["jobTemplate"]["spec"]["template"] for one in rendered() if one["kind"] == "CronJob")
    assert job["metadata"]["labels"][label] == but


def test_the_guide_counts_what_all_functions_ask_for() -> None:
    cpu = memory = 0
    for one in rendered():
        if "template" in one.get("spec", {}):
            (container,) = one["spec"]["template"]["spec"]["containers"]
            asked, count = container["resources"]["requests"], one["spec"].get("replicas", 1)
            cpu += count * int(asked["cpu"].removesuffix("m"))
            memory += count * int(asked["memory"].removesuffix("Mi"))
    assert f"ask for {cpu / 1000:.1f} CPU and {memory / 1024:.1f} GiB" in GUIDE

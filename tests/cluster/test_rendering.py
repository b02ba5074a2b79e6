"""What the cluster is made from: Knative's manifests with what one node needs changed, and images without an engine."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.cluster.knative import INGRESS_CLASS, render
from infra.image.archive import Image, file_layer, folder_layer, write_archive

CONTAINER = {
    "name": "controller",
    "image": "ko://knative.dev/serving/cmd/controller",
    "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "100m", "memory": "100Mi"}},
    "livenessProbe": {"httpGet": {"path": "/"}},
    "readinessProbe": {"initialDelaySeconds": 9, "periodSeconds": 10},
}
OF_SERVING: list[dict[str, Any]] = [
    {"kind": "Deployment", "metadata": {"name": "controller"},
     "spec": {"template": {"spec": {"containers": [CONTAINER]}}}},
    {"kind": "HorizontalPodAutoscaler", "metadata": {"name": "activator"}},
    {"kind": "CustomResourceDefinition", "metadata": {"name": "services.serving.knative.dev"}},
    {"kind": "ConfigMap", "data": {"_example": "long", "own": "kept"},
     "metadata": {"name": "config-network", "annotations": {"knative.dev/example-checksum": "1"}}},
    {"kind": "Namespace", "metadata": {"name": "knative-serving"}},
    {"kind": "MutatingWebhookConfiguration", "metadata": {"name": "webhook.serving.knative.dev"},
     "webhooks": [{"name": "webhook.serving.knative.dev"}]},
]  # fmt: skip


EMPTY = (
    "knative.dev/networking/config/none.yaml",
    "knative.dev/caching/config/image.yaml",
    "knative.dev/eventing/config/core/none.yaml",
    "knative.dev/eventing/third_party/eventing-integrations-latest/none.yaml",
    "knative.dev/eventing/config/channels/in-memory-channel/none.yaml",
    "knative.dev/eventing/config/brokers/mt-channel-broker/none.yaml",
    *(
        f"sigs.k8s.io/gateway-api/config/crd/standard/gateway.networking.k8s.io_{kind}.yaml"
        for kind in ("gatewayclasses", "gateways", "httproutes")
    ),
)


@pytest.fixture
def rendered(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """What became of Serving's manifests, by kind."""
    for path in EMPTY:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    core = tmp_path / "knative.dev/serving/config/core"
    core.mkdir(parents=True)
    (core / "all.yaml").write_text(yaml.safe_dump_all(OF_SERVING))
    render(lambda module: tmp_path / module, tmp_path / "out")
    made = [*yaml.safe_load_all((tmp_path / "out/serving.yaml").read_text())]
    assert [one["kind"] for one in made] == [
        "Namespace",
        "ConfigMap",
        "Deployment",
        "MutatingWebhookConfiguration",
    ], "in the order of what needs what"
    (definition,) = yaml.safe_load_all((tmp_path / "out/definitions.yaml").read_text())
    return {one["kind"]: one for one in (*made, definition)}


def test_images_are_those_that_were_built_and_nobody_is_killed_for_being_slow(rendered: dict[str, Any]) -> None:
    (container,) = rendered["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert (container["image"], container["imagePullPolicy"]) == ("dev.local/serving-controller:1", "Never")
    assert "livenessProbe" not in container
    assert container["readinessProbe"] == {"initialDelaySeconds": 0, "periodSeconds": 2}
    assert container["resources"] == {"requests": {"cpu": "10m", "memory": "100Mi"}}


def test_settings_are_ours_and_the_examples_are_gone(rendered: dict[str, Any]) -> None:
    network = rendered["ConfigMap"]
    assert network["data"]["ingress-class"] == INGRESS_CLASS
    assert network["data"]["own"] == "kept"
    assert "_example" not in network["data"]
    assert network["metadata"]["annotations"] == {}, "its checksum would be of what is gone"


def test_webhooks_are_not_asked_about_a_status(rendered: dict[str, Any]) -> None:
    (webhook,) = rendered["MutatingWebhookConfiguration"]["webhooks"]
    (condition,) = webhook["matchConditions"]
    assert condition["expression"] == "!has(request.subResource) || request.subResource != 'status'"


def test_definitions_come_first_in_a_file_of_their_own_and_what_needs_more_nodes_is_left_out(
    rendered: dict[str, Any],
) -> None:
    assert "CustomResourceDefinition" in rendered
    assert "HorizontalPodAutoscaler" not in rendered


def test_an_archive_has_what_docker_load_expects(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"binary")
    layer = file_layer(program, "/program")
    write_archive([Image("dev.local/program:1", [layer], ["/program"])], tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as archive:
        (manifest,) = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert manifest["RepoTags"] == ["dev.local/program:1"]
        configuration = json.load(archive.extractfile(manifest["Config"]))  # type: ignore[arg-type]
        (named,) = manifest["Layers"]
        found = archive.extractfile(named)
        assert found is not None
        assert configuration["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(found.read()).hexdigest()}"]
    assert configuration["config"]["User"] == "65532:65532", "the kubelet must see that it is not root"
    assert configuration["config"]["Entrypoint"] == ["/program"]


def test_the_same_files_are_the_same_layer_whenever_they_were_written(tmp_path: Path) -> None:
    layers = []
    for name in ("one", "two"):
        (tmp_path / name / "folder").mkdir(parents=True)
        (tmp_path / name / "folder/file").write_text("content")
        layers.append(folder_layer(tmp_path / name))
    assert layers[0] == layers[1]


def test_what_a_private_umask_made_can_be_read_in_the_image(tmp_path: Path) -> None:
    """Functions run as nobody who owns anything there."""
    (tmp_path / "folder").mkdir(mode=0o700)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    for name, mode in (("file", 0o600), ("program", 0o700), ("shared", 0o664)):
        (tmp_path / "folder" / name).touch()
        (tmp_path / "folder" / name).chmod(mode)
    with tarfile.open(fileobj=io.BytesIO(folder_layer(tmp_path))) as layer:
        modes = {entry.name: entry.mode for entry in layer}
    assert modes == {
        "folder": 0o755,
        "folder/file": 0o644,
        "folder/program": 0o755,
        "folder/shared": 0o644,
        "tmp": 0o1777,
    }

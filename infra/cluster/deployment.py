"""Puts the platform of this repository on the cluster, with the real engines beside it."""

import base64
import hashlib
import json
import secrets
import sys
from collections.abc import Mapping
from os.path import relpath
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.cluster.cluster import Cluster, ClusterError
from infra.cluster.layout import CONFIGURATION, NAMESPACE, NODE_ADDRESS, POD_NETWORK, REPOSITORY
from infra.cluster.programs import Say
from infra.deploy.plan import IMAGE
from shared import settings as product

IN_MEMORY, KAFKA = "one-node", "one-node-kafka"
_OVERLAYS = REPOSITORY / "infra/overlays"
_KEY = CONFIGURATION / "chat4all.key"
_PATIENCE = 300
_OF_IT = {
    IN_MEMORY: ("ksvc", "deployments", "brokers", "triggers", "pingsources"),
    KAFKA: ("ksvc", "deployments"),
}
_OF_THE_OTHER = {
    IN_MEMORY: ("deployments", "-l", "app.kubernetes.io/component=dispatcher"),
    KAFKA: ("brokers,triggers,pingsources", "--all"),
}
_ONE_NODE = {
    "CHAT4ALL_PROVIDER_HOSTS": NODE_ADDRESS,
    "CHAT4ALL_WEBHOOK_ALLOW_PRIVATE": "true",
    "CHAT4ALL_WEBHOOK_SCHEDULE": "1,1,1",
    "CHAT4ALL_WEBHOOK_TIMEOUT": "5",
    "CHAT4ALL_RATE_LIMIT_PER_MINUTE": "0",
    "CHAT4ALL_MESSAGE_RATE_LIMIT_PER_MINUTE": "0",
    "CHAT4ALL_TRUSTED_PROXIES": f"127.0.0.1,::1,{POD_NETWORK}",
}
"""
Providers and receivers of webhooks are on the node, nobody waits for days, and one address sends all the load; who that
is say the network layer, Knative's activator and its proxy in the pod.
"""
_MAKE_TABLES = """
import asyncio, os
from shared.runtime.open_ports import open_ports
async def main():
    async with open_ports(os.environ):
        pass
asyncio.run(main())
"""
# Not by a SinkBinding: it waits for the Broker, the Broker for its dead letter sink, and that one for its address.
_BROKER = f"http://broker-ingress.knative-eventing.svc.cluster.local/{NAMESPACE}/chat4all"


def _annotated(version: str, kind: str, settings: str) -> dict[str, object]:
    """A patch of kustomize that all of this kind get, in the pods' template."""
    template = {"metadata": {"annotations": {"chat4all.dev/settings": settings}}}
    named = {"apiVersion": version, "kind": kind, "metadata": {"name": "any"}}
    target = {"group": version.rpartition("/")[0], "kind": kind}
    return {"target": target, "patch": json.dumps({**named, "spec": {"template": template}})}


def parted(settings: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """What may be in a ConfigMap, and what is or may hold a secret; keys of the engines are known by their names."""
    secret = {name: value for name, value in settings.items() if name in product.secrets() or name.endswith("_KEY")}
    return {name: value for name, value in settings.items() if name not in secret}, secret


class Deployment:
    """``overlay``: IN_MEMORY or KAFKA, a folder below infra/overlays."""

    def __init__(self, cluster: Cluster, overlay: str, say: Say) -> None:
        self._cluster, self._overlay, self._say = cluster, overlay, say

    @property
    def overlay(self) -> str:
        return self._overlay

    def deploy(self) -> None:
        """
        Starts the engines that do not run, makes the image, and applies the overlay; returns when all is ready.

        Raises:
            ClusterError: something did not come true.
        """
        self._start_engines()
        self._make_tables()
        image = self._cluster.import_image()
        self._cluster.kubectl("apply", "-f", str(_OVERLAYS / "one-node-base/namespace.yaml"))
        version = self._apply_settings()
        with TemporaryDirectory(prefix="chat4all-overlay-") as folder:
            name, _, tag = image.partition(":")
            kustomization = {
                "resources": [relpath(_OVERLAYS / self._overlay, folder)],
                "images": [{"name": IMAGE, "newName": name, "newTag": tag}],
                # Pods read settings when they start: others make a new revision.
                "patches": [
                    _annotated("serving.knative.dev/v1", "Service", version),
                    _annotated("apps/v1", "Deployment", version),
                ],
            }
            (Path(folder) / "kustomization.yaml").write_text(json.dumps(kustomization))
            manifests = self._cluster.kubectl("kustomize", folder)
        self._cluster.kubectl("-n", NAMESPACE, "delete", *_OF_THE_OTHER[self._overlay], "--wait=false")
        self._cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=manifests)
        self._say("manifests", "applied")
        for kind in _OF_IT[self._overlay]:
            self._wait_for(kind)

    def settings(self) -> dict[str, str]:
        """What every function is told, and who makes tenants beside them; its own secrets are among it."""
        told = dict(line.split("=", 1) for line in self._engines("env").splitlines())
        return {**told, **_ONE_NODE, "CHAT4ALL_MODE": "servers", "CHAT4ALL_SECRET_KEY": self._secret_key()}

    def broker(self) -> dict[str, str]:
        """Settings of who emits events as the deployed functions do, without the cluster's DNS."""
        if self._overlay == KAFKA:
            return {}
        ask = ("-n", "knative-eventing", "get", "service", "broker-ingress", "-o", "jsonpath={.spec.clusterIP}")
        return {"CHAT4ALL_MODE": "knative", "K_SINK": f"http://{self._cluster.kubectl(*ask)}/{NAMESPACE}/chat4all"}

    def _secret_key(self) -> str:
        """Of the vault, made once for each life of the cluster."""
        made = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        keep = f'[ -s {_KEY} ] || (umask 077; printf %s "$0" >{_KEY}); cat {_KEY}'
        return str(self._cluster.run(("sh", "-c", keep, made), capture_output=True, check=True).stdout)

    def _start_engines(self) -> None:
        self._engines("up", "--host", NODE_ADDRESS)
        self._say("engines", "answer")

    def _engines(self, *arguments: str) -> str:
        ended = self._cluster.engines(*arguments)
        if ended.returncode != 0:
            raise ClusterError(f"the engines: {ended.stderr}")
        return str(ended.stdout)

    def _make_tables(self) -> None:
        """Before the functions start: all of them at once would make them at once."""
        ended = self._cluster.run(
            (sys.executable, "-c", _MAKE_TABLES), folder=REPOSITORY, more=self.settings(), capture_output=True
        )
        if ended.returncode != 0:
            raise ClusterError(f"the tables cannot be made: {ended.stderr[-2000:]}")
        self._say("tables", "made")

    def _apply_settings(self) -> str:
        """Returns: a hash that changes with them."""
        settings = self.settings()
        if self._overlay == IN_MEMORY:
            settings |= {"CHAT4ALL_MODE": "knative", "K_SINK": _BROKER}
        public, secret = parted(settings)
        self._apply_map("ConfigMap", public)
        self._apply_map("Secret", secret)
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]

    def _apply_map(self, kind: str, values: Mapping[str, str]) -> None:
        field = "data" if kind == "ConfigMap" else "stringData"
        named = {"name": "chat4all", "namespace": NAMESPACE}
        manifest = {"apiVersion": "v1", "kind": kind, "metadata": named, field: values}
        self._cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=json.dumps(manifest))

    def _wait_for(self, kind: str) -> None:
        condition = "Available" if kind == "deployments" else "Ready"
        self._cluster.kubectl(
            "-n", NAMESPACE, "wait", kind, "--all", f"--for=condition={condition}", f"--timeout={_PATIENCE}s"
        )
        self._say(kind, "ready")

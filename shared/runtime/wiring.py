"""
The wiring: which event wakes which function, read from the very manifests that Knative reads (design.md 2).

``knative/kustomization.yaml`` names the files; a file that it does not name is not part of the wiring, here as
in the cluster. What the local broker cannot do as the real one would is a WiringError at the start, never a
quiet difference. Rules of inheritance and defaults are those that the real broker showed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from shared.runtime.wiring_error import WiringError

ORDER = "kafka.eventing.knative.dev/delivery.order"
EVERY = "chat4all.dev/every"
"""How often the local timers tick, ISO 8601: a PingSource's cron schedule knows no seconds."""
FUNCTION = "CHAT4ALL_FUNCTION"
CHANNEL = "CHAT4ALL_CHANNEL"


@dataclass(frozen=True, slots=True)
class Delivery:
    """Times in seconds; ``timeout`` None waits for ever, ``dead_letter`` names a service, None loses the event."""

    retry: int = 10
    linear: bool = False
    delay: float = 0.2
    timeout: float | None = None
    dead_letter: str | None = None

    def pause(self, n: int) -> float:
        """
        Seconds before retry ``n`` (1, 2 …): no jitter, no cap, as the real broker.

        >>> [Delivery(delay=0.5).pause(n) for n in (1, 2, 3)]
        [1.0, 2.0, 4.0]
        >>> [Delivery(delay=0.5, linear=True).pause(n) for n in (1, 2, 3)]
        [0.5, 1.0, 1.5]
        """
        return self.delay * n if self.linear else self.delay * float(2**n)


@dataclass(frozen=True, slots=True)
class Trigger:
    """``filter`` are exact values of attributes, all of which must match; ``subscriber`` names a service."""

    name: str
    namespace: str
    filter: Mapping[str, str]
    subscriber: str
    delivery: Delivery

    def wants(self, attributes: Mapping[str, str]) -> bool:
        """An event with these attributes."""
        return self.filter.items() <= attributes.items()

    @property
    def group(self) -> str:
        """A consumer group of its own; it outlives the Trigger, so the name is all that holds its place in the log."""
        return f"knative-trigger-{self.namespace}-{self.name}"

    @property
    def service_group(self) -> str:
        """The group that it shares with every Trigger of its service where the log has partitions (ADR 29)."""
        return f"service-{self.namespace}-{self.subscriber}"


@dataclass(frozen=True, slots=True)
class Service:
    """One Knative Service: the function that it runs and its environment."""

    name: str
    namespace: str
    function: str
    environment: Mapping[str, str]

    @property
    def address(self) -> str:
        return f"http://{self.name}.{self.namespace}.svc.cluster.local"


@dataclass(frozen=True, slots=True)
class Timer:
    """``every`` in seconds; ``name`` is the extension attribute ``timer`` of its events."""

    name: str
    every: float


@dataclass(frozen=True, slots=True)
class Wiring:
    triggers: tuple[Trigger, ...]
    services: Mapping[str, Service]
    timers: tuple[Timer, ...]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Metadata(_Strict):
    name: str
    namespace: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Ref(_Strict):
    apiVersion: str
    kind: str
    name: str
    namespace: str | None = None


class _ServiceRef(_Ref):
    apiVersion: Literal["serving.knative.dev/v1"]
    kind: Literal["Service"]
    namespace: None = None


class _BrokerRef(_Ref):
    apiVersion: Literal["eventing.knative.dev/v1"]
    kind: Literal["Broker"]
    namespace: None = None


class _Subscriber(_Strict):
    ref: _ServiceRef


class _Sink(_Strict):
    ref: _BrokerRef


class _Delivery(_Strict):
    retry: int = Field(default=0, ge=0)
    backoffPolicy: Literal["exponential", "linear"] = "exponential"
    backoffDelay: timedelta = timedelta(seconds=0.2)
    timeout: timedelta | None = None
    deadLetterSink: _Subscriber | None = None

    def plain(self) -> Delivery:
        sink = self.deadLetterSink
        return Delivery(
            retry=self.retry,
            linear=self.backoffPolicy == "linear",
            delay=self.backoffDelay.total_seconds(),
            timeout=self.timeout.total_seconds() if self.timeout else None,
            dead_letter=sink.ref.name if sink else None,
        )


class _Filter(_Strict):
    attributes: dict[str, str] = {}


class _TriggerSpec(_Strict):
    broker: str
    filter: _Filter = _Filter()
    subscriber: _Subscriber
    delivery: _Delivery | None = None


class _TriggerManifest(_Strict):
    apiVersion: Literal["eventing.knative.dev/v1"]
    kind: Literal["Trigger"]
    metadata: _Metadata
    spec: _TriggerSpec


class _BrokerSpec(_Strict):
    config: _Ref | None = None
    delivery: _Delivery | None = None


class _BrokerManifest(_Strict):
    apiVersion: Literal["eventing.knative.dev/v1"]
    kind: Literal["Broker"]
    metadata: _Metadata
    spec: _BrokerSpec = _BrokerSpec()


class _Overrides(_Strict):
    extensions: dict[str, str]


class _PingSpec(_Strict):
    schedule: str
    timezone: str | None = None
    contentType: Literal["application/json"]
    data: str
    ceOverrides: _Overrides
    sink: _Sink


class _PingManifest(_Strict):
    apiVersion: Literal["sources.knative.dev/v1"]
    kind: Literal["PingSource"]
    metadata: _Metadata
    spec: _PingSpec


class _Lenient(BaseModel):
    """Of a Service only the environment concerns us; probes, scale and security are the cluster's."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Variable(_Lenient):
    name: str
    value: str = ""


class _Container(_Lenient):
    env: list[_Variable] = []


class _PodSpec(_Lenient):
    containers: list[_Container] = Field(min_length=1, max_length=1)


class _Template(_Lenient):
    spec: _PodSpec


class _ServiceSpec(_Lenient):
    template: _Template


class _ServiceManifest(_Lenient):
    apiVersion: Literal["serving.knative.dev/v1"]
    kind: Literal["Service"]
    metadata: _Metadata
    spec: _ServiceSpec


class _Kustomization(_Lenient):
    kind: Literal["Kustomization"]
    namespace: str = "default"
    resources: list[str]


_MODELS: Mapping[str, "type[_Manifest]"] = {
    "eventing.knative.dev/v1 Trigger": _TriggerManifest,
    "eventing.knative.dev/v1 Broker": _BrokerManifest,
    "sources.knative.dev/v1 PingSource": _PingManifest,
    "serving.knative.dev/v1 Service": _ServiceManifest,
}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where it is there: all manifests in 26 ms of CPU instead of 212, at every start."""

_OF_THE_CLUSTER_ONLY = {"v1 ConfigMap", "v1 Namespace", "v1 Service", "v1 ServiceAccount", "apps/v1 Deployment"}


def manifests() -> Path:
    """
    The folder of the manifests: ``shared/knative`` in an installed wheel, ``knative`` in the repository.

    Raises:
        WiringError: neither is there.
    """
    shared = Path(__file__).resolve().parents[1]
    for folder in (shared / "knative", shared.parent / "knative"):
        if (folder / "kustomization.yaml").is_file():
            return folder
    raise WiringError(f"no manifests: neither {shared / 'knative'} nor {shared.parent / 'knative'} exists")


def read(folder: Path | None = None) -> Wiring:
    """
    The whole wiring under ``folder`` (default: ``manifests()``).

    Raises:
        WiringError: a manifest is malformed, asks for what the local broker cannot do as the real one would, or
            names what is not there.
    """
    folder = folder or manifests()
    kustomization = _kustomization(folder / "kustomization.yaml")
    namespace = kustomization.namespace
    found: dict[tuple[str, str], tuple[Path, _Manifest]] = {}
    for path in (folder / name for name in kustomization.resources):
        for manifest in _manifests(path):
            key = (manifest.kind, manifest.metadata.name)
            if key in found:
                raise WiringError(f"{path}: {manifest.kind} {manifest.metadata.name!r} exists twice")
            if manifest.metadata.namespace not in (None, namespace):
                raise WiringError(f"{path}: namespace {manifest.metadata.namespace!r} is not {namespace!r}")
            found[key] = (path, manifest)
    everything = list(found.values())
    brokers = {m.metadata.name: m for _, m in everything if isinstance(m, _BrokerManifest)}
    services = {
        m.metadata.name: _service(path, m, namespace) for path, m in everything if isinstance(m, _ServiceManifest)
    }
    return Wiring(
        triggers=tuple(
            _trigger(path, m, namespace, brokers, services) for path, m in everything if isinstance(m, _TriggerManifest)
        ),
        services=services,
        timers=tuple(_timer(path, m) for path, m in everything if isinstance(m, _PingManifest)),
    )


_Manifest = _TriggerManifest | _BrokerManifest | _ServiceManifest | _PingManifest
_M = TypeVar("_M", bound=BaseModel)


def _trigger(
    path: Path,
    manifest: _TriggerManifest,
    namespace: str,
    brokers: Mapping[str, _BrokerManifest],
    services: Mapping[str, Service],
) -> Trigger:
    name, spec = manifest.metadata.name, manifest.spec
    order = manifest.metadata.annotations.get(ORDER, "unordered")
    if order != "unordered":
        raise WiringError(
            f"{path}: Trigger {name!r}: {ORDER}: {order} is not supported; order comes from the sequence protocol"
        )
    broker = brokers.get(spec.broker)
    if broker is None:
        raise WiringError(f"{path}: Trigger {name!r}: there is no Broker {spec.broker!r}")
    if "" in spec.filter.attributes.values():
        raise WiringError(f"{path}: Trigger {name!r}: a filter attribute without a value is not supported")
    # The Trigger's block replaces the Broker's as a whole; the cluster gives its default to a Broker without one.
    block = spec.delivery or broker.spec.delivery
    delivery = block.plain() if block else Delivery()
    for service in (spec.subscriber.ref.name, delivery.dead_letter):
        if service is not None and service not in services:
            raise WiringError(f"{path}: Trigger {name!r}: there is no Service {service!r}")
    return Trigger(name, namespace, dict(spec.filter.attributes), spec.subscriber.ref.name, delivery)


def _service(path: Path, manifest: _ServiceManifest, namespace: str) -> Service:
    name = manifest.metadata.name
    (container,) = manifest.spec.template.spec.containers
    environment = {variable.name: variable.value for variable in container.env}
    function = environment.get(FUNCTION)
    if not function:
        raise WiringError(f"{path}: Service {name!r}: its container has no {FUNCTION}")
    return Service(name, namespace, function, environment)


def _timer(path: Path, manifest: _PingManifest) -> Timer:
    name = manifest.metadata.name
    every = manifest.metadata.annotations.get(EVERY)
    if every is None:
        raise WiringError(f"{path}: PingSource {name!r}: the local timers need the annotation {EVERY}")
    try:
        seconds = TypeAdapter(timedelta).validate_python(every).total_seconds()
    except ValidationError:
        seconds = 0.0
    if seconds <= 0:
        raise WiringError(f"{path}: PingSource {name!r}: {EVERY}: {every!r} is no ISO 8601 duration above zero")
    if manifest.spec.ceOverrides.extensions.get("timer") != name:
        raise WiringError(f"{path}: PingSource {name!r}: its extension timer must be its name, {name!r}")
    return Timer(name, seconds)


def _kustomization(path: Path) -> _Kustomization:
    for document in _documents(path):
        return _checked(path, _Kustomization, document)
    raise WiringError(f"{path}: empty")


def _manifests(path: Path) -> Iterator[_Manifest]:
    for document in _documents(path):
        kind = f"{document.get('apiVersion')} {document.get('kind')}"
        model = _MODELS.get(kind)
        if model is not None:
            yield _checked(path, model, document)
        elif kind not in _OF_THE_CLUSTER_ONLY:
            raise WiringError(f"{path}: {kind} is not supported here")


def _documents(path: Path) -> list[dict[str, Any]]:
    try:
        documents = [one for one in yaml.load_all(path.read_text(), _LOADER) if one is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise WiringError(f"{path}: {' '.join(str(error).split())}") from None
    if not all(isinstance(document, dict) for document in documents):
        raise WiringError(f"{path}: a manifest is a mapping")
    return documents


def _checked(path: Path, model: type[_M], document: dict[str, Any]) -> _M:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        named = f"{document.get('kind')} {(document.get('metadata') or {}).get('name')!r}"
        raise WiringError(f"{path}: {named}: {where}: {first['msg']}") from None

"""
Every setting: the only reader of the environment.

Each is an environment variable with the prefix CHAT4ALL_. One that nobody knows stops the start, because a
misspelt setting would otherwise be silently ignored. docs/reference/settings.md is printed from here.
"""

import json
import os
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin
from urllib.parse import urlsplit

import platformdirs
from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from shared.domain.errors import Invalid
from shared.domain.identity import check_tenant_name
from shared.domain.sealing_keys import keys_of
from shared.domain.webhook import schedule_of

PREFIX = "CHAT4ALL_"

READ_ELSEWHERE = {
    "CHAT4ALL_URL": "command line: where the platform is",
    "CHAT4ALL_TENANT": "command line: the tenant whose client is used",
    "CHAT4ALL_CLIENT_ID": "command line: who asks",
    "CHAT4ALL_CLIENT_SECRET": "command line: who asks",
    "CHAT4ALL_FUNCTION": "one function as a process: which one (the Knative service's environment)",
    "CHAT4ALL_CHANNEL": "one function as a process: the channel it delivers on",
    "CHAT4ALL_STACK_DIR": "stack of real engines: data, logs, pid files, credentials",
    "CHAT4ALL_STACK_PORT_OFFSET": "stack of real engines: added to every port by the first `up`",
    "CHAT4ALL_CLUSTER_DIR": "one-node cluster: state and logs",
    "CHAT4ALL_DEPLOYED_URL": "flow tests: where scripts/cluster has deployed the platform that they are for",
    "CHAT4ALL_REAL_ENGINES": "stack of real engines: `required` lets tests fail, not skip, without them",
    "CHAT4ALL_MINIO_ENDPOINT": "stack of real engines: where MinIO is; taken for `CHAT4ALL_S3_ENDPOINT`, if not set",
    "CHAT4ALL_MINIO_ACCESS_KEY": "stack of real engines: its key; taken for `CHAT4ALL_S3_ACCESS_KEY`, if not set",
    "CHAT4ALL_MINIO_SECRET_KEY": "stack of real engines: its secret; taken for `CHAT4ALL_S3_SECRET_KEY`, if not set",
    "CHAT4ALL_VERSITYGW_ENDPOINT": "stack of real engines: where versitygw is",
    "CHAT4ALL_VERSITYGW_ACCESS_KEY": "stack of real engines: who asks versitygw",
    "CHAT4ALL_VERSITYGW_SECRET_KEY": "stack of real engines: who asks versitygw",
}
"""Variables of the prefix that are no settings of the platform."""

_OF_ONE_PROCESS = """
TRIGGERS CONCURRENCY HOST PORT DATA_DIR BOOTSTRAP_TENANT BOOTSTRAP_CLIENT_ID BOOTSTRAP_CLIENT_SECRET SIMULATORS
KEEP_EVENTS LOG_FILE FAILPOINT
"""
OF_ONE_PROCESS = frozenset(PREFIX + name for name in _OF_ONE_PROCESS.split())
"""Settings that say nothing to a function of its own on Knative."""

OF_ONE_SERVICE = frozenset({PREFIX + "SHUTDOWN_GRACE"})
"""Settings that each Knative Service says for itself, because they must fit what else it says."""


class SettingsError(Exception):
    """The environment says something that cannot be; the text is one line for people."""


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _networks(text: str) -> str:
    for part in filter(None, map(str.strip, text.split(","))):
        ip_network(part)
    return text


def _at(*schemes: str) -> AfterValidator:
    """URLs, comma-separated. What is wrong is said without quoting any: they may hold passwords."""

    def check(text: str) -> str:
        for url in map(str.strip, text.split(",")):
            try:
                parts = urlsplit(url)
                known = parts.scheme in schemes and bool(parts.hostname or (parts.scheme == "unix" and parts.path))
                _ = parts.port
            except ValueError:
                known = False
            if not known:
                raise ValueError(f"it must be {' or '.join(schemes)}://host:port")
        return text

    return AfterValidator(check)


def _keys(secret: SecretStr | None) -> SecretStr | None:
    if secret is not None:
        keys_of(secret.get_secret_value())
    return secret


def _schedule(text: str) -> str:
    schedule_of(text)
    return text


def _tenant(name: str) -> str:
    try:
        return check_tenant_name(name)
    except Invalid as error:
        raise ValueError(str(error)) from None


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True
    )

    mode: Literal["embedded", "servers", "knative"] = Field(
        "embedded",
        description="`embedded`: everything in one process; `servers`: on Kafka, Cassandra, Redis and NATS; "
        "`knative`: the same behind a Broker",
    )
    triggers: str = Field(
        "all",
        description="What events this process takes, of its functions: `all`, `none`, or services, comma-separated",
    )
    concurrency: int = Field(100, ge=1, description="Calls that each Trigger makes at once in this process, at most")
    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    data_dir: Annotated[Path, AfterValidator(_absolute)] = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("chat4all")),
        description="Where everything is kept (default: the data directory of XDG)",
    )
    public_url: str | None = Field(None, description="How providers and clients reach it (default: host and port)")
    bootstrap_tenant: Annotated[str, AfterValidator(_tenant)] = Field(
        "demo", description="Tenant that the first start creates"
    )
    bootstrap_client_id: str | None = Field(None, description="Its client; set together with the secret")
    bootstrap_client_secret: SecretStr | None = Field(None, description="Applied at every start, also when changed")
    secret_key: Annotated[SecretStr | None, AfterValidator(_keys)] = Field(
        None, description="Fernet keys, comma-separated, the first seals (default: the file vault.key in data_dir)"
    )
    simulators: bool = Field(True, description="Serve simulated providers under /simulators; only on a loopback host")
    provider_hosts: str = Field(
        "",
        description="Hosts, comma-separated, that a channel account's `api` may name beside the provider's own; "
        "loopback is allowed while the simulators are served",
    )
    object_store: Literal["folder", "s3"] | None = Field(
        None, description="Where the bytes of files are; folder: in data_dir (default: folder when embedded, else s3)"
    )
    s3_endpoint: str | None = Field(
        None,
        validation_alias=AliasChoices(PREFIX + "S3_ENDPOINT", PREFIX + "MINIO_ENDPOINT"),
        pattern=r"^https?://[^\s/]+/?$",
        description="Base URL of the object store (default: AWS's own)",
    )
    s3_public_endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^\s/]+/?$",
        description="How clients reach the object store: upload and download URLs name it (default: s3_endpoint)",
    )
    s3_bucket: str = Field("chat4all", description="Made, for nobody else to read, if it is not there")
    s3_region: str = Field("us-east-1", description="Of the bucket")
    s3_access_key: str | None = Field(
        None,
        validation_alias=AliasChoices(PREFIX + "S3_ACCESS_KEY", PREFIX + "MINIO_ACCESS_KEY"),
        description="Who asks the object store (default: as AWS's SDK finds out, such as the machine's role)",
    )
    s3_secret_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices(PREFIX + "S3_SECRET_KEY", PREFIX + "MINIO_SECRET_KEY"),
        description="Its secret",
    )
    rate_limit_per_minute: int = Field(
        100, ge=0, description="Requests per tenant and client address; 0: no limit. A tenant may have its own"
    )
    message_rate_limit_per_minute: int = Field(
        10_000, ge=0, description="The same for messages, history, receipts, files, presence and providers' webhooks"
    )
    trusted_proxies: Annotated[str, AfterValidator(_networks)] = Field(
        "", description="Addresses or networks, comma-separated, whose `X-Forwarded-For` says who the client is"
    )
    webhook_allow_private: bool | None = Field(
        None,
        description="Let webhooks go to loopback and private addresses, by http and to any port; link-local ones and "
        "those of a cloud's metadata stay refused (default: true while the simulators are served, else false)",
    )
    webhook_schedule: Annotated[str, AfterValidator(_schedule)] = Field(
        "5,300,1800,7200,18000,36000,50400,72000,86400",
        description="Seconds after the first, second … failed try of a webhook delivery, each ±20 %; then it is "
        "given up, and can be replayed",
    )
    webhook_timeout: float = Field(15, gt=0, le=30, description="Seconds that one try of a webhook may take")
    webhook_in_flight: int = Field(
        10, ge=1, le=100, description="Tries of one webhook at once, in one process: one that hangs holds no more"
    )
    webhook_disable_after: float = Field(
        120, gt=0, description="Hours after which a webhook of which nothing has worked is switched off"
    )
    allowed_origins: str = Field(
        "", description='Origins, comma-separated, whose pages may open sockets beside those of this host; "*": all'
    )
    sockets_per_user: int = Field(10, ge=1, description="Open sockets and streams of one user at one gateway")
    socket_frames_per_second: int = Field(
        20, ge=1, description="Frames that a client may send on one socket; further ones wait"
    )
    clamav: str = Field(
        "",
        pattern=r"^(tcp://[^/\s]+:[0-9]+|unix:///\S+)?$",
        description="Where clamd is, `tcp://HOST:PORT` or `unix:///PATH`: every file is scanned before it is ready",
    )
    keep_events: int = Field(500_000, ge=1000, description="Events that the log keeps for looking back")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level that is logged")
    log_file: str | None = Field(None, description='Where the JSON lines go; "-" is stdout (default: data_dir/log)')
    otel_endpoint: str | None = Field(
        None,
        validation_alias=AliasChoices(PREFIX + "OTEL_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        description="Base URL of a collector that takes spans by OTLP/HTTP; needs the extra `otel` "
        "(default: `OTEL_EXPORTER_OTLP_ENDPOINT`; without either no spans are made)",
    )
    otel_sample_ratio: float = Field(1.0, ge=0, le=1, description="Part of the traces begun here whose spans are kept")
    kafka_bootstrap_servers: str = Field("127.0.0.1:9092", description="Mode servers: Kafka, comma-separated")
    kafka_topic: str = Field(
        "knative-broker-chat4all-chat4all", description="Its topic, named as the Knative Kafka Broker names it"
    )
    kafka_group_prefix: str = Field(
        "", description="Before the names of the consumer groups; two installations on one Kafka need different ones"
    )
    kafka_partitions: int = Field(
        12, ge=1, description="At least so many partitions; a larger number at the next start adds some (E7)"
    )
    kafka_replication_factor: int = Field(1, ge=1, description="Copies of each partition; one less must be in sync")
    kafka_properties: dict[str, str] = Field(
        default_factory=dict, repr=False, description="JSON: what else librdkafka needs to get in (security, SASL)"
    )
    cassandra_contact_points: str = Field("127.0.0.1", description="Mode servers: nodes, comma-separated")
    cassandra_port: int = Field(9042, ge=1, le=65535, description="Port of the nodes")
    cassandra_keyspace: str = Field("chat4all", pattern="^[a-z][a-z0-9_]{0,47}$", description="Made when not there")
    cassandra_replication_factor: int = Field(1, ge=1, description="Copies of each row, in a keyspace made now")
    cassandra_datacenter: str | None = Field(None, description="Whose nodes are asked (default: that of the first)")
    cassandra_username: str | None = Field(None, description="Who asks Cassandra")
    cassandra_password: SecretStr | None = Field(None, description="Who asks Cassandra")
    redis_url: Annotated[str, _at("redis", "rediss", "unix")] = Field(
        "redis://127.0.0.1:6379/0", repr=False, description="Mode servers: Redis; may be away without harm"
    )
    nats_url: Annotated[str, _at("nats", "tls", "ws", "wss")] = Field(
        "nats://127.0.0.1:4222", repr=False, description="Mode servers: NATS, comma-separated; may be away for a while"
    )
    shutdown_grace: int = Field(
        25,
        ge=1,
        description="Seconds that a function of its own has after SIGTERM to finish the requests under way. On "
        "Knative 35 less than its Service's `timeoutSeconds`: the proxy takes 30 before, and closing takes some",
    )
    failpoint: str = Field("", description="For crash campaigns: points at which the process kills itself")


def load_settings(**given: Any) -> Settings:
    """
    The settings from the environment; ``given`` goes before it.

    Raises:
        SettingsError: a variable is unknown, or a value does not fit.
    """
    unknown = _unknown(os.environ)  # noqa: TID251
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}; known ones are in docs/reference/settings.md")
    try:
        settings = Settings(**given)
    except ValidationError as error:
        problems = "; ".join(f"{_variable(one['loc'])}: {one['msg']}" for one in error.errors())
        raise SettingsError(problems) from None
    if (settings.bootstrap_client_id is None) is not (settings.bootstrap_client_secret is None):
        raise SettingsError("set CHAT4ALL_BOOTSTRAP_CLIENT_ID and CHAT4ALL_BOOTSTRAP_CLIENT_SECRET together")
    if (settings.s3_access_key is None) is not (settings.s3_secret_key is None):
        raise SettingsError("set CHAT4ALL_S3_ACCESS_KEY and CHAT4ALL_S3_SECRET_KEY together")
    return settings


def misfits(told: Mapping[str, str]) -> dict[str, str]:
    """
    What of ``told`` would stop the start of whoever got it as environment, and why; no value is quoted that may be a
    secret. For what is to be checked before anything starts: nothing is read of this process's environment.
    """
    found = dict.fromkeys(_unknown(told), "unknown setting")
    given: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        variable = PREFIX + name.upper()
        if variable not in told:
            continue
        try:
            is_json = get_origin(field.annotation) is dict
            given[name] = json.loads(told[variable]) if is_json else told[variable]
        except ValueError:
            found[variable] = "it must be JSON"
    try:
        _Told(**given)
    except ValidationError as error:
        found |= {_variable(one["loc"]): one["msg"] for one in error.errors()}
    return found


class _Told(Settings):
    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def _unknown(names: Iterable[str]) -> list[str]:
    known = {PREFIX + name.upper() for name in Settings.model_fields} | set(READ_ELSEWHERE)
    return sorted(name for name in names if name.startswith(PREFIX) and name not in known)


def secrets() -> frozenset[str]:
    """The variables whose value is a secret or may hold one, such as an address with a password: for a Secret only."""
    return frozenset(
        PREFIX + name.upper()
        for name, field in Settings.model_fields.items()
        if not field.repr or "SecretStr" in str(field.annotation)
    )


def _variable(loc: tuple[int | str, ...]) -> str:
    return PREFIX + str(loc[0]).upper().removeprefix(PREFIX)


def reference() -> str:
    """The page docs/reference/settings.md."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default_factory or field.default in (None, "") else f"`{field.default}`"
        rows.append(f"| `{PREFIX}{name.upper()}` | {field.description} | {default} | {_on_kubernetes(name)} |")
    others = [f"| `{name}` | {text} | | |" for name, text in READ_ELSEWHERE.items()]
    return "\n".join(
        [
            "# Settings",
            "",
            "<!-- Made by scripts/export-contracts from shared/settings.py. -->",
            "",
            "Environment variables. One that is not listed here stops the start. On Kubernetes functions get them from",
            "the ConfigMap and the Secret `chat4all`, as the last column says, or each from its own Service; those",
            "without are not for functions. In production `CHAT4ALL_KAFKA_PROPERTIES` is in another Secret,",
            "`chat4all-log`, for who goes to Kafka.",
            "",
            "| variable | what | default | on Kubernetes |",
            "| --- | --- | --- | --- |",
            *rows,
            *others,
            "",
        ]
    )


def _on_kubernetes(name: str) -> str:
    variable = PREFIX + name.upper()
    if variable in OF_ONE_PROCESS:
        return ""
    if variable in OF_ONE_SERVICE:
        return "its Service"
    return "Secret" if variable in secrets() else "ConfigMap"

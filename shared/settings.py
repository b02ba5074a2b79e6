"""
Every setting: the only reader of the environment.

Each is an environment variable with the prefix CHAT4ALL_. One that nobody knows stops the start, because a
misspelt setting would otherwise be silently ignored. docs/reference/settings.md is printed from here.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import AfterValidator, AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

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
    "CHAT4ALL_REAL_ENGINES": "stack of real engines: `required` lets tests fail, not skip, without them",
    "CHAT4ALL_KAFKA_BOOTSTRAP_SERVERS": "stack of real engines: brokers, comma-separated",
    "CHAT4ALL_KAFKA_REPLICATION_FACTOR": "stack of real engines: copies of each partition",
    "CHAT4ALL_CASSANDRA_CONTACT_POINTS": "stack of real engines: nodes, comma-separated",
    "CHAT4ALL_CASSANDRA_PORT": "stack of real engines: port of the nodes",
    "CHAT4ALL_CASSANDRA_REPLICATION_FACTOR": "stack of real engines: copies of each row",
    "CHAT4ALL_REDIS_URL": "stack of real engines: where Redis is",
    "CHAT4ALL_NATS_URL": "stack of real engines: where NATS is",
    "CHAT4ALL_MINIO_ENDPOINT": "stack of real engines: where MinIO is; taken for `CHAT4ALL_S3_ENDPOINT`, if not set",
    "CHAT4ALL_MINIO_ACCESS_KEY": "stack of real engines: its key; taken for `CHAT4ALL_S3_ACCESS_KEY`, if not set",
    "CHAT4ALL_MINIO_SECRET_KEY": "stack of real engines: its secret; taken for `CHAT4ALL_S3_SECRET_KEY`, if not set",
    "CHAT4ALL_VERSITYGW_ENDPOINT": "stack of real engines: where versitygw is",
    "CHAT4ALL_VERSITYGW_ACCESS_KEY": "stack of real engines: who asks versitygw",
    "CHAT4ALL_VERSITYGW_SECRET_KEY": "stack of real engines: who asks versitygw",
}
"""Variables of the prefix that are no settings of the platform."""


class SettingsError(Exception):
    """The environment says something that cannot be; the text is one line for people."""


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True
    )

    mode: Literal["embedded"] = Field("embedded", description="How it runs; embedded: everything in one process")
    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    data_dir: Annotated[Path, AfterValidator(_absolute)] = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("chat4all")),
        description="Where everything is kept (default: the data directory of XDG)",
    )
    public_url: str | None = Field(None, description="How providers and clients reach it (default: host and port)")
    bootstrap_tenant: str = Field("demo", description="Tenant that the first start creates")
    bootstrap_client_id: str | None = Field(None, description="Its client; set together with the secret")
    bootstrap_client_secret: SecretStr | None = Field(None, description="Applied at every start, also when changed")
    secret_key: SecretStr | None = Field(
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
        description="Base URL of the object store (default: AWS's own)",
    )
    s3_public_endpoint: str | None = Field(
        None, description="How clients reach the object store: upload and download URLs name it (default: s3_endpoint)"
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
        100, ge=0, description="Requests per tenant and address; 0: no limit. Read, not enforced yet (E11)"
    )
    message_rate_limit_per_minute: int = Field(
        10_000, ge=0, description="The same for messages, history and files. Read, not enforced yet (E11)"
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
    failpoint: str = Field("", description="For crash campaigns: points at which the process kills itself")


def load_settings(**given: Any) -> Settings:
    """
    The settings from the environment; ``given`` goes before it.

    Raises:
        SettingsError: a variable is unknown, or a value does not fit.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields} | set(READ_ELSEWHERE)
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)  # noqa: TID251
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


def _variable(loc: tuple[int | str, ...]) -> str:
    return PREFIX + str(loc[0]).upper().removeprefix(PREFIX)


def reference() -> str:
    """The page docs/reference/settings.md."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default_factory or field.default in (None, "") else f"`{field.default}`"
        rows.append(f"| `{PREFIX}{name.upper()}` | {field.description} | {default} |")
    others = [f"| `{name}` | {text} | |" for name, text in READ_ELSEWHERE.items()]
    return "\n".join(
        [
            "# Settings",
            "",
            "<!-- Made by scripts/export-contracts from shared/settings.py. -->",
            "",
            "Environment variables. One that is not listed here stops the start.",
            "",
            "| variable | what | default |",
            "| --- | --- | --- |",
            *rows,
            *others,
            "",
        ]
    )

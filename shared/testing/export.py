"""
What others read instead of our code, made from it: event schemas, the OpenAPI document, reference pages.

    scripts/export-contracts            write what differs
    scripts/export-contracts --check    name what differs and exit 1

Examples of events are not made but kept: events/schemas/examples/ only grows (events/README.md).
"""

import argparse
import ast
import asyncio
import json
import re
import sys
from collections.abc import Iterator, Mapping
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec
import yaml

import functions
from events import CATALOGUE, EventData, TimerTicked
from events.envelope import SCHEMA_BASE
from functions.realtime.gateway import SOCKET
from shared import settings
from shared.adapters.memory.record_log import MemoryRecordLog
from shared.domain import errors
from shared.http.problems import type_of
from shared.runtime import health, operations
from shared.runtime.api import ROUTERS, Api
from shared.runtime.functions import folder_of, names, new
from shared.runtime.trigger_runner import TriggerRunner
from shared.runtime.wiring import Trigger, Wiring, manifests, read
from shared.testing.memory_ports import open_memory

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "events" / "schemas"
EXAMPLES = SCHEMAS / "examples"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
NAMESPACE = "chat4all"
COMMAND = "scripts/export-contracts"
_MADE = f"<!-- Made by {COMMAND}; do not edit. -->"
_TYPE = re.compile(r"(?:chat4all)?(?:\.[a-z]+)+\.v\d+")


async def _at_once() -> None:
    """Nothing is written here, so nothing is to be waited for."""


def contracts() -> dict[Path, str]:
    """Every generated file and what must be in it."""
    document = openapi()
    made = {SCHEMAS / f"{kind}.json": _json(schema(model)) for kind, model in CATALOGUE.items()}
    reference = ROOT / "docs" / "reference"
    return {
        **made,
        ROOT / "sdk" / "openapi" / "v1.json": _json(document),
        reference / "events.md": events_page(),
        reference / "settings.md": settings.reference(),
        reference / "errors.md": errors_page(),
        reference / "http.md": http_page(document),
        ROOT / "infra" / "overlays" / "entry" / "http-routes.yaml": entry(),
    }


def schema(model: type[EventData]) -> dict[str, Any]:
    """JSON Schema of the data of one event type."""
    (reference,), components = msgspec.json.schema_components([model], ref_template="#/$defs/{name}")
    own = components.pop(reference["$ref"].rpartition("/")[2])
    document = {"$schema": DIALECT, "$id": f"{SCHEMA_BASE}{model.TYPE}.json", **own}
    return {**document, "$defs": dict(sorted(components.items()))} if components else document


def examples(kind: str) -> list[Path]:
    """The events of this type that were ever published as examples, the oldest first."""
    return sorted(EXAMPLES.glob(f"{kind}.json")) + sorted(EXAMPLES.glob(f"{kind}.[0-9]*.json"))


def openapi() -> dict[str, Any]:
    """The document that /openapi.json serves, without a server."""
    return asyncio.run(_openapi())


async def _openapi() -> dict[str, Any]:
    async with open_memory({}) as ports:
        runner = TriggerRunner([], {}, MemoryRecordLog())
        document: dict[str, Any] = Api(
            ports, {}, _at_once, [operations.router(runner), health.router({})]
        ).app.openapi()
    return document


def entry() -> str:
    """
    The public host: an HTTPRoute for each function that leads its paths to its Knative Service or Deployment.

    Not one for all: the Gateway API takes no more than 16 rules in one. Paths that have parameters are regular
    expressions, which it leaves to implementations. So is how long an answer may take where a rule does not say it
    (Envoy Gateway: 15 s): here as long as the Service lets it, and a stream has no end.
    """
    deployments = {path.stem for path in manifests().glob("deployments/*.yaml")}
    routes = []
    for function, paths in asyncio.run(_routes()).items():
        rule: dict[str, Any] = {"matches": [_path_match(path, method) for path, method in paths]}
        if function in deployments:
            if function == "realtime":
                beside = [SOCKET, *health.PATHS]
                rule["matches"] = [*(_path_match(path, None) for path in beside), *rule["matches"]]
            rule |= {"backendRefs": [{"name": function, "port": 80}], "timeouts": {"request": "0s"}}
        else:
            rewrite = {"type": "URLRewrite", "urlRewrite": {"hostname": f"{function}.{NAMESPACE}.svc.cluster.local"}}
            rule |= {"filters": [rewrite], "backendRefs": [{"name": "entry", "port": 80}]}
            rule["timeouts"] = {"request": f"{_longest(function)}s"}
        routes.append(
            {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "HTTPRoute",
                "metadata": {"name": function, "labels": {"app.kubernetes.io/component": function}},
                "spec": {"parentRefs": [{"name": "chat4all"}], "rules": [rule]},
            }
        )
    return f"# Made by {COMMAND}; do not edit.\n{yaml.safe_dump_all(routes, sort_keys=False, width=118)}"


def _longest(function: str) -> int:
    """Seconds that its Service gives it for one request."""
    service = yaml.safe_load((manifests() / "services" / f"{function}.yaml").read_text(encoding="utf-8"))
    return int(service["spec"]["template"]["spec"]["timeoutSeconds"])


async def _routes() -> dict[str, list[tuple[str, str | None]]]:
    """By function, its paths; and their method, where another function serves the same path."""
    found: dict[str, list[tuple[str, str]]] = {}
    async with open_memory({}) as ports:
        for name, router in ROUTERS.items():
            routes = router(new(name, ports)).routes
            found[name] = [(one.path, method) for one in routes for method in sorted(one.methods)]
    owners: dict[str, set[str]] = {}
    for name, paths in found.items():
        for path, _ in paths:
            owners.setdefault(path, set()).add(name)
    shared_paths = {path for path, names_of_it in owners.items() if len(names_of_it) > 1}
    return {
        name: list(dict.fromkeys((path, method if path in shared_paths else None) for path, method in paths))
        for name, paths in found.items()
    }


def _path_match(path: str, method: str | None) -> dict[str, Any]:
    pattern = re.sub(r"{[^}]+}", "[^/]+", path)
    kind = "Exact" if pattern == path else "RegularExpression"
    match: dict[str, Any] = {"path": {"type": kind, "value": pattern}}
    return {**match, "method": method} if method else match


def emitters() -> dict[str, list[str]]:
    """Functions by the type that they say they emit, in the first lines of their func.py."""
    found: dict[str, list[str]] = {kind: [] for kind in CATALOGUE}
    for folder in sorted({folder_of(name) for name in names()}):
        for kind in emitted_by(folder):
            found[kind].append(folder.replace("_", "-"))
    return found


def emitted_by(folder: str) -> list[str]:
    """
    The types after "emits" in the docstring; ``.read.v1`` stands for the entity of the type before it.

    Raises:
        KeyError: a type that is not in the catalogue.
    """
    docstring = ast.get_docstring(ast.parse(source_of(folder))) or ""
    said = " ".join(docstring.partition("\n\n")[2].split()).partition(" emits ")[2].partition(". ")[0]
    kinds: list[str] = []
    entity = ""
    for named in _TYPE.findall(said):
        kind = named if named.startswith("chat4all") else entity + named
        entity = kind.rsplit(".", 2)[0]
        kinds.append(CATALOGUE[kind].TYPE)
    return kinds


def source_of(folder: str) -> str:
    return (Path(functions.__path__[0]) / folder / "func.py").read_text(encoding="utf-8")


def events_page() -> str:
    wiring, emitted = read(), emitters()
    emitted[TimerTicked.TYPE].append("the timers (knative/timers/)")
    lines = [
        "# Events",
        "",
        _MADE,
        "",
        "The only contract between functions. How to add or change one: [events/README.md](../../events/README.md).",
        "Beside its data every event has the CloudEvents attributes `id`, `source`, `type`, `subject`, `time`,",
        "`datacontenttype`, `dataschema`, and the extensions `partitionkey`, `tenant` and, when somebody traces,",
        "`traceparent`. Every Trigger's dead letter sink, `dead-letter`, takes any of them.",
        "",
    ]
    lines += [f"- [`{kind}`](#{_anchor(kind)}): {_first_sentence(model)}" for kind, model in CATALOGUE.items()]
    for kind, model in CATALOGUE.items():
        lines += ["", *_event(kind, model, emitted[kind], list(_takers(wiring, model)))]
    return "\n".join(lines) + "\n"


def _event(kind: str, model: type[EventData], emitted: list[str], taken: list[str]) -> Iterator[str]:
    yield from (f"## {kind}", "", cleandoc(model.__doc__ or ""), "")
    example = json.loads(examples(kind)[-1].read_text(encoding="utf-8"))
    extensions = sorted(set(example) - _EVERY)
    yield f"- emitted by: {', '.join(emitted) or 'integrations'}"
    yield f"- taken by: {'; '.join(taken) or 'no function yet; subscribers may'}"
    if extensions:
        yield f"- Triggers can filter on: {', '.join(f'`{name}`' for name in extensions)}"
    yield f"- schema: [events/schemas/{kind}.json](../../events/schemas/{kind}.json)"
    yield from ("", "| field | type | required |", "| --- | --- | --- |")
    properties = schema(model)["properties"]
    required = set(schema(model).get("required", ()))
    for name, shape in properties.items():
        yield f"| `{name}` | {_shape(shape)} | {'yes' if name in required else ''} |"
    yield from ("", "```json", json.dumps(example, ensure_ascii=False, indent=2), "```")


_EVERY = {
    "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "partitionkey",
    "tenant", "traceparent", "data",
}  # fmt: skip


def _takers(wiring: Wiring, model: type[EventData]) -> Iterator[str]:
    for trigger in wiring.triggers:
        if (model is TimerTicked and "timer" in trigger.filter) or trigger.filter.get("type") == model.TYPE:
            yield f"{trigger.subscriber} (Trigger `{trigger.name}`{_only(trigger)})"


def _only(trigger: Trigger) -> str:
    rest = [f"`{name}={value}`" for name, value in trigger.filter.items() if name != "type"]
    return f", only {' and '.join(rest)}" if rest else ""


def _anchor(kind: str) -> str:
    return kind.replace(".", "")


def _first_sentence(model: type[EventData]) -> str:
    return re.split(r"(?<=[.])\s|; ", " ".join((model.__doc__ or "").split()), maxsplit=1)[0].rstrip(".")


def _shape(shape: Mapping[str, Any]) -> str:
    if "$ref" in shape:
        return f"`{shape['$ref'].rpartition('/')[2]}`"
    if "anyOf" in shape:
        return " or ".join(dict.fromkeys(_shape(one) for one in shape["anyOf"]))
    if "enum" in shape:
        return " or ".join(f"`{json.dumps(value)}`" for value in shape["enum"])
    kind = str(shape.get("type", "anything"))
    if kind == "array":
        return f"list of {_shape(shape.get('items', {}))}"
    if kind == "object" and isinstance(values := shape.get("additionalProperties"), dict):
        return f"map of {_shape(values)}"
    details = [str(shape["format"])] if "format" in shape else []
    details += [str(shape["description"])] if "description" in shape else []
    return f"{kind} ({'; '.join(details)})" if details else kind


def errors_page() -> str:
    lines = [
        "# Errors",
        "",
        _MADE,
        "",
        "Every error answer is `application/problem+json` (RFC 9457) with `type`, `title`, `status`, `detail`,",
        "`instance` and `trace_id`; `invalid` has `errors: [{pointer, detail}]` too where fields are wrong.",
        "Programs compare `type`, people read `detail`. 429 and 503 may say `Retry-After`; what answered 4xx changes",
        "nothing when it is repeated.",
        "",
        "| type | status | title |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| `{type_of(error.code)}` | {error.status} | {error.title} |"
        for error in sorted(_named_errors(), key=lambda error: (error.status, error.code))
    ]
    lines += [
        "",
        "What only HTTP knows: 405 `method-not-allowed` with `Allow`; 426 `upgrade-required` at `/ws`;",
        "400 `malformed`, a multipart form that cannot be read, or a part of a file of another length; at URLs of the",
        "file store 412 `precondition-failed` and 416 `requested-range-not-satisfiable` (an S3 answers in its own",
        "way). A body that is no JSON, although its Content-Type says so, is 422 `invalid`. `POST /auth/token` and",
        "`POST /v1/events` take other bodies than JSON, and judge them themselves.",
    ]
    return "\n".join(lines) + "\n"


def _named_errors() -> list[type[errors.Chat4AllError]]:
    """All that can reach a caller: what channels raise is answered to nobody, it becomes a status."""
    named = [
        value
        for value in vars(errors).values()
        if isinstance(value, type)
        and issubclass(value, errors.Chat4AllError)
        and not issubclass(value, errors.ChannelError)
    ]
    return [error for error in named if error is not errors.Refused]


def http_page(document: Mapping[str, Any]) -> str:
    lines = [
        "# HTTP",
        "",
        _MADE,
        "",
        "The whole description is [sdk/openapi/v1.json](../../sdk/openapi/v1.json), which the platform also serves at",
        "`/openapi.json`, and `/docs` shows.",
    ]
    by_tag: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            said = (operation.get("description") or operation["summary"]).split("\n\n")[0].replace("\n", " ")
            statuses = ", ".join(operation["responses"])
            by_tag.setdefault(operation["tags"][0], []).append(f"| {method.upper()} `{path}` | {said} | {statuses} |")
    for tag, rows in by_tag.items():
        lines += ["", f"## {tag}", "", "| call | what | answers |", "| --- | --- | --- |", *rows]
    return "\n".join(lines) + "\n"


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def differences() -> dict[Path, str]:
    """What must be written, by file."""
    made = contracts()
    return {path: text for path, text in made.items() if not path.is_file() or path.read_text("utf-8") != text}


def left_over() -> list[Path]:
    """Schemas of types that are no more; a type that was published is never taken away."""
    return [path for path in sorted(SCHEMAS.glob("*.json")) if path.stem not in CATALOGUE]


def without_example() -> list[str]:
    return [kind for kind in CATALOGUE if not examples(kind)]


def main() -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description="Write or check what is generated from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 when something differs")
    check = parser.parse_args().check
    missing = without_example()
    if missing:
        sys.stderr.write(f"write an example into events/schemas/examples/ of: {', '.join(missing)}\n")
        return 1
    wanted = differences()
    for path, text in wanted.items():
        name = path.relative_to(ROOT)
        if check:
            sys.stderr.write(f"{name} is not what the code says; run {COMMAND}\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"written: {name}\n")
    for path in left_over():
        sys.stderr.write(f"{path.relative_to(ROOT)} describes no event of the catalogue; put the event back\n")
    return 1 if left_over() or (check and wanted) else 0


if __name__ == "__main__":
    sys.exit(main())

"""
What the events promise those who keep them (design.md 3, A11, E1, E9).

Every example ever published parses for ever, fits the schema of its type, and carries the attributes; derived
ids never change, because consumers drop repeats by them.
"""

import ast
import json
from pathlib import Path

import msgspec
import pytest
from jsonschema import Draft202012Validator, FormatChecker

import events
from events import CATALOGUE, CloudEvent, Event, EventData, derived_id, from_cloudevent
from events.cloudevent import from_http, from_structured
from shared.runtime.functions import folder_of, names
from shared.testing import export
from shared.testing.build import an_event

EXAMPLES = sorted(export.EXAMPLES.glob("*.json"))
MADE = export.contracts()
FOLDERS = sorted({folder_of(name) for name in names()})


def event_in(path: Path) -> CloudEvent:
    return from_structured(path.read_bytes())


def typed(path: Path) -> Event[EventData]:
    event: Event[EventData] = from_cloudevent(event_in(path), CATALOGUE)
    return event


@pytest.mark.parametrize("kind", CATALOGUE)
def test_every_type_has_an_example(kind: str) -> None:
    assert export.examples(kind), f"write events/schemas/examples/{kind}.json"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_ever_published_parses(path: Path) -> None:
    event = typed(path)
    assert path.stem.startswith(event.data.TYPE)
    again: Event[EventData] = from_cloudevent(from_http(*event.to_cloudevent().to_binary()), CATALOGUE)
    assert again == event


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_fits_the_schema_of_its_type(path: Path) -> None:
    event = json.loads(path.read_text())
    schema = json.loads((export.SCHEMAS / f"{event['type']}.json").read_text())
    assert schema["$id"] == event["dataschema"]
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(event["data"])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_event_carries_the_attributes_of_the_design(path: Path) -> None:
    attributes = typed(path).to_cloudevent().attributes
    wanted = {"id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "partitionkey", "tenant"}
    assert wanted <= {name for name, value in attributes.items() if value}
    assert attributes["source"].startswith("/")
    assert attributes["datacontenttype"] == "application/json"
    assert attributes["time"].endswith("Z")


@pytest.mark.parametrize("kind", CATALOGUE)
def test_what_speaks_of_a_conversation_is_keyed_by_it(kind: str) -> None:
    """So a conversation stays in one partition of the broker."""
    event = typed(export.examples(kind)[-1])
    conversation = getattr(event.data, "conversation_id", None)
    if conversation:
        assert event.data.partition_key == conversation
    else:
        assert event.data.partition_key


@pytest.mark.parametrize("kind", CATALOGUE)
def test_readers_ignore_fields_that_they_do_not_know_yet(kind: str) -> None:
    """A version may grow by optional fields, and old readers stay."""
    event = json.loads(export.examples(kind)[-1].read_text())
    event["data"]["a_field_of_next_year"] = {"deep": [1]}
    event["extensionofnextyear"] = "x"
    from_cloudevent(from_structured(json.dumps(event).encode()), CATALOGUE)


@pytest.mark.parametrize("kind", CATALOGUE)
def test_a_required_field_that_is_missing_or_wrong_is_refused(kind: str) -> None:
    event = json.loads(export.examples(kind)[-1].read_text())
    for name in export.schema(CATALOGUE[kind])["required"]:
        for data in ({**event["data"], name: []}, {k: v for k, v in event["data"].items() if k != name}):
            if data.get(name) == [] and name == "members":
                continue
            with pytest.raises(events.BadEvent):
                from_cloudevent(from_structured(json.dumps({**event, "data": data}).encode()), CATALOGUE)


def test_data_of_many_levels_is_refused_as_any_other_that_is_wrong() -> None:
    """It is no bug of ours: whoever handles it answers that it can never be done, and it is not tried again."""
    sent = event_in(EXAMPLES[0])
    deep = b'{"more": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    with pytest.raises(events.BadEvent):
        from_cloudevent(CloudEvent(sent.attributes, deep), CATALOGUE)


def test_derived_ids_are_what_they_always_were() -> None:
    """Golden values: one that changes makes every redelivered event a new one."""
    assert derived_id("a", "b") == "8539640a-f84a-5401-93cb-b3575689854f"
    message = an_event()
    caused = {
        path.stem: message.caused(typed(path).data, source="/tests", at=message.time).id
        for path in EXAMPLES
        if path.stem in CATALOGUE
    }
    assert caused == GOLDEN
    assert len(set(caused.values())) == len(caused)


GOLDEN = {
    "chat4all.conversation.created.v1": "cdac8225-8600-545a-9ae7-d0b7b08f5593",
    "chat4all.delivery.requested.v1": "b88a718c-be48-5903-8171-deb02312132e",
    "chat4all.echo.received.v1": "70793dfa-8a82-5efd-b476-58c1645d656a",
    "chat4all.file.complete.requested.v1": "9e696208-1975-5783-9ef3-99acbcecf966",
    "chat4all.file.completed.v1": "17a40026-eb32-58c4-bb01-569f973929ff",
    "chat4all.file.initiate.requested.v1": "5721d97d-b589-5e54-a9dd-46d4085457a0",
    "chat4all.file.ready.v1": "9ab8239c-03ad-5b9a-9131-ce51806352b6",
    "chat4all.file.rejected.v1": "6d39217a-ad35-5bfb-ad1d-75e20255ed93",
    "chat4all.member.added.v1": "8776d33b-4582-56b3-bec6-4edb64d9446a",
    "chat4all.member.removed.v1": "343d59ca-6b6b-5cce-98a4-04bec6a64b7f",
    "chat4all.presence.changed.v1": "0f459912-f370-58e6-bd46-1537f2db6efd",
    "chat4all.message.accepted.v1": "b6f253ab-3b23-52e9-8af6-975a77692fca",
    "chat4all.message.delivered.v1": "997d720b-3b5b-5050-878a-ef27a8f423e7",
    "chat4all.message.failed.v1": "ee13034e-2a35-5866-85fd-edba6378f3bb",
    "chat4all.message.read.v1": "8231019a-590a-54af-9746-f9d2ed700aab",
    "chat4all.message.received.v1": "2c029c5c-f7cc-511f-882e-86e9360bbce3",
    "chat4all.message.send.requested.v1": "48ed7ca6-5ef5-5c8b-b035-d1696e94de21",
    "chat4all.message.sent.v1": "6b2f8bca-9e45-55bd-aa58-91db9bf922e6",
    "chat4all.receipt.reported.v1": "aea994bd-6667-5ae0-9a72-e47d1b84d176",
    "chat4all.status.reported.v1": "00ddad84-e188-5898-a84b-184b4e2e8d9d",
    "chat4all.timer.ticked.v1": "2a6ff6b2-cc81-55ab-b3c6-4246e50b194a",
    "chat4all.webhook.disabled.v1": "38a44241-9853-50f3-8c65-d133d6fe98ed",
    "chat4all.webhook.requested.v1": "f2988306-aca1-5fd1-bc3c-f46b91fc70b8",
}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_same_cause_and_data_give_the_same_event_and_others_another(path: Path) -> None:
    cause, other = an_event(id="1"), an_event(id="2")
    data = typed(path).data
    first = cause.caused(data, source="/tests", at=cause.time)
    assert first == cause.caused(msgspec.structs.replace(data), source="/tests", at=cause.time)
    assert first.id != other.caused(data, source="/tests", at=cause.time).id
    assert (first.tenant, first.traceparent) == (cause.tenant, cause.traceparent)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_function_says_what_it_emits(folder: str) -> None:
    """Every event that it makes is named after "emits" in its docstring, from which the catalogue page is made."""
    models = {model.__name__: kind for kind, model in CATALOGUE.items()}
    tree = ast.parse(export.source_of(folder))
    made = {
        models[node.func.id]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in models
    }
    assert made <= set(export.emitted_by(folder))


@pytest.mark.parametrize("path", sorted(MADE), ids=lambda path: str(path.relative_to(export.ROOT)))
def test_what_is_generated_is_what_the_code_says(path: Path) -> None:
    assert path.is_file(), f"run {export.COMMAND}"
    assert path.read_text(encoding="utf-8") == MADE[path], f"run {export.COMMAND}"


def test_no_type_was_taken_away() -> None:
    assert export.left_over() == []

"""The frames that the guide of /ws shows are those that clients may send and get."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from functions.realtime import incoming
from functions.realtime.outgoing import heard
from shared.domain.frames import ErasedFrame, Frame

GUIDE = (Path(__file__).resolve().parents[2] / "docs/guides/realtime.md").read_text()
COMING, SENT = (block.splitlines() for block in re.findall(r"^```jsonl\n(.+?)\n```$", GUIDE, re.MULTILINE | re.DOTALL))
OWN = {"ready", "ping", "auth.expiring", "auth.renewed", "error"}
"""Frames that the gateway says itself; tests/flow/test_realtime.py has all of them."""


def tags(union: Any) -> set[str]:
    return {one.__struct_config__.tag for one in get_args(union)}


def type_of(line: str) -> str:
    said: str = json.loads(line)["type"]
    return said


@pytest.mark.parametrize("line", SENT, ids=type_of)
def test_every_frame_that_clients_are_told_to_send_is_understood_whole(line: str) -> None:
    assert msgspec.to_builtins(incoming.read(line)) == json.loads(line)


@pytest.mark.parametrize("line", [one for one in COMING if type_of(one) not in OWN], ids=type_of)
def test_every_frame_that_is_shown_is_as_it_is_sent(line: str) -> None:
    frame: Any = msgspec.json.decode(line, type=Frame)
    assert json.loads(msgspec.json.encode(frame)) == json.loads(line)
    assert heard(line.encode())[0] == type_of(line)


def test_no_frame_is_left_out() -> None:
    assert {type_of(one) for one in SENT} == tags(incoming.Incoming)
    assert {type_of(one) for one in COMING} == tags(Frame) - {ErasedFrame.__struct_config__.tag} | OWN

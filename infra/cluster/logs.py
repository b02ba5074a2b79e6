"""What the functions say in their pods' logs."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from infra.cluster.layout import NAMESPACE

WRITTEN = 1.0
"""Seconds until what a pod said is in its log."""


def said() -> Iterable[Mapping[str, Any]]:
    """By all functions whose pods are there, or have just gone."""
    for file in Path("/var/log/pods").glob(f"{NAMESPACE}_*/user-container/*.log"):
        try:
            text = file.read_text(encoding="utf-8", errors="replace")  # its last letter may be half written
        except FileNotFoundError:  # its pod has gone, and the log with it
            continue
        yield from lines_of(text)


def lines_of(log: str) -> Iterator[Mapping[str, Any]]:
    """
    What a function said, of a file that the kubelet keeps.

    The last line is still being written until it ends; P is the kubelet's mark of one that it cut. What has another
    shape is passed over: one line that was broken off is no reason to lose sight of all others.
    """
    for line in log.split("\n")[:-1]:
        match line.split(" ", 3):
            case [_, _, "F", text] if text.startswith("{"):
                with suppress(JSONDecodeError):
                    yield json.loads(text)


def done(line: Mapping[str, Any]) -> bool:
    """Whether it says that an event is handled; an attempt that failed has a line, too."""
    return line.get("message") == "event handled" and line.get("outcome") == "done"

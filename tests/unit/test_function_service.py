"""What one function as a process takes from its environment, under either server (E9)."""

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from shared.observability.log import log, write_to
from shared.runtime.function_service import FunctionService
from shared.runtime.opened import Opened
from shared.runtime.start_error import NOT_STARTED, StartError


@asynccontextmanager
async def nothing(cfg: Mapping[str, str]) -> AsyncIterator[Opened]:
    log.info("opening")
    raise StartError("there are none", NOT_STARTED)
    yield


@pytest.mark.parametrize(
    ("told", "lines"),
    [
        ({}, ["INFO", "CRITICAL"]),
        ({"CHAT4ALL_LOG_LEVEL": "INFO"}, ["INFO", "CRITICAL"]),
        ({"CHAT4ALL_LOG_LEVEL": "ERROR"}, ["CRITICAL"]),
        ({"CHAT4ALL_LOG_LEVEL": "LOUD"}, ["CRITICAL"]),
    ],
)
async def test_the_least_level_that_is_logged_is_a_setting_of_a_function_too(
    told: Mapping[str, str], lines: list[str]
) -> None:
    written = io.StringIO()
    write_to(written)
    service = FunctionService(nothing)
    service.start({"CHAT4ALL_FUNCTION": "push", **told})
    with pytest.raises(StartError) as stopped:
        await service.started()
    assert [json.loads(line)["level"] for line in written.getvalue().splitlines()] == lines
    assert ("CHAT4ALL_LOG_LEVEL" in str(stopped.value)) is (told.get("CHAT4ALL_LOG_LEVEL") == "LOUD")
    write_to(io.StringIO())

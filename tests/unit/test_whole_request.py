"""An answer waits for the rest of its request, within bounds: Go's proxies break what is answered before (E8)."""

import asyncio
from collections.abc import Iterator

import pytest

from shared.runtime import whole_request
from shared.runtime.whole_request import MOST, WholeRequest

START = {"type": "http.response.start", "status": 413, "headers": []}
LENGTH = [(b"content-length", b"9")]


class Caller:
    def __init__(self, parts: Iterator[bytes]) -> None:
        self.parts, self.read, self.answered = parts, 0, False

    async def receive(self):
        assert not self.answered, "who is answered sends no more"
        part = next(self.parts, None)
        if part is None:
            return {"type": "http.disconnect"}
        self.read += len(part)
        return {"type": "http.request", "body": part, "more_body": part != b""}

    async def send(self, message) -> None:
        self.answered = True


def of(caller: Caller, headers) -> WholeRequest:
    return WholeRequest({"type": "http", "headers": headers}, caller.receive, caller.send)


@pytest.mark.parametrize("header", [b"content-length", b"transfer-encoding"])
async def test_what_nobody_read_is_read_before_the_answer(header: bytes) -> None:
    caller = Caller(iter([b"abc", b"def", b""]))
    await of(caller, [(header, b"6")]).send(START)
    assert (caller.read, caller.answered) == (6, True)


async def test_what_was_read_is_not_asked_for_again() -> None:
    caller = Caller(iter([b"abc", b""]))
    request = of(caller, LENGTH)
    while (await request.receive())["more_body"]:
        pass
    await request.send(START)
    assert caller.answered


@pytest.mark.parametrize("headers", [[], [*LENGTH, (b"expect", b"100-continue")]])
async def test_nothing_is_read_where_there_is_no_body_or_it_waits_to_be_asked_for(headers) -> None:
    caller = Caller(iter([b"abc"]))
    await of(caller, headers).send(START)
    assert (caller.read, caller.answered) == (0, True)


async def test_one_that_waited_to_be_asked_for_and_was_is_read_to_its_end() -> None:
    caller = Caller(iter([b"abc", b"def", b""]))
    request = of(caller, [*LENGTH, (b"expect", b"100-continue")])
    await request.receive()
    await request.send(START)
    assert (caller.read, caller.answered) == (6, True)


async def test_who_hangs_up_is_not_waited_for() -> None:
    caller = Caller(iter([b"abc"]))
    await of(caller, LENGTH).send(START)
    assert caller.answered


async def test_a_body_without_end_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1024 * 1024)

    caller = Caller(endless())
    await of(caller, LENGTH).send(START)
    assert (caller.read, caller.answered) == (MOST, True)


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_request, "LONGEST", 0.05)
    caller = Caller(iter([]))

    async def never():
        await asyncio.Event().wait()

    caller.receive = never  # type: ignore[method-assign]
    await of(caller, LENGTH).send(START)
    assert caller.answered

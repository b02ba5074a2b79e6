"""The load's own WebSocket client against the library's server, and the audience against what servers get wrong."""

import asyncio
from collections.abc import Callable

import orjson
import pytest
from websockets.asyncio.server import ServerConnection, serve

from shared.testing.audience import Audience, Place
from shared.testing.sockets import NotOpened, Socket


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while True:
            if true():
                return
            await asyncio.sleep(0.005)


async def test_texts_of_every_size_come_back_whole_and_in_order() -> None:
    async def echo(connection: ServerConnection) -> None:
        async for text in connection:
            await connection.send(text)

    texts = [b"x" * size for size in (0, 1, 125, 126, 127, 65_535, 65_536, 200_000)] * 3
    heard: list[bytes] = []
    codes: list[int] = []
    async with serve(echo, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        socket = await Socket.open(port, "/ws", heard=heard.append, lost=codes.append)
        for text in texts:
            socket.send(text)
        await until(lambda: len(heard) == len(texts))
        assert heard == texts
        socket.close()
        await until(lambda: codes == [1000])


async def test_pings_are_answered_and_the_code_of_a_close_is_heard() -> None:
    async def close(connection: ServerConnection) -> None:
        await (await connection.ping())
        await connection.close(4408, "slow")

    codes: list[int] = []
    async with serve(close, "127.0.0.1", 0) as server:
        await Socket.open(server.sockets[0].getsockname()[1], "/ws", heard=lambda text: None, lost=codes.append)
        await until(lambda: codes == [4408])


async def test_a_server_that_wants_no_sockets_is_told_apart() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        with pytest.raises(NotOpened, match="401"):
            await Socket.open(server.sockets[0].getsockname()[1], "/ws", heard=lambda text: None)


async def faults_of(seqs: list[int]) -> list[str]:
    """What an audience says of a server that pushes these numbers of one conversation."""

    async def push(connection: ServerConnection) -> None:
        await connection.send(b'{"type":"ready"}', text=True)
        for seq in seqs:
            frame = {"type": "message", "conversation_id": "c", "seq": seq, "message_id": "m"}
            await connection.send(orjson.dumps(frame), text=True)
        await connection.wait_closed()

    async with serve(push, "127.0.0.1", 0) as server:
        audience = Audience(server.sockets[0].getsockname()[1])
        await audience.join([Place.by_name("ana")])
        await until(lambda: len(audience.arrivals) == len(seqs))
        await audience.leave()
    return audience.faults


async def test_an_audience_finds_what_is_lost_doubled_and_out_of_order() -> None:
    assert await faults_of([1, 2, 3]) == []
    assert await faults_of([1, 2, 2]) == ["ana got c 2 again, after 2"]
    assert await faults_of([1, 3]) == ["ana got c 3 after 1"]
    assert len(await faults_of([2, 1])) == 2


async def test_an_audience_knows_what_has_not_come() -> None:
    audience = Audience(0)
    assert audience.lacking({"c": 5}, {"c": ["ana"]}) == 0

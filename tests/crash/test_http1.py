"""The load's own client answers every request exactly once, whatever becomes of its connections."""

import asyncio
import random

import pytest

from shared.testing.http1 import UNKNOWN, Client

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


@pytest.mark.parametrize("connections", [1, 3, 64])
async def test_no_request_is_forgotten_when_connections_are_cut_at_any_moment(connections: int) -> None:
    rng = random.Random(connections)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while rng.random() > 0.2:
                await reader.readuntil(b"\r\n\r\n")
                if rng.random() < 0.2:
                    break
                writer.write(OK)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = Client(server.sockets[0].getsockname()[1], connections=connections)

    async with asyncio.timeout(20):
        answers = await asyncio.gather(*(client.call("GET", "/") for _ in range(500)))

    assert {answer.status for answer in answers} == {200, UNKNOWN}
    client.close()
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0)


async def test_a_request_to_nobody_is_unanswered() -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()

    answers = await asyncio.gather(*(Client(port, connections=2).call("GET", "/") for _ in range(3)))

    assert [answer.status for answer in answers] == [UNKNOWN] * 3


async def test_an_answer_in_pieces_is_one_answer() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for at in range(len(OK)):
            writer.write(OK[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = Client(server.sockets[0].getsockname()[1], connections=1)

    answer = await client.call("GET", "/")

    assert (answer.status, answer.json()) == (200, {})
    client.close()
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0)

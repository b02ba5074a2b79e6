"""How a live socket ends that its client has broken (RFC 6455 7.1)."""

import asyncio
import struct
from contextlib import asynccontextmanager

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from shared.http.live_socket import MAX_FRAME, LiveSocket

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TOO_LARGE = 1009


async def accepts(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


@asynccontextmanager
async def serving(application):
    config = Config(application, ws_max_size=MAX_FRAME, ws_per_message_deflate=False, lifespan="off")
    made = asyncio.get_running_loop().create_server(lambda: LiveSocket(config, ServerState(), {}), "127.0.0.1")
    async with await made as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        yield reader, writer
        writer.close()


@pytest.fixture
async def client():
    async with serving(accepts) as (reader, writer):
        writer.write(HANDSHAKE)
        await reader.readuntil(b"\r\n\r\n")
        yield reader, writer


async def test_who_still_sends_a_frame_that_is_too_long_is_told_so_and_not_reset(client):
    """What came after the close frame reset the connection, and a proxy between threw the close frame away with it."""
    reader, writer = client
    size = 2 * MAX_FRAME
    writer.write(b"\x81\xff" + struct.pack("!Q", size) + b"mask")
    opcode, length, code = struct.unpack("!BBH", await reader.readexactly(4))
    assert (opcode, code) == (0x88, TOO_LARGE)
    await reader.readexactly(length - 2)
    for _ in range(size // 1024):
        writer.write(b"x" * 1024)
        await writer.drain()
    assert await reader.read() == b"", "and then it ends"


async def test_who_never_ends_its_side_is_cut_off(client, monkeypatch):
    monkeypatch.setattr("shared.http.live_socket._CLOSE_PATIENCE", 0.1)
    reader, writer = client
    writer.write(b"\x81\xff" + struct.pack("!Q", 2 * MAX_FRAME) + b"mask")
    await reader.read()
    with pytest.raises(ConnectionError):
        for _ in range(100):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "frame",
    [b"\x81\xff" + struct.pack("!Q", 2 * MAX_FRAME) + b"mask", b"\x81\x81\x00\x00\x00\x00\xff"],
    ids=["too long", "no UTF-8"],
)
@pytest.mark.parametrize("asked", [False, True], ids=["with the handshake", "after it"])
async def test_who_breaks_the_protocol_before_it_is_accepted_is_cut_off(frame, asked):
    """There is no close frame yet to tell it by; what the gate still looks up ends as for any client that left."""
    heard, wrong = asyncio.Queue(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))

    async def looks_up(scope, receive, send):
        heard.put_nowait(await receive())
        heard.put_nowait(await receive())

    async with serving(looks_up) as (reader, writer):
        if asked:
            writer.write(HANDSHAKE)
            assert (await heard.get())["type"] == "websocket.connect"
            writer.write(frame)
        else:
            writer.write(HANDSHAKE + frame)
        async with asyncio.timeout(2):
            assert await reader.read() == b""
            if asked:
                assert await heard.get() == {"type": "websocket.disconnect", "code": 1006}
    assert not wrong

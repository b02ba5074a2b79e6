"""
One short conversation with each engine, as a client has it, in the engine's own protocol.

Written out so that the stack starts without a client library. Each raises NotReady when the answer is not the one
of a healthy server, and OSError when there is none.
"""

import http.client
import json
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

_TIMEOUT = 5.0


class NotReady(Exception):
    """The server answers, but not yet, or not, as it should; the text says what was missing."""


@contextmanager
def _conversation(host: str, port: int) -> Iterator[tuple[socket.socket, BinaryIO]]:
    with socket.create_connection((host, port), timeout=_TIMEOUT) as connection, connection.makefile("rb") as answers:
        yield connection, answers


def _exactly(answers: BinaryIO, size: int) -> bytes:
    data = answers.read(size)
    if len(data) < size:
        raise NotReady("it hung up")
    return data


def kafka(host: str, port: int, nodes: set[int]) -> None:
    """
    Asks a broker for the brokers that it knows to be alive (Metadata v7, kafka.apache.org/protocol).

    Raises:
        NotReady: ``nodes`` are not all among them, or there is no controller.
    """
    client = b"stack"
    request = struct.pack(">hhih", 3, 7, 1, len(client)) + client + struct.pack(">ib", 0, 0)
    with _conversation(host, port) as (connection, answers):
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _exactly(answers, 4))
        body = _Fields(_exactly(answers, size))
    body.skip(8)  # correlation id, throttle time
    alive = set()
    for _ in range(body.int32()):
        alive.add(body.int32())
        body.string()  # host
        body.skip(4)  # port
        body.string()  # rack
    body.string()  # cluster id
    if body.int32() < 0:
        raise NotReady("no controller yet")
    if missing := nodes - alive:
        raise NotReady(f"no broker {', '.join(map(str, sorted(missing)))} in the cluster")


class _Fields:
    """Reads Kafka's primitive types one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def skip(self, size: int) -> None:
        self._at += size

    def int32(self) -> int:
        (value,) = struct.unpack_from(">i", self._data, self._at)
        self._at += 4
        return int(value)

    def string(self) -> None:
        """A nullable string; nobody wants its value."""
        (size,) = struct.unpack_from(">h", self._data, self._at)
        self._at += 2 + max(size, 0)


_STARTUP, _READY, _QUERY, _RESULT = 0x01, 0x02, 0x07, 0x08
_ONE, _ALL = 0x0001, 0x0005


def cassandra(host: str, port: int, every_replica: bool = False) -> None:
    """
    Reads a row (native protocol v4); with ``every_replica`` from a table of three replicas at consistency ALL.

    Raises:
        NotReady: it refused; with ``every_replica`` also if one of three nodes is not seen alive by this one.
    """
    query = b"SELECT status FROM system_distributed.view_build_status WHERE keyspace_name = 'x' AND view_name = 'x'"
    version = b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0"
    with _conversation(host, port) as (connection, answers):
        connection.sendall(_frame(_STARTUP, version))
        _expect(answers, _READY)
        consistency = _ALL if every_replica else _ONE
        connection.sendall(_frame(_QUERY, struct.pack(">i", len(query)) + query + struct.pack(">hb", consistency, 0)))
        _expect(answers, _RESULT)


def _frame(opcode: int, body: bytes) -> bytes:
    return struct.pack(">BBhBi", 0x04, 0, 0, opcode, len(body)) + body


def _expect(answers: BinaryIO, opcode: int) -> None:
    _, _, _, got, size = struct.unpack(">BBhBi", _exactly(answers, 9))
    body = _exactly(answers, size)
    if got != opcode:
        raise NotReady(body[6:].decode(errors="replace"))  # ERROR: int code, string message


def redis(host: str, port: int) -> None:
    with _conversation(host, port) as (connection, answers):
        connection.sendall(b"PING\r\n")
        if (line := answers.readline()) != b"+PONG\r\n":
            raise NotReady(line.decode(errors="replace").strip())


def nats(host: str, port: int) -> None:
    """Asks JetStream for the account's figures: answered only when JetStream, too, is up."""
    with _conversation(host, port) as (connection, answers):
        answers.readline()  # INFO
        connection.sendall(
            b'CONNECT {"verbose":false}\r\nSUB _INBOX.stack 1\r\nPUB $JS.API.INFO _INBOX.stack 0\r\n\r\n'
        )
        while not (line := answers.readline()).startswith(b"MSG"):
            if not line.startswith(b"PING"):
                raise NotReady(line.decode(errors="replace").strip() or "it hung up")
        reply = json.loads(_exactly(answers, int(line.split()[-1])))
        if "error" in reply:
            raise NotReady(reply["error"]["description"])


def minio(host: str, port: int) -> None:
    """GET /minio/health/cluster: 200 when so many drives are online that it can write."""
    _http(host, port, "/minio/health/cluster")


def versitygw(host: str, port: int) -> None:
    """GET /health."""
    _http(host, port, "/health")


def toxiproxy(host: str, port: int) -> None:
    """GET /version."""
    _http(host, port, "/version")


def _http(host: str, port: int, path: str) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except http.client.HTTPException as error:
        raise NotReady(repr(error)) from None
    finally:
        connection.close()
    if status != 200:
        raise NotReady(f"health check says {status}")

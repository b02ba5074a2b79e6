"""A server counts as up when it answers as a healthy one does, not when its port is open."""

import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from infra.stack import probes
from infra.stack.probes import NotReady

Serve = Callable[[bytes], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Says the given bytes to one client and then nothing more; returns the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(10)

        def answer(data: bytes) -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass

        def start(data: bytes) -> int:
            pool.submit(answer, data)
            return int(listener.getsockname()[1])

        yield start


def _metadata(brokers: list[int], controller: int) -> bytes:
    body = struct.pack(">iii", 1, 0, len(brokers))
    for node in brokers:
        body += struct.pack(">ih", node, 9) + b"127.0.0.1" + struct.pack(">ih", 9092, -1)
    body += struct.pack(">h", 3) + b"abc" + struct.pack(">ii", controller, 0)
    return struct.pack(">i", len(body)) + body


def _cassandra_error(text: bytes) -> bytes:
    body = struct.pack(">ih", 0x1001, len(text)) + text
    return struct.pack(">BBhBi", 0x84, 0, 0, 0x00, len(body)) + body


def test_redis_that_still_loads_is_not_ready(serve: Serve) -> None:
    port = serve(b"-LOADING Redis is loading the dataset in memory\r\n")

    with pytest.raises(NotReady, match="LOADING"):
        probes.redis("127.0.0.1", port)


def test_a_broker_that_misses_another_is_not_ready(serve: Serve) -> None:
    probes.kafka("127.0.0.1", serve(_metadata([1, 2, 3], 1)), {1, 2, 3})

    with pytest.raises(NotReady, match="no broker 2, 3"):
        probes.kafka("127.0.0.1", serve(_metadata([1], 1)), {1, 2, 3})


def test_a_broker_without_a_controller_is_not_ready(serve: Serve) -> None:
    with pytest.raises(NotReady, match="controller"):
        probes.kafka("127.0.0.1", serve(_metadata([1], -1)), {1})


def test_cassandra_says_itself_why_it_is_not_ready(serve: Serve) -> None:
    with pytest.raises(NotReady, match="is overloaded"):
        probes.cassandra("127.0.0.1", serve(_cassandra_error(b"the node is overloaded")))


def test_nats_without_jetstream_is_not_ready(serve: Serve) -> None:
    error = b'{"error":{"code":503,"description":"JetStream not enabled"}}'
    port = serve(b"INFO {}\r\nMSG _INBOX.stack 1 %d\r\n%s\r\n" % (len(error), error))

    with pytest.raises(NotReady, match="JetStream"):
        probes.nats("127.0.0.1", port)


def test_minio_that_cannot_write_is_not_ready(serve: Serve) -> None:
    port = serve(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")

    with pytest.raises(NotReady, match="503"):
        probes.minio("127.0.0.1", port)


@pytest.mark.parametrize(
    "probe", [probes.redis, probes.nats, probes.minio, probes.versitygw, probes.toxiproxy, probes.cassandra]
)
def test_whoever_hangs_up_is_not_ready(serve: Serve, probe: Callable[[str, int], None]) -> None:
    with pytest.raises((NotReady, OSError)):
        probe("127.0.0.1", serve(b""))


def test_nobody_there_is_an_error_of_the_system() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(OSError, match="refused"):
        probes.redis("127.0.0.1", port)

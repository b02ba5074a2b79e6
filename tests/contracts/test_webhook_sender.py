"""
The WebhookSender contract over httpcore, and the ways around its guard that others have tried (SSRF; D1, D2).

Names are resolved by the test: a server of names that lies, changes its mind, or mixes good with bad.
"""

import asyncio
import datetime
import select
import socket
import ssl
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.adapters.http.names import NameServers
from shared.adapters.http.webhook_sender import HttpWebhookSender
from shared.domain.errors import Invalid
from shared.testing.contracts.webhook_sender import PATIENT, WebhookSenderContract
from shared.testing.platform import free_port
from shared.testing.receiver import Receiver

PUBLIC = "93.184.215.14"


class TestHttp(WebhookSenderContract):
    @pytest.fixture
    async def sender(self):
        opened = HttpWebhookSender(private_allowed=True)
        yield opened
        await opened.close()

    @pytest.fixture
    async def guarded(self):
        opened = HttpWebhookSender()
        yield opened
        await opened.close()


class Names:
    """A server of names: each look-up gets the next answer, the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = [[ip_address(address) for address in answer] for answer in answers]
        self.asked: list[str] = []

    async def __call__(self, host: str):
        self.asked.append(host)
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not found:
            raise OSError("no such name")
        return found


@pytest.fixture
async def opened():
    senders: list[HttpWebhookSender] = []

    def open_with(names: Names, **options):
        senders.append(HttpWebhookSender(resolve=names, **options))
        return senders[-1]

    yield open_with
    for sender in senders:
        await sender.close()


@pytest.mark.parametrize(
    ("allowed", "address", "where"),
    [
        (False, "10.0.0.1", "to public addresses only"),
        (True, "169.254.169.254", "to public, private and loopback addresses only"),
    ],
)
async def test_a_refused_address_is_told_with_those_that_this_platform_calls(opened, allowed, address, where):
    """On a laptop the banner says that private addresses may be called: a cloud's metadata may not, even there."""
    with pytest.raises(Invalid, match=where):
        await opened(Names([address]), private_allowed=allowed).check("https://x.example/")


async def test_a_name_that_changes_its_mind_after_the_registration_leads_nowhere(opened):
    """DNS rebinding: public when it is registered, this machine when it is called."""
    with Receiver() as receiver:
        sender = opened(Names([PUBLIC], ["127.0.0.1"]))
        url = f"https://rebind.example:{receiver.port}/"
        await sender.check(url)
        answer = await sender.post(url, {}, b"", within=PATIENT)
        assert answer.problem == "forbidden_address"
        assert receiver.taken == []


async def test_what_was_judged_is_what_is_dialled_and_each_connection_is_judged(opened):
    """Alternating answers: a look-up for the check and another for the call would let the second through."""
    with Receiver() as receiver:
        names = Names([PUBLIC], ["169.254.169.254"], ["127.0.0.1"], ["10.0.0.1"])
        sender = opened(names)
        for _ in range(3):
            answer = await sender.post(f"https://x.example:{receiver.port}/", {}, b"", within=PATIENT / 10)
            assert not answer.ok
        assert receiver.taken == []
        assert len(names.asked) == 3


async def test_of_a_mixed_answer_only_what_is_allowed_is_dialled(opened):
    with Receiver() as receiver:
        sender = opened(Names(["169.254.169.254", "0.0.0.0", "127.0.0.1"]), private_allowed=True)
        assert (await sender.post(f"http://mixed.example:{receiver.port}/", {}, b"", within=PATIENT)).ok
        assert receiver.taken[0].headers["host"] == f"mixed.example:{receiver.port}"


async def test_the_next_address_is_tried_when_one_does_not_answer(opened):
    with Receiver() as receiver:
        sender = opened(Names(["127.0.0.2", "127.0.0.1"]), private_allowed=True)
        assert (await sender.post(f"http://two.example:{receiver.port}/", {}, b"", within=PATIENT)).ok


async def test_a_name_that_is_not_there_is_told_so(opened):
    sender = opened(Names([]))
    with pytest.raises(Invalid, match="no address"):
        await sender.check("https://gone.example/")
    assert (await sender.post("https://gone.example/", {}, b"", within=PATIENT)).problem == "unresolvable"


async def test_names_whose_server_is_silent_hold_up_nobody_else(opened):
    with Receiver() as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        names = NameServers(["127.0.0.1"], silent.getsockname()[1])
        sender = opened(names, private_allowed=True)
        hanging = [asyncio.create_task(sender.post(f"http://{n}.example/", {}, b"", within=PATIENT)) for n in range(50)]
        while not select.select([silent], [], [], 0)[0]:  # noqa: ASYNC110  they have asked
            await asyncio.sleep(0.01)
        assert (await sender.post(f"http://localhost:{receiver.port}/", {}, b"", within=PATIENT)).ok
        assert not any(task.done() for task in hanging)
        assert {answer.problem for answer in await asyncio.gather(*hanging)} == {"unresolvable"}
        await names.close()


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "fd00:ec2::254", "100.100.100.200", "224.0.0.1"])
async def test_metadata_and_link_local_stay_refused_where_private_ones_are_allowed(opened, address):
    sender = opened(Names([address]), private_allowed=True)
    with pytest.raises(Invalid, match="/url"):
        await sender.check("http://inside.example/")
    assert (await sender.post("http://inside.example/", {}, b"", within=PATIENT)).problem == "forbidden_address"


async def test_a_port_below_1024_other_than_443_is_no_webhook(opened):
    sender = opened(Names([PUBLIC]))
    for port in ("", ":443", ":8443", ":1024"):
        await sender.check(f"https://example.org{port}/")
    for port in (22, 25, 80, 1023):
        with pytest.raises(Invalid, match="port"):
            await sender.check(f"https://example.org:{port}/")


def certificate(folder: Path, name: str) -> ssl.SSLContext:
    """A server's, for ``name``, signed by itself; it is written to ``folder`` for those who are to trust it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


async def test_tls_keeps_the_name_while_the_address_is_dialled(opened, tmp_path):
    """SNI and the name in the certificate are the webhook's; a certificate of another name is refused."""
    heard: list[str | None] = []
    server_side = certificate(tmp_path, "hooks.example")
    server_side.sni_callback = lambda _, name, __: heard.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        writer.close()

    port = free_port()
    server = await asyncio.start_server(serve, "127.0.0.1", port, ssl=server_side)
    async with server:
        trusting = ssl.create_default_context(cafile=str(tmp_path / "server.pem"))
        sender = opened(Names(["127.0.0.1"]), private_allowed=True, tls=trusting)
        assert (await sender.post(f"https://hooks.example:{port}/", {}, b"", within=PATIENT)).ok
        assert (await sender.post(f"https://other.example:{port}/", {}, b"", within=PATIENT)).problem == "tls"
    assert heard == ["hooks.example", "other.example"]


@pytest.mark.parametrize("port", [0, 65536, 99999])
async def test_a_port_that_there_is_not_is_refused(opened, port):
    sender = opened(Names(["127.0.0.1"]), private_allowed=True)
    with pytest.raises(Invalid, match="port"):
        await sender.check(f"http://x.example:{port}/")
    assert (await sender.post(f"http://x.example:{port}/", {}, b"", within=PATIENT)).problem == "forbidden_url"


@pytest.mark.parametrize("oddity", [RuntimeError("odd"), ExceptionGroup("odd", [OverflowError()])])
async def test_whatever_breaks_is_an_answer_that_did_not_come(opened, oddity):
    async def broken(host: str):
        raise oddity

    answer = await opened(broken).post("https://x.example/", {}, b"", within=PATIENT)
    assert answer.problem == "connection_lost"

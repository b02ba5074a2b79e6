"""What every WebhookSender must do (shared.ports.webhook_sender). Subclass it and say how to open one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import pytest

from shared.domain.errors import Invalid
from shared.ports.webhook_sender import WebhookSender
from shared.testing.platform import free_port
from shared.testing.receiver import Receiver, Reply

PATIENT = timedelta(seconds=15)
SHORT = timedelta(seconds=0.3)


class WebhookSenderContract:
    @pytest.fixture
    async def sender(self) -> AsyncIterator[WebhookSender]:
        """One that may go to this machine."""
        raise NotImplementedError("say how to open a WebhookSender that may call 127.0.0.1")
        yield

    @pytest.fixture
    async def guarded(self) -> AsyncIterator[WebhookSender]:
        """One that may go to public addresses only."""
        raise NotImplementedError("say how to open a WebhookSender that may not call 127.0.0.1")
        yield

    @pytest.fixture
    def receiver(self) -> Iterator[Receiver]:
        with Receiver() as listening:
            yield listening

    @pytest.mark.parametrize("body", [b"{}", "ção 🙂".encode(), bytes(64_000)])
    async def test_what_is_posted_arrives_as_it_is(
        self, sender: WebhookSender, receiver: Receiver, body: bytes
    ) -> None:
        answer = await sender.post(receiver.url("/a?b=%20c"), {"webhook-id": "msg_1"}, body, within=PATIENT)
        assert (answer.status_code, answer.problem, answer.ok) == (204, None, True)
        (taken,) = receiver.taken
        assert (taken.path, taken.body, taken.headers["webhook-id"]) == ("/a?b=%20c", body, "msg_1")
        assert taken.headers["host"] == f"127.0.0.1:{receiver.port}"

    @pytest.mark.parametrize("status", [200, 201, 299, 301, 307, 404, 410, 429, 500, 503])
    async def test_the_answer_is_told_whatever_it_is(
        self, sender: WebhookSender, receiver: Receiver, status: int
    ) -> None:
        headers = {"retry-after": "7", "location": receiver.url("/elsewhere"), "webhook-delivery": "abort-message"}
        receiver.answer = lambda taken: Reply(status, headers, b"because")
        answer = await sender.post(receiver.url(), {}, b"", within=PATIENT)
        assert (answer.status_code, answer.excerpt, answer.truncated) == (status, "because", False)
        assert (answer.retry_after, answer.abort, answer.ok) == ("7", True, status < 300)
        assert len(receiver.taken) == 1, "redirects are not followed"

    async def test_no_more_than_the_beginning_of_an_answer_is_read(
        self, sender: WebhookSender, receiver: Receiver
    ) -> None:
        receiver.answer = lambda taken: Reply(200, {}, "ç".encode() * 10_000_000)
        answer = await sender.post(receiver.url(), {}, b"", within=PATIENT)
        assert (answer.status_code, answer.truncated) == (200, True)
        assert 0 < len(answer.excerpt.encode()) <= 1100
        receiver.answer = lambda taken: Reply(200, {}, b"short")
        assert (await sender.post(receiver.url(), {}, b"", within=PATIENT)).excerpt == "short"

    async def test_who_hangs_is_left_in_time(self, sender: WebhookSender, receiver: Receiver) -> None:
        receiver.answer = lambda taken: Reply(hang=30)
        answer = await sender.post(receiver.url(), {}, b"", within=SHORT)
        assert (answer.status_code, answer.problem) == (None, "timeout")
        assert 0.2 < answer.seconds < 5

    async def test_many_at_once_do_not_wait_for_one(self, sender: WebhookSender, receiver: Receiver) -> None:
        receiver.answer = lambda taken: Reply(hang=30 if taken.path == "/slow" else 0)
        slow = [asyncio.ensure_future(sender.post(receiver.url("/slow"), {}, b"", within=PATIENT)) for _ in range(10)]
        async with asyncio.timeout(25):
            answers = await asyncio.gather(*(sender.post(receiver.url(), {}, b"", within=PATIENT) for _ in range(100)))
        assert {answer.status_code for answer in answers} == {204}
        assert not any(one.done() for one in slow)
        for one in slow:
            one.cancel()
        await asyncio.gather(*slow, return_exceptions=True)

    async def test_a_kept_connection_that_was_closed_is_no_failure(self, sender: WebhookSender) -> None:
        """The receiver is another process now, at the same place."""
        with Receiver() as first:
            port = first.port
            assert (await sender.post(first.url(), {}, b"", within=PATIENT)).ok
        with Receiver(port=port) as second:
            assert (await sender.post(second.url(), {}, b"", within=PATIENT)).ok
            assert len(second.taken) == 1

    async def test_nobody_there_is_unreachable(self, sender: WebhookSender) -> None:
        answer = await sender.post(f"http://127.0.0.1:{free_port()}/", {}, b"", within=PATIENT)
        assert (answer.status_code, answer.problem) == (None, "unreachable")

    async def test_who_speaks_no_http_loses_the_connection(self, sender: WebhookSender) -> None:
        async def nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 smtp.example.org\r\n")
            writer.close()

        server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            answer = await sender.post(f"http://127.0.0.1:{port}/", {}, b"", within=PATIENT)
        assert (answer.status_code, answer.problem) == (None, "connection_lost")

    async def test_what_is_guarded_never_connects(self, guarded: WebhookSender, receiver: Receiver) -> None:
        for url in (receiver.url(), f"https://127.0.0.1:{receiver.port}/", f"https://localhost:{receiver.port}/"):
            answer = await guarded.post(url, {}, b"", within=PATIENT)
            assert answer.problem in ("forbidden_url", "forbidden_address")
            with pytest.raises(Invalid):
                await guarded.check(url)
        assert receiver.taken == []

    async def test_what_may_be_called_passes(self, sender: WebhookSender, receiver: Receiver) -> None:
        await sender.check(receiver.url())
        await sender.check(f"http://localhost:{receiver.port}/hooks?a=b")

    @pytest.mark.parametrize(
        "url", ["", "nonsense", "https://", "https:///x", "ftp://example.org/", "https://a:b@example.org/",
                "https://example.org/#x", "https://" + "x" * 2100 + ".org/", "https://exa mple.org/",
                "https://[::1", "https://example.org:99999/", "https://a..b/", "https://" + "a" * 70 + ".org/",
                "https://example.org:22/", "http://example.org/", "https://ex\x00ample.org/", "https://\ud800.org/"],
    )  # fmt: skip
    async def test_what_is_no_url_for_it_is_refused_with_a_pointer(self, guarded: WebhookSender, url: str) -> None:
        with pytest.raises(Invalid) as refused:
            await guarded.check(url)
        assert [error["pointer"] for error in refused.value.errors] == ["/url"]
        assert (await guarded.post(url, {}, b"", within=PATIENT)).status_code is None

"""Instagram by the Messaging API: C1, C4, C6, C7; channels.md 3.4."""

import json

import httpx
import pytest

from events.vocabulary import Media, Placeholder, Status, Text
from shared.channels import meta
from shared.channels.instagram import Instagram
from shared.domain.errors import Busy, Invalid, Rejected, Unauthenticated, Unknown
from shared.ports.channel import InboundEcho, InboundStatus, Outgoing, Receipt, WebhookRequest
from shared.testing.contracts.channel import ChannelContract
from tests.channels.conftest import PAYLOADS

CONFIG = {
    "account_id": "17841400000000000",
    "access_token": "IGAA-t0ken",
    "app_secret": "s3cret",
    "other_app_secret": "0ther",
    "verify_token": "v3rify",
}
TAKEN = {"recipient_id": "1784140000000001", "message_id": "mid.OUT1"}
BRUNO = "1784140000000001"


class TestContract(ChannelContract):
    channel_type = Instagram
    config = CONFIG
    address = BRUNO
    taken = httpx.Response(200, json=TAKEN)
    webhook = (PAYLOADS / "instagram_text.json").read_bytes()

    def signed(self, body: bytes) -> WebhookRequest:
        return WebhookRequest("POST", {"x-hub-signature-256": meta.signature("s3cret", body)}, {}, body)


class Provider:
    """Takes everything and keeps the request."""

    def __init__(self, answer: httpx.Response | None = None) -> None:
        self.answer = answer or httpx.Response(200, json=TAKEN)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.request, self.body = request, json.loads(request.content or b"null")
        return self.answer


def a_channel(answer, **config) -> Instagram:
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return Instagram(Instagram.Config.model_validate({**CONFIG, **config}), http)


async def test_a_text_goes_out_by_the_door_of_instagram_login():
    provider = Provider()
    receipt = await a_channel(provider).send_message(Outgoing("d", BRUNO, Text(text="Olá"), reply_to="mid.IN1"))
    assert str(provider.request.url) == "https://graph.instagram.com/v26.0/17841400000000000/messages"
    assert provider.request.headers["authorization"] == "Bearer IGAA-t0ken"
    assert provider.body == {
        "recipient": {"id": BRUNO},
        "message": {"text": "Olá"},
        "reply_to": {"mid": "mid.IN1"},
    }
    assert receipt == Receipt("mid.OUT1")


async def test_a_page_linked_account_goes_by_its_page():
    provider = Provider()
    channel = a_channel(provider, api="https://graph.facebook.com", page_id="4242", api_version="v25.0")
    await channel.send_message(Outgoing("d", BRUNO, Text(text="Olá")))
    assert str(provider.request.url) == "https://graph.facebook.com/v25.0/4242/messages"


@pytest.mark.parametrize(
    ("media", "attachment"),
    [
        (
            Media(media_type="image", url="https://f.example/a.png"),
            {"type": "image", "payload": {"url": "https://f.example/a.png"}},
        ),
        (
            Media(media_type="document", url="https://f.example/a.pdf", filename="a.pdf"),
            {"type": "file", "payload": {"url": "https://f.example/a.pdf"}},
        ),
        (
            Media(media_type="image", provider_media_id="77"),
            {"type": "image", "payload": {"attachment_id": "77"}},
        ),
    ],
)
async def test_media_goes_by_reference(media, attachment):
    provider = Provider()
    await a_channel(provider).send_file(Outgoing("d", BRUNO, media))
    assert provider.body["message"] == {"attachment": attachment}


@pytest.mark.parametrize(
    "media",
    [
        Media(media_type="image"),
        Media(media_type="image", url="https://f.example/a.png", caption="lost otherwise"),
        Media(media_type="sticker", url="https://f.example/a.webp"),
    ],
)
async def test_what_would_be_lost_on_the_way_is_refused(media):
    with pytest.raises(Rejected) as caught:
        await a_channel(Provider()).send_file(Outgoing("d", BRUNO, media))
    assert caught.value.reason == "bad_content"


@pytest.mark.parametrize(
    ("status", "code", "subcode", "error", "reason"),
    [
        *[(400, code, 0, Busy, "retry") for code in (1, 2, 1200)],
        *[(400, code, 0, Busy, "rate") for code in (4, 32, 613, 80006)],
        *[(400, 10, subcode, Rejected, "window_closed") for subcode in (2018278, 2018065, 2018108)],
        (400, 10, 1893063, Rejected, "policy"),
        (400, 100, 2018001, Rejected, "bad_recipient"),
        (400, 100, 0, Rejected, "bad_content"),
        *[(400, code, 0, Rejected, "auth_broken") for code in (190, 10, 200, 230)],
        (400, 551, 1545041, Rejected, "bad_recipient"),
        (400, 368, 0, Rejected, "policy"),
        (500, 2, 0, Busy, "retry"),
        (503, 999999, 0, Busy, "retry"),
        (429, 999999, 0, Busy, "rate"),
    ],
)
async def test_every_row_of_the_error_table_has_its_meaning(status, code, subcode, error, reason):
    body = {"error": {"message": "no", "code": code, "error_subcode": subcode}}
    with pytest.raises(error) as caught:
        await a_channel(Provider(httpx.Response(status, json=body))).send_message(
            Outgoing("d", BRUNO, Text(text="Olá"))
        )
    assert caught.value.reason == reason


async def test_a_lost_answer_waits_for_its_echo_unless_the_account_says_otherwise():
    assert a_channel(Provider()).uncertain_wait.total_seconds() == 180
    hurried = a_channel(Provider(httpx.Response(200, json={})), uncertain_wait_seconds=0.5)
    with pytest.raises(Unknown) as caught:
        await hurried.send_message(Outgoing("d", BRUNO, Text(text="x")))
    assert caught.value.retry_after.total_seconds() == 0.5


async def test_connect_asks_for_the_account():
    assert await a_channel(Provider(httpx.Response(200, json={"id": "17841400000000000"}))).connect() == (
        "account 17841400000000000"
    )


def test_limits_tell_that_text_is_counted_in_bytes_and_delivery_is_not_told():
    assert (Instagram.limits.text, Instagram.limits.text_in_bytes) == (1000, True)
    assert not Instagram.limits.delivered_receipts


@pytest.mark.parametrize("typed", ["", "@", "ana", "@ana silva", "@" + "a" * 31, "+5511999998888", "१२३"])
def test_what_is_no_address_is_invalid(typed):
    with pytest.raises(Invalid):
        Instagram.check_address(typed)


@pytest.mark.parametrize("secret", ["s3cret", "0ther"])
def test_a_webhook_may_be_signed_with_either_of_the_two_secrets(payload, signed, secret):
    [message] = a_channel(Provider()).on_webhook_event(signed(payload("instagram_text"), secret=secret))
    assert (message.account_id, message.address) == ("17841400000000000", BRUNO)
    assert (message.provider_message_id, message.reply_to) == ("mid.IN1", "mid.OUT0")
    assert message.payload == Text(text="Oi 🙂")
    assert message.at.isoformat() == "2025-11-21T01:53:20.123000+00:00"


def test_a_third_secret_is_refused(payload, signed):
    with pytest.raises(Unauthenticated):
        a_channel(Provider()).on_webhook_event(signed(payload("instagram_text"), secret="third"))


def test_our_own_message_comes_back_as_an_echo(payload, signed):
    [echo] = a_channel(Provider()).on_webhook_event(signed(payload("instagram_echo")))
    assert isinstance(echo, InboundEcho)
    assert (echo.address, echo.text, echo.provider_message_id) == (BRUNO, "Olá!", "mid.OUT1")


def test_every_event_is_kept_in_some_form(payload, signed):
    found = a_channel(Provider()).on_webhook_event(signed(payload("instagram_events")))
    reports = [inbound for inbound in found if isinstance(inbound, InboundStatus)]
    messages = [inbound for inbound in found if not isinstance(inbound, InboundStatus)]
    assert [(report.provider_message_id, report.status) for report in reports] == [("mid.OUT1", Status.READ)]
    assert [(message.provider_message_id, message.payload, message.reply_to) for message in messages] == [
        ("mid.PHOTOS", Text(text="veja"), None),
        ("mid.PHOTOS/1", Media(media_type="image", url="https://cdn.example/1.jpg"), None),
        ("mid.PHOTOS/2", Media(media_type="document", url="https://cdn.example/2.pdf"), None),
        ("mid.REEL", Placeholder(kind="ig_reel"), None),
        ("mid.IN1/deleted", Placeholder(kind="deleted"), "mid.IN1"),
        ("mid.NEWER", Placeholder(kind="unsupported"), None),
        ("mid.OUT1/react/1763690000123", Placeholder(kind="reaction"), "mid.OUT1"),
        ("mid.PRESS", Text(text="Começar"), None),
    ]


def test_what_another_app_answers_is_kept_too(payload, signed):
    [message] = a_channel(Provider()).on_webhook_event(signed(payload("instagram_standby")))
    assert message.payload == Text(text="alguém aí?")

"""WhatsApp by the Cloud API: C1, C4, C6, C7; channels.md 3.2."""

import json

import httpx
import pytest

from events.vocabulary import Media, Placeholder, Status, Text
from shared.channels import meta
from shared.channels.whatsapp import WhatsApp, canonical_phone
from shared.domain.errors import Busy, Invalid, Rejected, Unauthenticated, Unknown
from shared.ports.channel import Challenge, Outgoing, Receipt, WebhookRequest
from shared.testing.contracts.channel import ChannelContract
from tests.channels.conftest import PAYLOADS

CONFIG = {
    "phone_number_id": "100000000000001",
    "access_token": "EAAG-t0ken",
    "app_secret": "s3cret",
    "verify_token": "v3rify",
}
TAKEN = {
    "messaging_product": "whatsapp",
    "contacts": [{"input": "5531987654321", "wa_id": "553187654321"}],
    "messages": [{"id": "wamid.OUT1"}],
}
ANA = "+5531987654321"


class TestContract(ChannelContract):
    channel_type = WhatsApp
    config = CONFIG
    address = ANA
    taken = httpx.Response(200, json=TAKEN)
    webhook = (PAYLOADS / "whatsapp_text.json").read_bytes()

    def signed(self, body: bytes) -> WebhookRequest:
        return WebhookRequest("POST", {"x-hub-signature-256": meta.signature("s3cret", body)}, {}, body)


def a_channel(answer, **config) -> WhatsApp:
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return WhatsApp(WhatsApp.Config.model_validate({**CONFIG, **config}), http)


class Provider:
    """Takes everything and keeps the request."""

    def __init__(self, answer: httpx.Response | None = None) -> None:
        self.answer = answer or httpx.Response(200, json=TAKEN)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.request, self.body = request, json.loads(request.content or b"null")
        return self.answer


async def test_a_text_goes_out_as_the_cloud_api_wants_it():
    provider = Provider()
    receipt = await a_channel(provider).send_message(Outgoing("dlv_01J", ANA, Text(text="Olá"), reply_to="wamid.IN1"))
    assert str(provider.request.url) == "https://graph.facebook.com/v26.0/100000000000001/messages"
    assert provider.request.headers["authorization"] == "Bearer EAAG-t0ken"
    assert provider.body == {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "5531987654321",
        "type": "text",
        "text": {"body": "Olá", "preview_url": False},
        "context": {"message_id": "wamid.IN1"},
        "biz_opaque_callback_data": "dlv_01J",
    }
    assert receipt == Receipt("wamid.OUT1")


async def test_somebody_without_a_phone_is_reached_by_user_id():
    provider = Provider()
    await a_channel(provider).send_message(Outgoing("d", "BR.1502576394655843", Text(text="Olá")))
    assert provider.body["recipient"] == "BR.1502576394655843"
    assert "to" not in provider.body


async def test_the_answers_wa_id_is_the_address_when_it_differs():
    answer = {**TAKEN, "contacts": [{"input": "5215512345678", "wa_id": "525512345678"}]}
    receipt = await a_channel(Provider(httpx.Response(200, json=answer))).send_message(
        Outgoing("d", "+5215512345678", Text(text="Hola"))
    )
    assert receipt.address == "+525512345678"


@pytest.mark.parametrize(
    ("media", "sent"),
    [
        (
            Media(media_type="image", url="https://f.example/a.jpg", caption="oi"),
            {"type": "image", "image": {"link": "https://f.example/a.jpg", "caption": "oi"}},
        ),
        (
            Media(media_type="document", provider_media_id="99", filename="a.pdf"),
            {"type": "document", "document": {"id": "99", "filename": "a.pdf"}},
        ),
        (
            Media(media_type="audio", url="https://f.example/a.ogg", filename="a.ogg"),
            {"type": "audio", "audio": {"link": "https://f.example/a.ogg"}},
        ),
    ],
)
async def test_media_goes_by_reference(media, sent):
    provider = Provider()
    await a_channel(provider).send_file(Outgoing("d", ANA, media))
    assert {"type": provider.body["type"], media.media_type: provider.body[media.media_type]} == sent


@pytest.mark.parametrize(
    "media",
    [Media(media_type="image"), Media(media_type="audio", url="https://f.example/a", caption="lost otherwise")],
)
async def test_what_would_be_lost_on_the_way_is_refused(media):
    with pytest.raises(Rejected) as caught:
        await a_channel(Provider()).send_file(Outgoing("d", ANA, media))
    assert caught.value.reason == "bad_content"


ROWS = [
    *[(400, code, Busy, "retry") for code in (1, 2, 131000, 131016, 131057, 133004, 134101, 135000)],
    *[(400, code, Busy, "rate") for code in (4, 80007, 130429, 131056, 131048, 131064, 133016)],
    *[(400, code, Busy, "rate") for code in (131049, 130472)],
    (400, 131047, Rejected, "window_closed"),
    (400, 131050, Rejected, "opted_out"),
    *[(400, code, Rejected, "bad_recipient") for code in (131026, 131021, 131030, 131062, 137000)],
    *[(400, code, Rejected, "bad_content") for code in (33, 100, 131008, 131009, 131051, 131052, 131053)],
    *[(400, code, Rejected, "bad_content") for code in (132000, 132001, 132005, 132007, 132008, 132012)],
    *[(400, code, Rejected, "bad_content") for code in (132068, 132069)],
    *[(400, code, Rejected, "policy") for code in (132015, 132016, 131063, 368, 131031, 130497, 131042)],
    *[(400, code, Rejected, "auth_broken") for code in (0, 3, 10, 190, 200, 299, 131005, 131045, 131037)],
    (500, 131000, Busy, "retry"),
    (503, 999999, Busy, "retry"),
    (429, 999999, Busy, "rate"),
    (401, 999999, Rejected, "auth_broken"),
    (400, 999999, Rejected, "bad_content"),
]


@pytest.mark.parametrize(("status", "code", "error", "reason"), ROWS)
async def test_every_row_of_the_error_table_has_its_meaning(status, code, error, reason):
    body = {"error": {"message": "no", "type": "OAuthException", "code": code, "fbtrace_id": "x"}}
    with pytest.raises(error) as caught:
        await a_channel(Provider(httpx.Response(status, json=body))).send_message(Outgoing("d", ANA, Text(text="Olá")))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("code", "seconds"), [(131056, 6), (134101, 600), (131049, 86_400), (130472, 86_400), (130429, None)]
)
async def test_some_refusals_have_a_wait_of_their_own(code, seconds):
    body = {"error": {"message": "no", "code": code}}
    with pytest.raises(Busy) as caught:
        await a_channel(Provider(httpx.Response(400, json=body))).send_message(Outgoing("d", ANA, Text(text="x")))
    wait = caught.value.retry_after
    assert (wait.total_seconds() if wait else None) == seconds


async def test_retry_after_is_obeyed():
    answer = httpx.Response(429, json={"error": {"code": 130429}}, headers={"retry-after": "3"})
    with pytest.raises(Busy) as caught:
        await a_channel(Provider(answer)).send_message(Outgoing("d", ANA, Text(text="x")))
    assert caught.value.retry_after.total_seconds() == 3


async def test_a_token_that_the_provider_prints_back_is_not_passed_on():
    body = {"error": {"message": "Malformed access token EAAG-t0ken", "code": 190}}
    with pytest.raises(Rejected) as caught:
        await a_channel(Provider(httpx.Response(401, json=body))).connect()
    assert "EAAG-t0ken" not in str(caught.value)


async def test_an_answer_without_a_message_is_unknown_and_says_how_long_to_wait():
    channel = a_channel(Provider(httpx.Response(200, json={"messages": []})), uncertain_wait_seconds=1.5)
    with pytest.raises(Unknown) as caught:
        await channel.send_message(Outgoing("d", ANA, Text(text="x")))
    assert caught.value.retry_after == channel.uncertain_wait
    assert channel.uncertain_wait.total_seconds() == 1.5
    assert a_channel(Provider()).uncertain_wait.total_seconds() == 180


async def test_connect_tells_whose_number_it_is():
    provider = Provider(httpx.Response(200, json={"display_phone_number": "+55 11 5000-0000", "verified_name": "Loja"}))
    assert await a_channel(provider).connect() == "Loja +55 11 5000-0000"


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("+5511999998888", "+5511999998888"),
        ("+55 (31) 98765-4321", "+5531987654321"),
        ("+553187654321", "+5531987654321"),
        ("+551132654321", "+551132654321"),
        ("+5531900000007", "+5531900000007"),
        ("BR.1502576394655843", "BR.1502576394655843"),
    ],
)
def test_addresses_have_one_canonical_form(typed, canonical):
    assert WhatsApp.check_address(typed) == canonical


@pytest.mark.parametrize("typed", ["", "5511999998888", "+55", "+1", "@ana", "+55119999988881234", "br.1", "+99912"])
def test_what_is_no_address_is_invalid(typed):
    with pytest.raises(Invalid):
        WhatsApp.check_address(typed)


@pytest.mark.parametrize(
    ("number", "canonical"),
    [
        ("+553187654321", "+5531987654321"),
        ("+5531987654321", "+5531987654321"),
        ("+556168765432", "+5561968765432"),
        ("+553132654321", "+553132654321"),  # a fixed line
        ("+493187654321", "+493187654321"),  # not Brazil
        ("+55318765432", "+55318765432"),  # too short to be one
    ],
)
def test_the_ninth_digit_is_put_back(number, canonical):
    assert canonical_phone(number) == canonical
    assert canonical_phone(canonical) == canonical


def test_an_inbound_old_wa_id_meets_the_linked_number(payload, signed):
    [message] = a_channel(Provider()).on_webhook_event(signed(payload("whatsapp_text")))
    assert message.other_addresses == (WhatsApp.check_address("+5531987654321"),)


def test_the_user_id_names_a_person_first_and_the_phone_second(payload, signed):
    [message] = a_channel(Provider()).on_webhook_event(signed(payload("whatsapp_text")))
    assert (message.address, message.display_name) == ("BR.1502576394655843", "Ana")
    assert (message.account_id, message.provider_message_id) == ("100000000000001", "wamid.IN1")
    assert (message.payload, message.reply_to) == (Text(text="Oi 🙂"), "wamid.OUT0")
    assert message.at.isoformat() == "2025-11-21T01:53:20+00:00"
    [unphoned] = a_channel(Provider()).on_webhook_event(signed(payload("whatsapp_user_without_phone")))
    assert (unphoned.address, unphoned.display_name) == ("BR.1502576394655843", "ana.x")
    assert unphoned.other_addresses == ()


def test_every_type_of_message_is_kept_in_some_form(payload, signed):
    found = a_channel(Provider()).on_webhook_event(signed(payload("whatsapp_types")))
    assert {inbound.provider_message_id.removeprefix("wamid."): inbound.payload for inbound in found} == {
        "IMAGE": Media(media_type="image", provider_media_id="1001", mime_type="image/jpeg", caption="a praia"),
        "AUDIO": Media(media_type="audio", provider_media_id="1002", mime_type="audio/ogg; codecs=opus"),
        "VIDEO": Media(media_type="video", provider_media_id="1003", mime_type="video/mp4"),
        "DOC": Media(
            media_type="document",
            provider_media_id="1004",
            mime_type="application/pdf",
            filename="pedido.pdf",
        ),
        "STICKER": Media(media_type="sticker", provider_media_id="1005", mime_type="image/webp"),
        "BUTTON": Text(text="Sim"),
        "REPLY": Text(text="Quero"),
        "LIST": Text(text="Segunda-feira"),
        "FLOW": Placeholder(kind="interactive"),
        "PLACE": Placeholder(kind="location"),
        "HEART": Placeholder(kind="reaction"),
        "NEWER": Placeholder(kind="unsupported"),
    }
    assert {inbound.address for inbound in found} == {"+5511987654321"}
    assert {inbound.reply_to for inbound in found} == {None, "wamid.OUT0"}


def test_statuses_come_with_their_correlator_and_reason(payload, signed):
    found = a_channel(Provider()).on_webhook_event(signed(payload("whatsapp_statuses")))
    assert [(report.status, report.reason) for report in found] == [
        (Status.SENT, None),
        (Status.DELIVERED, None),
        (Status.READ, None),
        (Status.READ, None),
        (Status.FAILED, "window_closed"),
    ]
    assert {(report.delivery_id, report.provider_message_id) for report in found} == {("dlv_01J", "wamid.OUT1")}


def test_fields_of_other_subscriptions_are_nothing_to_us(payload, signed):
    assert a_channel(Provider()).on_webhook_event(signed(payload("whatsapp_other_fields"))) == []


def test_a_webhook_signed_with_another_secret_is_refused(payload, signed):
    with pytest.raises(Unauthenticated):
        a_channel(Provider()).on_webhook_event(signed(payload("whatsapp_text"), secret="other"))


def test_a_webhook_of_another_product_is_invalid(payload, signed):
    with pytest.raises(Invalid):
        a_channel(Provider()).on_webhook_event(signed(payload("instagram_text")))


def verification(**query) -> WebhookRequest:
    return WebhookRequest("GET", {}, {name.replace("_", ".", 1): value for name, value in query.items()}, b"")


def test_the_challenge_is_answered_to_who_knows_the_verify_token():
    asked = verification(hub_mode="subscribe", hub_verify_token="v3rify", hub_challenge="1158201444")
    assert a_channel(Provider()).on_webhook_event(asked) == [Challenge("1158201444")]


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"hub_mode": "subscribe", "hub_challenge": "1"},
        {"hub_mode": "subscribe", "hub_verify_token": "falsch\udcff", "hub_challenge": "1"},
        {"hub_mode": "unsubscribe", "hub_verify_token": "v3rify", "hub_challenge": "1"},
        {"hub_mode": "subscribe", "hub_verify_token": "v3rify"},
    ],
)
def test_nobody_else_is_answered(query):
    with pytest.raises(Unauthenticated):
        a_channel(Provider()).on_webhook_event(verification(**query))

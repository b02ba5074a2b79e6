"""The simulators, spoken to by the real channels over the wire: C6, C7; channels.md 3.7."""

import asyncio
import json
import sys
from importlib.metadata import EntryPoint

import httpx
import pytest

from events.vocabulary import Media, Status, Text
from shared.channels.instagram import Instagram
from shared.channels.whatsapp import WhatsApp
from shared.domain.errors import Busy, ChannelError, Rejected, Unknown
from shared.ports.channel import InboundEcho, InboundStatus, Outgoing
from shared.simulators.app import Simulators
from shared.simulators.instagram import InstagramSimulator
from shared.simulators.stage import Options
from shared.simulators.whatsapp import WhatsAppSimulator

CHANNELS = {"whatsapp": WhatsApp, "instagram": Instagram}
PEOPLE = {"whatsapp": "+553198765", "instagram": "178414000000"}


class Bench:
    """One simulator, the real channel that talks to it, and the platform's end of its webhooks."""

    def __init__(self, simulator_type, receiver, **options) -> None:
        self.receiver = receiver
        self.simulator = simulator_type(
            Options(callback_url="http://platform/hook", http=receiver.http, pace=0.0, late=0.0, **options)
        )
        self.stage = self.simulator.stage
        self.account = self.simulator.demo_account("http://provider")
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self.simulator.app), base_url="http://provider")
        self.channel = self.open()

    @property
    def name(self) -> str:
        return self.simulator.name

    def open(self, http=None, **changes):
        channel_type = CHANNELS[self.name]
        config = {**self.account["settings"], **self.account["secrets"], **changes}
        return channel_type(channel_type.Config.model_validate(config), http or self.http)

    def person(self, suffix: str) -> str:
        return PEOPLE[self.name] + suffix

    async def send(self, suffix: str, text: str = "Olá", channel=None):
        return await (channel or self.channel).send_message(Outgoing("dlv-1", self.person(suffix), Text(text=text)))

    async def heard(self):
        """What the platform heard, once everything has been taken: parsed by the real channel."""
        await self.stage.callbacks.drain()
        return [inbound for call in self.receiver.requests for inbound in self.channel.on_webhook_event(call)]

    async def shown(self, **query):
        return (await self.http.get("/_sim/sent", params=query)).json()["items"]


@pytest.fixture(params=[WhatsAppSimulator, InstagramSimulator], ids=["whatsapp", "instagram"])
async def bench(request, receiver):
    bench = Bench(request.param, receiver)
    yield bench
    await bench.stage.aclose()
    await bench.http.aclose()


@pytest.fixture
async def whatsapp(receiver):
    bench = Bench(WhatsAppSimulator, receiver)
    yield bench
    await bench.stage.aclose()
    await bench.http.aclose()


@pytest.fixture
async def instagram(receiver):
    bench = Bench(InstagramSimulator, receiver)
    yield bench
    await bench.stage.aclose()
    await bench.http.aclose()


def statuses(heard) -> list[Status]:
    return sorted((report.status for report in heard if isinstance(report, InboundStatus)), key=list(Status).index)


async def test_the_demo_account_connects(bench):
    assert await bench.channel.connect()


async def test_the_same_key_gives_the_same_secrets(receiver):
    one, other = (WhatsAppSimulator(Options(key="k")).demo_account("http://p") for _ in range(2))
    assert one == other
    assert one != WhatsAppSimulator(Options()).demo_account("http://p")


@pytest.mark.parametrize("suffix", ["0001", "4321"])
async def test_whatsapp_takes_delivers_and_reads(whatsapp, suffix):
    receipt = await whatsapp.send(suffix)
    heard = await whatsapp.heard()
    assert statuses(heard) == [Status.SENT, Status.DELIVERED, Status.READ]
    assert {(report.delivery_id, report.provider_message_id) for report in heard} == {
        ("dlv-1", receipt.provider_message_id)
    }
    assert receipt.address is None  # the old wa_id is the same person


async def test_instagram_echoes_and_reads(instagram):
    receipt = await instagram.send("0001")
    heard = await instagram.heard()
    [echo] = [inbound for inbound in heard if isinstance(inbound, InboundEcho)]
    assert (echo.text, echo.address) == ("Olá", instagram.person("0001"))
    assert statuses(heard) == [Status.READ]
    assert {inbound.provider_message_id for inbound in heard} == {receipt.provider_message_id}


async def test_what_a_user_sees_has_the_text_the_correlator_and_how_often(bench):
    for _ in range(2):
        await bench.send("0001")
    await bench.send("0001", "outra")
    shown = await bench.shown(to=bench.person("0001"))
    assert [item["text"] for item in shown] == ["Olá", "Olá", "outra"]
    expected = 3 if bench.name == "whatsapp" else 2  # by delivery id where there is one, by text where not
    assert shown[0]["times"] == expected
    assert [item["n"] for item in await bench.shown(since=1)] == [2, 3]
    assert (await bench.http.delete("/_sim/sent")).status_code == 204
    assert await bench.shown() == []


async def test_media_is_shown(bench):
    media = Media(media_type="image", url="https://f.example/a.png")
    await bench.channel.send_file(Outgoing("d", bench.person("0001"), media))
    [item] = await bench.shown()
    assert item["media"]["type"] == "image"


async def test_0002_is_taken_and_never_delivered(bench):
    await bench.send("0002")
    assert not {Status.DELIVERED, Status.READ} & set(statuses(await bench.heard()))


@pytest.mark.parametrize(("suffix", "reason"), [("0003", "window_closed"), ("0004", "bad_recipient")])
async def test_0003_and_0004_are_refused(bench, suffix, reason):
    with pytest.raises(Rejected) as caught:
        await bench.send(suffix)
    assert caught.value.reason == reason
    assert await bench.shown() == []


async def test_0005_asks_to_wait_three_seconds_and_then_takes_it(bench, monkeypatch):
    now = 1_763_690_000.0
    monkeypatch.setattr(bench.stage, "now", lambda: now)
    with pytest.raises(Busy) as caught:
        await bench.send("0005")
    assert (caught.value.reason, caught.value.retry_after.total_seconds()) == ("rate", 3)
    now += 3
    assert (await bench.send("0005")).provider_message_id


async def test_0006_breaks_twice_and_then_takes_it(bench):
    for _ in range(2):
        with pytest.raises(Busy) as caught:
            await bench.send("0006")
        assert caught.value.reason == "retry"
    assert (await bench.send("0006")).provider_message_id
    assert len(await bench.shown()) == 1


async def test_0007_takes_it_and_really_drops_the_connection(bench, served):
    async with served(bench.simulator.app) as url, httpx.AsyncClient() as http:
        channel = bench.open(http, api=url)
        with pytest.raises(Unknown):
            await bench.send("0007", channel=channel)
        assert (await bench.send("0001", channel=channel)).provider_message_id
    assert [item["to"] for item in await bench.shown()] == [bench.person("0007"), bench.person("0001")]
    heard = await bench.heard()
    if bench.name == "whatsapp":
        assert {report.delivery_id for report in heard} == {"dlv-1"}
    else:
        assert bench.person("0007") in {echo.address for echo in heard if isinstance(echo, InboundEcho)}


async def test_0008_calls_back_three_times(whatsapp, instagram):
    await whatsapp.send("0008")
    assert statuses(await whatsapp.heard()) == [Status.SENT] * 3 + [Status.DELIVERED] * 3 + [Status.READ] * 3
    whatsapp.receiver.requests.clear()
    await instagram.send("0008")
    assert statuses(await instagram.heard()) == [Status.READ] * 3


def test_0009_reads_before_it_is_delivered():
    paced = WhatsAppSimulator(Options(pace=0.1)).stage
    assert [status for _, status in sorted(paced.receipts("0009"))] == ["sent", "read", "delivered"]


async def test_0010_fails_late(receiver):
    assert list(WhatsAppSimulator(Options()).stage.receipts("0010"))[-1] == (30.0, "failed")
    bench = Bench(WhatsAppSimulator, receiver)
    await bench.send("0010")
    failed = [report for report in await bench.heard() if report.status is Status.FAILED]
    assert [report.reason for report in failed] == ["bad_recipient"]
    await bench.stage.aclose()


async def test_a_customer_writes_and_the_webhook_holds(bench):
    answer = await bench.http.post("/_sim/inbound", json={"from": bench.person("4321"), "text": "Oi 🙂"})
    assert answer.status_code == 202
    [message] = await bench.heard()
    assert message.payload == Text(text="Oi 🙂")
    assert message.account_id == bench.account["account_id"]
    assert message.address == bench.person("4321")


async def test_a_customer_with_a_user_id_is_named_by_both(whatsapp):
    body = {"from": "+5531987654321", "text": "Oi", "user_id": "BR.15", "name": "Ana", "times": 2}
    await whatsapp.http.post("/_sim/inbound", json=body)
    heard = await whatsapp.heard()
    assert {(message.address, message.other_addresses, message.display_name) for message in heard} == {
        ("BR.15", ("+5531987654321",), "Ana")
    }
    assert len(heard) == 2
    assert len({message.provider_message_id for message in heard}) == 1


async def test_a_customer_can_write_anything_the_provider_knows(whatsapp):
    sticker = {"type": "sticker", "sticker": {"id": "7", "mime_type": "image/webp"}}
    await whatsapp.http.post("/_sim/inbound", json={"from": "+5531987654321", "message": sticker})
    [message] = await whatsapp.heard()
    assert message.payload == Media(media_type="sticker", provider_media_id="7", mime_type="image/webp")


async def test_callbacks_outlive_a_receiver_that_is_down(bench):
    bench.receiver.refusals = 2
    await bench.http.post("/_sim/inbound", json={"from": bench.person("4321"), "text": "Oi"})
    assert len(await bench.heard()) == 1
    assert (await bench.http.get("/_sim/state")).json()["callbacks"] == {
        "pending": 0,
        "pending_messages": 0,
        "answered": 1,
        "refused": 2,
        "blank": 1,
    }


async def test_messages_that_wait_are_told_apart_from_statuses(bench):
    bench.receiver.refusals = 1_000_000
    for text in ("one", "two"):
        await bench.http.post("/_sim/inbound", json={"from": bench.person("4321"), "text": text, "times": 2})
    await bench.send("0001")
    callbacks = (await bench.http.get("/_sim/state")).json()["callbacks"]
    assert callbacks["pending_messages"] == 4
    assert callbacks["pending"] > 4
    bench.receiver.refusals = 0
    assert len(await bench.heard()) > 4
    assert bench.stage.callbacks.pending_alone == 0
    await bench.stage.aclose()
    assert bench.stage.callbacks.pending_alone == 0


async def test_closing_cancels_what_is_still_to_be_called(receiver):
    bench = Bench(WhatsAppSimulator, receiver)
    receiver.refusals = 1_000_000
    await bench.send("0001")
    assert bench.stage.callbacks.pending == 3
    await bench.stage.aclose()
    assert bench.stage.callbacks.pending == 0


async def test_the_provider_can_be_down_and_come_back(bench):
    await bench.http.post("/_sim/down", json={"down": True})
    with pytest.raises(Busy) as caught:
        await bench.send("0001")
    assert caught.value.reason == "retry"
    await bench.http.post("/_sim/down", json={"down": False})
    assert (await bench.send("0001")).provider_message_id


async def test_the_provider_can_be_too_slow_and_show_it_all_the_same(bench, served):
    await bench.http.post("/_sim/latency", json={"seconds": 0.3})
    async with served(bench.simulator.app) as url, httpx.AsyncClient() as http:
        channel = bench.open(http, api=url, timeout_seconds=0.05)
        with pytest.raises(Unknown):
            await bench.send("0001", channel=channel)


async def test_nobody_listens_and_the_channel_knows_that_nothing_left(bench, served):
    async with served(bench.simulator.app) as url:
        pass
    async with httpx.AsyncClient() as http:
        with pytest.raises(Busy) as caught:
            await bench.send("0001", channel=bench.open(http, api=url))
    assert caught.value.reason == "retry"


async def test_a_wrong_token_and_a_wrong_account_are_refused(bench):
    with pytest.raises(Rejected) as caught:
        await bench.send("0001", channel=bench.open(access_token="wrong"))
    assert caught.value.reason == "auth_broken"
    field = "phone_number_id" if bench.name == "whatsapp" else "account_id"
    with pytest.raises(ChannelError):
        await bench.open(**{field: "999"}).connect()


async def test_a_text_that_is_too_long_is_refused(bench):
    limits = bench.channel.limits
    assert (await bench.send("0001", "a" * limits.text)).provider_message_id
    with pytest.raises(Rejected) as caught:
        await bench.send("0001", "a" * (limits.text + 1))
    assert caught.value.reason == "bad_content"


async def test_instagram_counts_bytes(instagram):
    with pytest.raises(Rejected):
        await instagram.send("0001", "ã" * 501)


async def test_instagram_does_not_deliver_to_a_username(instagram):
    with pytest.raises(Rejected) as caught:
        await instagram.channel.send_message(Outgoing("d", "@ana", Text(text="Olá")))
    assert caught.value.reason == "bad_recipient"


@pytest.mark.parametrize("path", ["/_sim/inbound", "/_sim/latency", "/_sim/down"])
@pytest.mark.parametrize("body", [b"", b"[", b"[]", b'{"x": 1}', b'{"from": 1}', b'"\xff"', b"[" * 100_000])
async def test_junk_at_the_control_api_is_refused(bench, path, body):
    answer = await bench.http.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"]


@pytest.mark.parametrize("sender", ["", "ana", "@ana", "+1"])
async def test_a_sender_that_the_provider_could_not_have_is_refused(bench, sender):
    answer = await bench.http.post("/_sim/inbound", json={"from": sender, "text": "Oi"})
    assert answer.status_code == 422


async def test_a_form_on_a_strange_page_cannot_write(bench):
    answer = await bench.http.post("/_sim/inbound", content=b"{}", headers={"content-type": "text/plain"})
    assert answer.status_code == 415


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"messaging_product":"whatsapp","to":{},"context":[]}', b'{"message":3}']
)
async def test_junk_at_the_providers_api_has_graphs_error(bench, body):
    answer = await bench.http.post(
        f"/v26.0/{bench.account['account_id']}/messages",
        content=body,
        headers={"authorization": f"Bearer {bench.stage.access_token}"},
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == 100


async def test_the_webhook_address_is_verified(bench):
    assert (await bench.http.post("/_sim/subscribe", json={})).json() == {"ok": True}


async def test_the_page_is_there(bench):
    page = await bench.http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert bench.name in page.text
    assert "{{" not in page.text


async def test_all_installed_simulators_stand_below_their_names(served):
    simulators = Simulators(callback_base="http://127.0.0.1:9", tenant="acme", key="k")
    async with served(simulators.app) as url, httpx.AsyncClient() as http:
        assert (await http.get(url)).json() == {"simulators": ["instagram", "whatsapp"]}
        for name, account in simulators.accounts(url).items():
            channel_type = CHANNELS[name]
            config = channel_type.Config.model_validate({**account["settings"], **account["secrets"]})
            channel = channel_type(config, http)
            assert await channel.connect()
            assert (await channel.send_message(Outgoing("d", PEOPLE[name] + "0001", Text(text="Olá")))) is not None
            assert simulators.by_name[name].stage.callbacks.url == f"http://127.0.0.1:9/v1/inbound/acme/{name}"
    await simulators.aclose()


async def test_a_third_party_brings_its_simulator(served):
    entry = EntryPoint("fax", "shared.simulators.whatsapp:WhatsAppSimulator", "chat4all.simulators")
    simulators = Simulators(callback_base="http://platform", installed=[entry])
    assert list(simulators.accounts("http://here")) == ["fax"]
    await simulators.aclose()


async def test_the_process_of_its_own_prints_its_accounts_and_serves():
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "shared.simulators",
        "--port",
        "0",
        "--key",
        "k",
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        accounts = json.loads(line)
        assert set(accounts) == {"instagram", "whatsapp"}
        api = accounts["whatsapp"]["settings"]["api"]
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"{api}/_sim/state")).json()["channel"] == "whatsapp"
    finally:
        process.terminate()
        await process.wait()


async def test_what_is_due_together_comes_in_one_webhook(whatsapp):
    for _ in range(5):
        await whatsapp.send("0001")
    assert len(await whatsapp.heard()) == 15
    assert len(whatsapp.receiver.requests) < 15

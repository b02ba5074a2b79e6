"""The registry: C4, C5. A channel comes with a package; nothing of ours changes."""

import sys
from datetime import timedelta
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import ClassVar

import httpx
import pytest
from pydantic import BaseModel, ConfigDict, SecretStr

from shared.channels.instagram import Instagram
from shared.channels.registry import GROUP, InstalledChannels, http_client
from shared.channels.skeleton import Skeleton
from shared.channels.whatsapp import WhatsApp
from shared.domain.backoff import PARKED_SCHEDULE
from shared.domain.errors import Invalid, NotFound, Unavailable
from shared.ports import Channels
from shared.ports.channel import Limits, secret_fields


class PigeonConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")
    loft: str
    ring: SecretStr
    spare_ring: SecretStr | None = None


class Pigeon:
    """Somebody else's channel: it knows the port and nothing of the registry."""

    name: ClassVar[str] = "pigeon"
    limits: ClassVar[Limits] = Limits(text=20, uncertain_wait=timedelta(days=1))
    Config: ClassVar[type[BaseModel]] = PigeonConfig
    webhook_secret_field: ClassVar[str] = "ring"

    def __init__(self, config, http):
        self.config, self.http = config, http


@pytest.fixture
def third_party(monkeypatch):
    module = ModuleType("chat4all_pigeon")
    module.Pigeon = Pigeon
    monkeypatch.setitem(sys.modules, "chat4all_pigeon", module)
    return EntryPoint("pigeon", "chat4all_pigeon:Pigeon", GROUP)


@pytest.fixture
async def http():
    async with httpx.AsyncClient() as client:
        yield client


async def test_our_own_channels_are_installed_the_same_way(http):
    channels: Channels = InstalledChannels(http)
    assert {"instagram", "whatsapp"} <= set(channels.names())
    assert channels.type_of("whatsapp").limits.text == 4096


@pytest.mark.parametrize("channel", [WhatsApp, Instagram, Skeleton])
def test_a_status_that_was_parked_comes_back_before_the_call_is_made_again(channel):
    tried = 4 * timedelta(seconds=10) + timedelta(seconds=1.4)  # knative/triggers/record-status.yaml
    tick = timedelta(minutes=1)  # knative/timers/redrive.yaml
    assert channel.limits.uncertain_wait > tried + PARKED_SCHEDULE[0] * 1.2 + tick


async def test_a_package_of_somebody_elses_adds_a_channel(http, third_party):
    channels = InstalledChannels(http, [third_party])
    assert channels.names() == ("pigeon",)
    channel = channels.open("pigeon", {"loft": "Olinda", "ring": "gold"})
    assert (channel.config.loft, channel.http) == ("Olinda", http)
    assert secret_fields(channels.type_of("pigeon")) == {"ring", "spare_ring"}


async def test_a_module_is_imported_when_it_is_asked_for(http, monkeypatch):
    monkeypatch.delitem(sys.modules, "shared.channels.instagram", raising=False)
    channels = InstalledChannels(http)
    channels.type_of("whatsapp")
    assert "shared.channels.instagram" not in sys.modules
    channels.type_of("instagram")
    assert "shared.channels.instagram" in sys.modules


async def test_an_unknown_channel_names_those_there_are(http, third_party):
    with pytest.raises(NotFound, match="pigeon"):
        InstalledChannels(http, [third_party]).type_of("telegraph")


@pytest.mark.parametrize("value", ["no_such_module:Pigeon", "json:no_such_name", "json:loads"])
async def test_a_channel_that_does_not_load_says_which_and_why_in_one_line(http, value):
    channels = InstalledChannels(http, [EntryPoint("pigeon", value, GROUP)])
    assert channels.names() == ("pigeon",)
    with pytest.raises(Unavailable) as caught:
        channels.type_of("pigeon")
    assert "pigeon" in caught.value.detail
    assert value in caught.value.detail
    assert "\n" not in caught.value.detail


async def test_a_channel_under_a_false_name_does_not_load(http, third_party):
    with pytest.raises(Unavailable, match="'dove'"):
        InstalledChannels(http, [EntryPoint("dove", third_party.value, GROUP)]).type_of("dove")


async def test_two_packages_with_one_name_stop_the_start(http, third_party):
    with pytest.raises(Unavailable, match="two packages"):
        InstalledChannels(http, [third_party, EntryPoint("pigeon", "other:Pigeon", GROUP)])


async def test_the_same_line_twice_is_one_channel(http, third_party):
    assert InstalledChannels(http, [third_party, third_party]).names() == ("pigeon",)


async def test_the_in_app_channel_cannot_be_replaced(http):
    with pytest.raises(Unavailable, match="in-app"):
        InstalledChannels(http, [EntryPoint("chat4all", "other:Channel", GROUP)])


async def test_a_bad_account_points_at_its_fields_and_shows_no_secret(http):
    config = {"phone_number_id": "abc", "access_token": "t0ken with spaces", "app_secret": "s", "a/b": 1}
    with pytest.raises(Invalid) as caught:
        InstalledChannels(http).open("whatsapp", config)
    assert {error["pointer"] for error in caught.value.errors} == {
        "/settings/phone_number_id",
        "/secrets/access_token",
        "/secrets/verify_token",
        "/settings/a~1b",
    }
    assert "t0ken" not in str(caught.value.errors)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_the_shared_client_closes():
    client = http_client()
    await client.aclose()
    assert client.is_closed

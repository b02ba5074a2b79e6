"""
What every channel must do, whoever wrote it (C4, C7). Subclass it beside your channel:

    class TestWhatsApp(ChannelContract):
        channel_type = WhatsApp
        config = {"phone_number_id": "1", "access_token": "t0ken", ...}
        address = "+5531987654321"
        taken = httpx.Response(200, json={...})        # how the provider says "I have it"
        webhook = b'...'                               # the body of a real webhook

        def signed(self, body: bytes) -> WebhookRequest: ...

Nothing here opens a socket: the provider is an ``httpx.MockTransport``.
"""

import json
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from events.vocabulary import Media, Text
from shared.domain.errors import Busy, ChannelError, Invalid, Rejected, Unauthenticated, Unknown
from shared.ports.channel import Channel, Outgoing, WebhookRequest, secret_fields

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)

# Several channels run the same test, which is what a contract is for.
ANY_CHANNEL = settings(suppress_health_check=[HealthCheck.differing_executors], deadline=None, max_examples=60)


class ChannelContract:
    channel_type: ClassVar[type[Channel]]
    config: ClassVar[dict[str, Any]]
    address: ClassVar[str]
    taken: ClassVar[httpx.Response]
    webhook: ClassVar[bytes]
    media: ClassVar[Media | None] = Media(media_type="image", url="https://files.example/photo.jpg")

    def signed(self, body: bytes) -> WebhookRequest:
        raise NotImplementedError("say how the provider signs a webhook with this config")

    def channel(self, answer: Callable[[httpx.Request], httpx.Response]) -> Channel:
        http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        return self.channel_type(self.channel_type.Config.model_validate(self.config), http)

    def refusing(self) -> Channel:
        def answer(request: httpx.Request) -> httpx.Response:
            raise AssertionError("nothing may be sent")

        return self.channel(answer)

    def outgoing(self) -> Outgoing:
        return Outgoing("dlv-1", self.address, Text(text="Olá 🙂"))

    def secrets(self) -> list[str]:
        return [self.config[name] for name in secret_fields(self.channel_type) if name in self.config]

    def test_it_declares_what_generic_code_reads(self) -> None:
        assert self.channel_type.limits.text > 0
        assert self.channel_type.limits.uncertain_wait.total_seconds() > 0
        assert self.channel_type.webhook_secret_field in secret_fields(self.channel_type)

    def test_its_config_refuses_a_field_it_does_not_know(self) -> None:
        with pytest.raises(ValidationError):
            self.channel_type.Config.model_validate({**self.config, "surprise": 1})

    def test_its_config_does_not_print_its_secrets(self) -> None:
        printed = repr(self.channel_type.Config.model_validate(self.config))
        assert not [secret for secret in self.secrets() if secret in printed]

    def test_an_address_in_canonical_form_stays_as_it_is(self) -> None:
        canonical = self.channel_type.check_address(self.address)
        assert self.channel_type.check_address(canonical) == canonical

    @ANY_CHANNEL
    @given(identifier=st.text(max_size=40))
    def test_any_text_is_an_address_or_invalid(self, identifier: str) -> None:
        try:
            canonical = self.channel_type.check_address(identifier)
        except Invalid:
            return
        assert self.channel_type.check_address(canonical) == canonical

    async def test_a_message_that_is_taken_has_the_providers_id_and_costs_one_call(self) -> None:
        calls: list[httpx.Request] = []

        def take(request: httpx.Request) -> httpx.Response:
            calls.append(request)
            return self.taken

        channel = self.channel(take)
        assert (await channel.send_message(self.outgoing())).provider_message_id
        if self.media is not None:
            assert (await channel.send_file(Outgoing("dlv-2", self.address, self.media))).provider_message_id
        assert len(calls) == (1 if self.media is None else 2)

    async def test_a_token_never_travels_in_the_address_of_a_call(self) -> None:
        def take(request: httpx.Request) -> httpx.Response:
            assert not [secret for secret in self.secrets() if secret in str(request.url)]
            return self.taken

        await self.channel(take).send_message(self.outgoing())

    @pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout])
    async def test_what_never_left_is_busy(self, failure: type[httpx.TransportError]) -> None:
        assert isinstance(await self._failing(failure), Busy)

    @pytest.mark.parametrize(
        "failure", [httpx.ReadTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError]
    )
    async def test_a_lost_answer_is_unknown(self, failure: type[httpx.TransportError]) -> None:
        assert isinstance(await self._failing(failure), Unknown)

    @pytest.mark.parametrize("status", [200, 302, 502])
    async def test_an_answer_that_cannot_be_read_is_unknown(self, status: int) -> None:
        channel = self.channel(lambda request: httpx.Response(status, text="<html>Bad gateway</html>"))
        with pytest.raises(Unknown):
            await channel.send_message(self.outgoing())

    @ANY_CHANNEL
    @given(status=st.sampled_from([200, 400, 401, 404, 429, 500, 503]), body=JUNK)
    async def test_any_answer_is_a_receipt_or_a_channel_error(self, status: int, body: Any) -> None:
        channel = self.channel(lambda request: httpx.Response(status, json=body))
        with pytest.raises((Rejected, Busy, Unknown)):
            await channel.send_message(self.outgoing())

    async def test_no_error_carries_a_secret(self) -> None:
        def betray(request: httpx.Request) -> httpx.Response:
            raise httpx.ReadError(f"{request.url} {request.headers}", request=request)

        channel = self.channel(betray)
        with pytest.raises(ChannelError) as caught:
            await channel.send_message(self.outgoing())
        told = "".join(traceback.format_exception(caught.value))
        assert not [secret for secret in self.secrets() if secret in told]

    async def _failing(self, failure: type[httpx.TransportError]) -> ChannelError:
        def fail(request: httpx.Request) -> httpx.Response:
            raise failure("gone", request=request)

        with pytest.raises(ChannelError) as caught:
            await self.channel(fail).send_message(self.outgoing())
        return caught.value

    def test_a_signed_webhook_is_parsed(self) -> None:
        assert self.refusing().on_webhook_event(self.signed(self.webhook))

    def test_a_webhook_without_signature_is_refused(self) -> None:
        with pytest.raises(Unauthenticated):
            self.refusing().on_webhook_event(WebhookRequest("POST", {}, {}, self.webhook))

    @ANY_CHANNEL
    @given(data=st.data())
    def test_one_changed_byte_is_refused(self, data: st.DataObject) -> None:
        request = self.signed(self.webhook)
        at = data.draw(st.integers(0, len(self.webhook) - 1))
        other = data.draw(st.integers(0, 255).filter(lambda byte: byte != self.webhook[at]))
        body = self.webhook[:at] + bytes([other]) + self.webhook[at + 1 :]
        with pytest.raises(Unauthenticated):
            self.refusing().on_webhook_event(WebhookRequest("POST", request.headers, request.query, body))

    @ANY_CHANNEL
    @given(body=st.binary(max_size=64) | JUNK.map(lambda junk: json.dumps(junk).encode()))
    def test_signed_junk_is_invalid_and_nothing_else(self, body: bytes) -> None:
        self._parse(body)

    @ANY_CHANNEL
    @given(data=st.data())
    def test_a_real_webhook_with_one_part_replaced_is_parsed_or_invalid(self, data: st.DataObject) -> None:
        document = json.loads(self.webhook)
        parent, key = data.draw(st.sampled_from(list(_places(document))))
        parent[key] = data.draw(JUNK | st.sampled_from(["", "0", -1, 10**30, {}, []]))
        self._parse(json.dumps(document).encode())

    def test_a_body_nested_without_end_is_invalid(self) -> None:
        with pytest.raises(Invalid):
            self.refusing().on_webhook_event(self.signed(b"[" * 100_000))

    def _parse(self, body: bytes) -> None:
        with suppress(Invalid):
            self.refusing().on_webhook_event(self.signed(body))


def _places(node: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON document."""
    items = list(node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else [])
    return [(node, key) for key, _ in items] + [place for _, inner in items for place in _places(inner)]

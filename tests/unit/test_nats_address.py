"""A NATS that the client will never reach is told, and harms nobody (A8)."""

import asyncio
import logging

import pytest

from shared.adapters.nats.fan_out import NatsFanOut
from shared.observability.log import SERVICE


async def test_a_connection_that_cannot_be_tried_is_told_tried_again_and_closed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = logging.getLogger(SERVICE)
    monkeypatch.setattr(ours, "handlers", [caplog.handler])
    fan_out = NatsFanOut("nats://user:hidden@host:notaport")
    for _ in range(2):
        caplog.clear()
        await fan_out.publish("acme.user.ana", b"frame")
        await asyncio.sleep(0.01)
        assert any("cannot connect" in record.getMessage() for record in caplog.records)
        assert "hidden" not in " ".join(str(vars(record)) for record in caplog.records)
    with pytest.raises(OSError, match="no answer"):
        await fan_out.ping()
    await fan_out.close()

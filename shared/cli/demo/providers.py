"""The two providers of the demo: the tenant's account at each simulator, and what the users there write and see."""

from dataclasses import dataclass
from typing import Any

from shared.cli.command import Failed, Session
from shared.cli.platform import Json, PlatformRefused, segment


@dataclass(frozen=True, slots=True)
class Provider:
    """``address`` is the demo's user there; its last digits ask the simulator to deliver and read (channels.md 3.7)."""

    channel: str
    address: str
    name: str

    def offered_account(self, session: Session) -> Json:
        """
        What the simulator says to enter.

        Raises:
            Failed: there is no simulator, or it serves another tenant.
        """
        try:
            offered: Json = self._control(session, "GET", "account")
        except PlatformRefused as refused:
            if refused.passing:
                raise
            raise Failed(
                f"no {self.channel} simulator here: they run with CHAT4ALL_SIMULATORS=true on a loopback host"
            ) from None
        tenant = session.platform.client.tenant
        if tenant and tenant != offered["tenant"]:
            raise Failed(
                f"the simulators call the webhooks of tenant {offered['tenant']!r} only, so the demo cannot run as "
                f"{tenant!r}: run it with --tenant {offered['tenant']}"
            )
        return offered

    def open_account(self, session: Session) -> None:
        """
        The tenant's account at the simulator.

        Raises:
            Failed: see ``offered_account``; or the account does not work.
        """
        platform, offered = session.platform, self.offered_account(session)
        path = f"/v1/channels/{self.channel}/accounts/{segment(offered['account_id'])}"
        account: Json = {"settings": offered["settings"], "secrets": offered["secrets"], "enabled": True}
        platform.call("PUT", path, account)
        checked = platform.post(f"{path}/check")
        if not checked["ok"]:
            raise Failed(f"{self.channel} account {offered['account_id']}: {checked['detail']}")

    def is_me(self, identity: Json) -> bool:
        return bool(identity["channel"] == self.channel and identity["identifier"] == self.address)

    def write(self, session: Session, text: str) -> None:
        """The demo's user writes to the tenant's account."""
        body = {"from": self.address, "text": text, "name": self.name}
        self._control(session, "POST", "inbound", body)

    def count(self, session: Session, text: str) -> int:
        """How often the demo's user sees ``text``."""
        shown = self._control(session, "GET", "sent", to=self.address)["items"]
        return sum(each["text"] == text for each in shown)

    def _control(self, session: Session, method: str, what: str, body: Any = None, **params: str) -> Any:
        path = f"/simulators/{self.channel}/_sim/{what}"
        return session.platform.call(method, path, body, anonymous=True, params=params).body


WHATSAPP = Provider("whatsapp", "+5511987650001", "Carla")
INSTAGRAM = Provider("instagram", "17841499990001", "Bruno")

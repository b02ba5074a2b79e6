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

    def check_account(self, session: Session) -> None:
        """
        The simulator runs, and the tenant has an account there; the platform's start made it.

        Raises:
            Failed: one of the two is missing.
        """
        try:
            self._control(session, "GET", "state")
        except PlatformRefused:
            raise Failed(
                f"no {self.channel} simulator here: start the platform with CHAT4ALL_SIMULATORS=true"
            ) from None
        accounts: list[Json] = session.platform.items(f"/v1/channels/{self.channel}/accounts", limit=200)["items"]
        here = f"/simulators/{self.channel}"
        for account in accounts:
            if account["enabled"] and str(account["settings"].get("api", "")).endswith(here):
                path = f"/v1/channels/{self.channel}/accounts/{segment(account['account_id'])}/check"
                checked = session.platform.post(path)
                if not checked["ok"]:
                    raise Failed(f"{self.channel} account {account['account_id']}: {checked['detail']}")
                return
        raise Failed(
            f"tenant {session.platform.client.tenant!r} has no account at the {self.channel} simulator; "
            "the tenant of the first start has"
        )

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

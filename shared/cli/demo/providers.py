"""The two providers of the demo: their accounts at the simulators, and what their users write and see."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.cli.command import Session
from shared.cli.platform import Json, segment

_SECRETS = {
    "access_token": "demo-access-token",
    "app_secret": "demo-app-secret",
    "verify_token": "demo-verify-token",
}
"""Of the simulators, which guard nothing; a real account has its own."""


@dataclass(frozen=True, slots=True)
class Provider:
    """
    ``address`` is the demo's user there; its last digits ask the simulator to deliver and to read
    (channels.md 3.7). ``settings`` are those of the account beside the simulator's address.
    """

    channel: str
    account_id: str
    address: str
    settings: Mapping[str, str]

    def open_account(self, session: Session) -> None:
        """The tenant's account, pointed at the simulator, and the simulator's webhook pointed at the tenant."""
        client = session.platform.client
        session.platform.call(
            "PUT",
            f"/v1/channels/{self.channel}/accounts/{segment(self.account_id)}",
            {
                "settings": {**self.settings, "api": f"{client.url}/simulators/{self.channel}"},
                "secrets": _SECRETS,
                "enabled": True,
            },
        )

    def is_me(self, identity: Json) -> bool:
        return bool(identity["channel"] == self.channel and identity["identifier"] == self.address)

    def write(self, session: Session, text: str) -> None:
        """The demo's user writes to the tenant's account."""
        self._control(session, "POST", "inbound", {"from": self.address, "text": text})

    def count(self, session: Session, text: str) -> int:
        """How often the demo's user sees ``text``."""
        sent = self._control(session, "GET", "sent")
        return sum(each.get("text") == text for each in sent["items"])

    def _control(self, session: Session, method: str, what: str, body: Any = None) -> Any:
        path = f"/simulators/{self.channel}/_sim/{what}"
        return session.platform.call(method, path, body, anonymous=True).body


WHATSAPP = Provider("whatsapp", "100000000000001", "+5511987650001", {"phone_number_id": "100000000000001"})
INSTAGRAM = Provider("instagram", "17841400000000001", "17841499990001", {"account_id": "17841400000000001"})

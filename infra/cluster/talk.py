"""A conversation whose messages go all the way: to WhatsApp, and back as statuses."""

from dataclasses import dataclass

from shared.testing.live import Caller, eventually

_NUMBER = "+5511987650101"


@dataclass(frozen=True, slots=True)
class Talk:
    """Somebody on WhatsApp, and the conversation with them."""

    caller: Caller
    conversation: str

    def send(self) -> str:
        sent: str = self.caller.send(self.conversation, "agent", channels=["whatsapp"])["message_id"]
        return sent

    def until_sent(self, message_id: str) -> None:
        eventually(lambda: self.caller.status(message_id) in ("SENT", "DELIVERED", "READ"), within=30)


def talk_of(caller: Caller) -> Talk:
    caller.users("agent", "customer")
    caller.must("POST", "/v1/users/customer/channels", {"channel": "whatsapp", "identifier": _NUMBER})
    return Talk(caller, caller.conversation("agent", "customer"))

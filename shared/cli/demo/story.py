"""
The four acts of the demo. Everything goes over HTTP, as any client would do it.

Running it again is harmless: users, links, accounts and rules are the same ones each time, and every run marks
its texts with a tag of its own.
"""

import queue
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shared.cli.command import Failed, Session
from shared.cli.commands.listen import subscribed
from shared.cli.commands.messages import draw_history, look
from shared.cli.demo.live import Device
from shared.cli.demo.narrator import Narrator
from shared.cli.demo.providers import INSTAGRAM, WHATSAPP, Provider
from shared.cli.platform import Json, PlatformRefused, segment
from shared.cli.webhook_receiver import Received, WebhookReceiver

ANA, BRUNO, CARLA = "ana", "bruno", "carla"
WANTED = ["message.delivered", "message.read"]
"""What the demo's webhook is subscribed to."""
NAMES = {ANA: "Ana", BRUNO: "Bruno", CARLA: "Carla"}


@dataclass
class Story:
    """``shown`` are the messages whose history closes the demo: (text key, message_id, who may look)."""

    session: Session
    narrator: Narrator
    tag: str = field(default_factory=lambda: f"#{uuid.uuid4().hex[:6]}")  # noqa: TID251 - a chain begins here
    shown: list[tuple[str, str, str]] = field(default_factory=list)

    def tell(self) -> Json:
        """
        Raises:
            Failed: something that is promised did not come true.
        """
        tell, platform = self.narrator, self.session.platform
        client = platform.client
        for provider in (WHATSAPP, INSTAGRAM):
            provider.offered_account(self.session)  # a story that must break off is better not begun
        tell.output.say(f"[bold]{tell.text('title')}[/bold]")
        tell.output.say(f"[dim]{tell.text('where', tenant=client.tenant, url=client.url)}[/dim]")
        self._chat()
        self._across_channels()
        self._once()
        self._live()
        return self._epilogue()

    def _chat(self) -> None:
        tell = self.narrator
        tell.act("act1")
        for user_id in (ANA, BRUNO):
            self._user(user_id)
        tell.step("users")
        conversation = self._private(ANA, BRUNO)
        tell.step("conversation", conversation_id=conversation)
        text = tell.text("text_ana", tag=self.tag)
        sent, ms = self._send(conversation, ANA, text)
        tell.step("ana_writes", text=text, ms=ms, seq=sent["seq"], message_id=sent["message_id"])
        self.shown.append(("chat", sent["message_id"], ANA))
        self._in_history(conversation, BRUNO, sent["message_id"])
        tell.step("bruno_sees")
        self._read(sent["message_id"], BRUNO)
        self._until(sent["message_id"], ANA, "READ")
        tell.step("bruno_read")
        text = tell.text("text_bruno", tag=self.tag)
        answer, _ = self._send(conversation, BRUNO, text)
        tell.step("bruno_answers", text=text, seq=answer["seq"], message_id=answer["message_id"])
        self._read(answer["message_id"], ANA)
        self._until(answer["message_id"], BRUNO, "READ")
        tell.step("ana_read")

    def _across_channels(self) -> None:
        tell = self.narrator
        tell.act("act2")
        for provider in (WHATSAPP, INSTAGRAM):
            provider.open_account(self.session)
        tell.step("accounts")
        self._user(CARLA)
        self._link(CARLA, WHATSAPP)
        self._link(BRUNO, INSTAGRAM)
        tell.step("identities", whatsapp=WHATSAPP.address, instagram=INSTAGRAM.address)
        self._rule(WHATSAPP, BRUNO, INSTAGRAM)
        self._rule(INSTAGRAM, CARLA, WHATSAPP)
        tell.step("rules")
        question = tell.text("text_carla", tag=self.tag)
        WHATSAPP.write(self.session, question)
        tell.step("carla_writes", text=question)
        ms = self._arrives(INSTAGRAM, question)
        tell.step("instagram_shows", text=question, ms=ms)
        conversation = self._private(BRUNO, CARLA)
        asked = self._said(conversation, question)
        self.shown.append(("inbound", asked, BRUNO))
        self._until(asked, BRUNO, "READ")
        tell.step("instagram_read", message_id=asked)
        reply = tell.text("text_reply", tag=self.tag)
        INSTAGRAM.write(self.session, reply)
        tell.step("bruno_instagram", text=reply)
        ms = self._arrives(WHATSAPP, reply)
        tell.step("whatsapp_shows", text=reply, ms=ms)
        replied = self._said(conversation, reply)
        self.shown.append(("reply", replied, BRUNO))
        self._until(replied, BRUNO, "READ")
        tell.step("whatsapp_read", message_id=replied)
        for provider, text in ((INSTAGRAM, question), (WHATSAPP, reply)):
            count = provider.count(self.session, text)
            tell.sure(count == 1, f"{provider.channel}: {count} × “{text}”")
        tell.step("once")

    def _once(self) -> None:
        tell, platform = self.narrator, self.session.platform
        tell.act("act3")
        conversation = self._private(ANA, BRUNO)
        message_id = str(uuid.uuid4())  # noqa: TID251 - a chain begins here
        body = self._body(conversation, ANA, tell.text("text_once", tag=self.tag), message_id)
        first = platform.call("POST", "/v1/messages", body)
        tell.step("first", message_id=message_id, seq=first.body["seq"])
        again = platform.call("POST", "/v1/messages", body)
        tell.sure(again.body == first.body, f"{again.body} ≠ {first.body}")
        tell.sure(again.headers.get("Idempotent-Replayed") == "true", "Idempotent-Replayed")
        tell.step("again", seq=again.body["seq"])
        other = self._body(conversation, ANA, tell.text("text_other", tag=self.tag), message_id)
        try:
            platform.post("/v1/messages", other)
        except PlatformRefused as refused:
            tell.sure(refused.status == 409, f"{refused.status} {refused}")
        else:
            raise Failed(tell.text("failed", why="409"))
        tell.step("conflict")
        path = f"/v1/conversations/{segment(conversation)}/messages"
        items = platform.items(path, limit=1_000_000, act_as=BRUNO, since=0)["items"]
        tell.sure(sum(item["message_id"] == message_id for item in items) == 1, message_id)
        numbers = [item["seq"] for item in items]
        tell.sure(numbers == list(range(1, len(numbers) + 1)), f"{numbers[-20:]}")
        tell.step("one", last=numbers[-1])

    def _live(self) -> None:
        tell = self.narrator
        tell.act("act4")
        received: queue.SimpleQueue[Received] = queue.SimpleQueue()
        with WebhookReceiver(received.put) as receiver, subscribed(self.session, receiver, receiver.url, WANTED):
            tell.step("subscribed", url=receiver.url)
            message = self._pushed()
            self._called(received, message["message_id"])
        self._caught_up(message["conversation_id"])

    def _pushed(self) -> Json:
        tell = self.narrator
        conversation = self._private(ANA, BRUNO)
        with Device(self.session, ANA) as ana, Device(self.session, BRUNO) as bruno:
            tell.step("sockets")
            text = tell.text("text_live", tag=self.tag)
            sent, _ = self._send(conversation, ANA, text)
            found = lambda: bruno.find(type="message", message_id=sent["message_id"])  # noqa: E731
            message, ms = tell.wait("bruno ◄ message", found)
            tell.sure(message["seq"] == sent["seq"], f"{message['seq']} ≠ {sent['seq']}")
            tell.step("pushed", text=text, ms=ms)
            self.shown.append(("live", sent["message_id"], ANA))
            bruno.has(message)
            told = {"type": "receipt", "recipient": BRUNO, "status": "DELIVERED", "to_seq": sent["seq"]}
            _, ms = tell.wait("ana ◄ receipt", lambda: ana.find(**told))
            tell.step("acknowledged", ms=ms)
            self._read(sent["message_id"], BRUNO)
            tell.wait("ana ◄ receipt", lambda: ana.find(**told | {"status": "READ"}))
            tell.step("live_read")
        return message

    def _called(self, received: "queue.SimpleQueue[Received]", message_id: str) -> None:
        """Both webhooks of the message, in whichever order they come."""
        tell, missing = self.narrator, set(WANTED)

        def found() -> bool | None:
            try:
                one = received.get(timeout=0.05)
            except queue.Empty:
                return None
            tell.sure(one.refused is None, f"webhook: {one.refused}")
            if one.body["data"].get("message_id") == message_id:
                missing.discard(one.body["type"])
            return True if not missing else None

        _, ms = tell.wait(", ".join(WANTED), found)
        tell.step("called", events=" + ".join(WANTED), ms=ms)

    def _caught_up(self, conversation: str) -> None:
        tell = self.narrator
        texts = [tell.text("text_away", n=n, tag=self.tag) for n in (1, 2, 3)]
        ids = [self._send(conversation, ANA, text)[0]["message_id"] for text in texts]
        tell.step("away", count=len(ids))
        with Device(self.session, BRUNO) as bruno:
            replayed = [message["message_id"] for message in bruno.replayed]
            tell.sure(replayed == ids, f"{replayed} ≠ {ids}")
        tell.step("caught_up", count=len(ids))

    def _epilogue(self) -> Json:
        tell = self.narrator
        tell.act("history")
        histories = {}
        for key, message_id, user in self.shown:
            _, past = look(self.session, message_id, user)
            histories[message_id] = past
            if not tell.output.as_json:
                draw_history(self.session, past, title=f"\n{tell.text(key)}  {message_id}")
        return {"ok": True, "seconds": round(tell.seconds, 3), "steps": tell.steps, "histories": histories}

    def _user(self, user_id: str) -> None:
        try:
            self.session.platform.post("/v1/users", {"user_id": user_id, "display_name": NAMES[user_id]})
        except PlatformRefused as refused:
            if refused.status != 409:  # somebody gave this user another name: it serves as well
                raise

    def _private(self, one: str, other: str) -> str:
        conversation = self.session.platform.post("/v1/conversations", {"type": "private", "members": [one, other]})
        return str(conversation["conversation_id"])

    def _link(self, user_id: str, provider: Provider) -> None:
        platform = self.session.platform
        path = f"/v1/users/{segment(user_id)}/channels"
        linked = platform.items(path, limit=200)["items"]
        if any(provider.is_me(each) for each in linked):
            return
        platform.post(path, {"channel": provider.channel, "identifier": provider.address})

    def _rule(self, source: Provider, user_id: str, target: Provider) -> None:
        platform = self.session.platform
        match = {"channel": source.channel, "from": source.address}
        action = {"type": "conversation", "with": user_id, "channels": [target.channel]}
        for rule in platform.items("/v1/routing-rules", limit=200)["items"]:
            if match.items() <= rule["match"].items() and action.items() <= rule["action"].items():
                return
        platform.post("/v1/routing-rules", {"match": match, "action": action})

    def _body(self, conversation: str, sender: str, text: str, message_id: str | None = None) -> Json:
        body: Json = {
            "conversation_id": conversation,
            "from": sender,
            "payload": {"type": "text", "text": text},
            "request_delivery_receipt": True,
            "request_read_receipt": True,
        }
        return body | ({"message_id": message_id} if message_id else {})

    def _send(self, conversation: str, sender: str, text: str) -> tuple[Json, float]:
        answer = self.session.platform.call("POST", "/v1/messages", self._body(conversation, sender, text))
        return answer.body, answer.milliseconds

    def _read(self, message_id: str, user_id: str) -> None:
        self.session.platform.post(f"/v1/messages/{message_id}/read", act_as=user_id)

    def _in_history(self, conversation: str, user_id: str, message_id: str) -> None:
        path = f"/v1/conversations/{segment(conversation)}/messages"

        def found() -> bool | None:
            items = self.session.platform.get(path, act_as=user_id, before=10**12, limit=20)["items"]
            return True if any(item["message_id"] == message_id for item in items) else None

        self.narrator.wait(message_id, found)

    def _said(self, conversation: str, text: str) -> str:
        """The id of the message with ``text``, among the newest of the conversation."""
        path = f"/v1/conversations/{segment(conversation)}/messages"

        def found() -> str | None:
            items = self.session.platform.get(path, act_as=BRUNO, before=10**12, limit=20)["items"]
            return next((item["message_id"] for item in items if (item["payload"] or {}).get("text") == text), None)

        return self.narrator.wait(text, found)[0]

    def _until(self, message_id: str, user_id: str, status: str) -> None:
        def found() -> bool | None:
            now: Any = self.session.platform.get(f"/v1/messages/{message_id}/status", act_as=user_id)["status"]
            if now == "FAILED":
                raise Failed(self.narrator.text("failed", why=f"{message_id} FAILED"))
            return True if now == status else None

        self.narrator.wait(status, found)

    def _arrives(self, provider: Provider, text: str) -> float:
        look: Callable[[], bool | None] = lambda: True if provider.count(self.session, text) else None  # noqa: E731
        return self.narrator.wait(f"{provider.channel}: “{text}”", look)[1]

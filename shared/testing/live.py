"""
The running platform as its callers have it: a process, real HTTP, a client in somebody's name.

Flow tests are written in these words. Nothing here knows what is behind the HTTP surface.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx

from shared.adapters.local.clock import RandomIds
from shared.runtime.platform import create_tenant, keep_client
from shared.settings import PREFIX, READ_ELSEWHERE, load_settings
from shared.testing.platform import UNLIMITED, free_port, plain_environment
from shared.testing.real_engines import deployed_url, own_address

T = TypeVar("T")

CANARY = "kanarienvogel"
"""In every text, name and secret of the flow tests, so that it can be looked for where it must not be."""


_PATIENCE = 4 if deployed_url() else 1
"""Functions that are at zero start first."""


def fresh_id() -> str:
    """A UUID that nobody had before."""
    return RandomIds().uuid()


def text(words: str = "olá") -> dict[str, str]:
    return {"type": "text", "text": f"{words} {CANARY}"}


def eventually(look: Callable[[], T], *, within: float = 30.0) -> T:
    """
    What ``look`` finds, once it is anything true.

    Raises:
        AssertionError: it is not after ``within`` seconds, or some times as many on a cluster; what ``look`` asserted
            at last is its cause.
    """
    deadline = time.monotonic() + within * _PATIENCE
    while True:
        why: AssertionError | None = None
        try:
            if found := look():
                return found
        except AssertionError as error:
            why = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within} s") from why
        time.sleep(0.02)


@dataclass
class Process:
    """``chat4all up``; its output is kept in ``data`` with the suffix ``.log``. Leaving the context ends it."""

    data: Path
    port: int = field(default_factory=free_port)
    host: str = "127.0.0.1"
    settings: Mapping[str, str] = field(default_factory=lambda: dict(UNLIMITED))
    child: subprocess.Popen[bytes] | None = None
    clients: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def log(self) -> Path:
        return self.data / "log" / "chat4all.jsonl"

    @property
    def said(self) -> str:
        return self.data.with_suffix(".log").read_text(encoding="utf-8")

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, *, patience: float = 100.0) -> "Process":
        """Start it and wait until it is ready, ``patience`` seconds at most."""
        with self.data.with_suffix(".log").open("ab") as output:
            self.child = subprocess.Popen(
                up(self.data, self.port), stdout=output, stderr=output, env=plain_environment() | dict(self.settings)
            )
        eventually(self._ready, within=patience)
        return self

    def _ready(self) -> bool:
        assert self.child is not None
        if self.child.poll() is not None:
            raise RuntimeError(f"it ended: {self.said}")
        try:
            return httpx.get(f"{self.url}/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.clients.close()
        if self.child is None:
            return 0
        self.child.terminate()
        return self.child.wait(100)

    def kill(self) -> None:
        """SIGKILL: nothing of it runs afterwards."""
        assert self.child is not None
        self.child.kill()
        self.child.wait(30)

    def tenant(self, name: str) -> "Caller":
        """A new tenant's client with a token, made beside the running platform as ``chat4all tenants create``."""
        settings = load_settings(data_dir=self.data, **given(self.settings))
        made = create_tenant(settings, name)
        keep_client(settings, made)
        return self.login(made.client_id, made.client_secret, tenant=name)

    def client(self) -> httpx.Client:
        """One that knows the address and nothing else; closed with the platform."""
        return self.clients.enter_context(httpx.Client(base_url=self.url, timeout=30 * _PATIENCE))

    def login(self, client_id: str, client_secret: str, *, tenant: str) -> "Caller":
        http = self.client()
        answer = http.post("/auth/token", json={"client_id": client_id, "client_secret": client_secret})
        assert answer.status_code == 200, answer.text
        headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
        return Caller(http, tenant, headers, (client_id, client_secret))


@dataclass
class Deployed(Process):
    """
    The platform where scripts/cluster has deployed it: started and stopped by nobody here. ``settings`` are those of
    the mode servers on its engines, for making tenants.
    """

    port: int = 80
    pods: Path = Path("/var/log/pods")

    @property
    def log(self) -> Path:
        """What the platform's pods that are still there have said, without the kubelet's stamps."""
        lines = [
            line.split(" ", 3)[3]
            for file in sorted(self.pods.glob("chat4all_*/*/*.log"))
            if file.parent.name in ("user-container", "realtime", "dispatcher")
            for line in file.read_text(encoding="utf-8").splitlines()
        ]
        collected = self.data.with_suffix(".jsonl")
        collected.write_text("\n".join(lines), encoding="utf-8")
        return collected

    @property
    def said(self) -> str:
        return ""

    def start(self, *, patience: float = 100.0) -> "Deployed":
        self.data.mkdir(parents=True)
        return self

    def stop(self) -> int:
        self.clients.close()
        return 0


def given(environment: Mapping[str, str]) -> dict[str, str]:
    """
    A process's variables as arguments of ``load_settings``.

    >>> given({"CHAT4ALL_MODE": "servers", "OTEL_BSP_SCHEDULE_DELAY": "50"})
    {'mode': 'servers'}
    """
    return {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and name not in READ_ELSEWHERE
    }


def up(data: Path, port: int) -> Sequence[str]:
    """The command that starts the platform."""
    return [sys.executable, "-m", "shared.cli.main", "up", "--port", str(port), "--data-dir", str(data)]


@dataclass(frozen=True)
class Caller:
    """Somebody with a token."""

    http: httpx.Client
    tenant: str
    headers: Mapping[str, str]
    credentials: tuple[str, str] = field(default=("", ""), repr=False)

    @property
    def token(self) -> str:
        return self.headers["authorization"].removeprefix("Bearer ")

    def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        headers = {**self.headers, **more.pop("headers", {})}
        if body is not None:
            more["json"] = body
        return self.http.request(method, path, headers=headers, **more)

    def must(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """What a call that must succeed answers."""
        answer = self(method, path, body, **more)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def acting(self, user_id: str) -> "Caller":
        return replace(self, headers={**self.headers, "x-act-as": user_id})

    def users(self, *user_ids: str) -> None:
        for user_id in user_ids:
            self.must("POST", "/v1/users", {"user_id": user_id, "display_name": f"{user_id} {CANARY}"})

    def as_user(self, user_id: str) -> "Caller":
        """With a token that acts only as this user."""
        token = self.must("POST", f"/v1/users/{user_id}/tokens")["access_token"]
        return replace(self, headers={"authorization": f"Bearer {token}"}, credentials=("", ""))

    def conversation(self, *members: str, **more: Any) -> str:
        kind = more.pop("type", "private" if len(members) == 2 else "group")
        made = self.must("POST", "/v1/conversations", {"type": kind, "members": list(members), **more})
        conversation_id: str = made["conversation_id"]
        return conversation_id

    def send(self, conversation_id: str, sender: str, words: str = "olá", **more: Any) -> dict[str, Any]:
        body = {"conversation_id": conversation_id, "from": sender, "payload": text(words), **more}
        accepted: dict[str, Any] = self.must("POST", "/v1/messages", body)
        return accepted

    def history(self, conversation_id: str, **query: Any) -> list[dict[str, Any]]:
        answer = self.must("GET", f"/v1/conversations/{conversation_id}/messages", params=query)
        items: list[dict[str, Any]] = answer["items"]
        return items

    def steps(self, message_id: str) -> list[tuple[str, str, str]]:
        """The status history: channel, status, who said so."""
        history = self.must("GET", f"/v1/messages/{message_id}/status/history")
        return [(step["channel"], step["status"], step["source"]) for step in history]

    def chain(self, message_id: str) -> list[dict[str, Any]]:
        """The events about the message and all that followed from its request, oldest first."""
        logged = self.must("GET", "/v1/events", params={"message_id": message_id})["items"]
        return [one["event"] for one in logged]

    def status(self, message_id: str) -> str:
        status: str = self.must("GET", f"/v1/messages/{message_id}/status")["status"]
        return status


@dataclass
class Providers:
    """Simulated providers as a process of their own, for one tenant. Leaving the context ends it."""

    tenant: str
    platform: str
    host: str = "127.0.0.1"
    port: int = 0
    accounts: dict[str, Any] = field(default_factory=dict)
    child: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Providers":
        return self

    def __exit__(self, *_: object) -> None:
        if self.child is not None:
            self.child.terminate()
            self.child.communicate()

    def start(self, *options: str) -> "Providers":
        self.host = own_address(self.platform)
        command = [
            sys.executable, "-m", "shared.simulators", "--host", self.host, "--port", "0", "--tenant", self.tenant,
            "--callback-base", self.platform, *options,
        ]  # fmt: skip
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, env=plain_environment(), text=True)
        assert self.child.stdout is not None
        self.accounts = json.loads(self.child.stdout.readline())
        port = httpx.URL(self.accounts["whatsapp"]["settings"]["api"]).port
        assert port is not None
        self.port = port
        return self

    def enter(self, caller: Caller) -> None:
        """The tenant's accounts at these providers."""
        for channel, account in self.accounts.items():
            body = {"settings": account["settings"], "secrets": account["secrets"], "enabled": True}
            caller.must("PUT", f"/v1/channels/{channel}/accounts/{account['account_id']}", body)

    def writes(self, channel: str, sender: str, words: str, **more: Any) -> None:
        """A customer writes."""
        said = {"from": sender, "text": f"{words} {CANARY}", **more}
        answer = httpx.post(f"http://{self.host}:{self.port}/{channel}/_sim/inbound", json=said)
        assert answer.status_code == 202, answer.text

    def shown(self, channel: str, to: str) -> list[dict[str, Any]]:
        """What a customer sees, oldest first."""
        answer = httpx.get(f"http://{self.host}:{self.port}/{channel}/_sim/sent", params={"to": to})
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

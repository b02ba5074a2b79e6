"""
``chat4all upload`` and ``download`` against a platform that breaks in every way (B1, B2, B4; issue 6).

The platform is a fake behind httpx's transport, its store another host of the same one. tests/flow has the real one.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from shared.cli.main import app
from shared.cli.transfer.patience import Patience

PART = 1000
CONTENT = bytes(range(256)) * 13  # four parts, the last a short one


@dataclass
class Store:
    """A platform that keeps files; ``breaks`` may answer in its place."""

    parts: dict[int, bytes] = field(default_factory=dict)
    begun: dict[str, str] = field(default_factory=dict)
    """file_id by Idempotency-Key."""
    states: dict[str, str] = field(default_factory=dict)
    messages: dict[str, Any] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    breaks: Callable[[httpx.Request], httpx.Response | None] = lambda request: None
    checks: int = 0
    """How often it still answers that it is verifying."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        asked = f"{request.method} {request.url.path}"
        self.seen.append(asked)  # by several threads: the last one may be another's
        content = request.read()
        if answer := self.breaks(request):
            return answer
        for pattern, method in (
            (r"POST /auth/token", self.token),
            (r"POST /v1/files/initiate", self.initiate),
            (r"GET /v1/files/(\w+)/status", self.status),
            (r"PUT /parts/(\d+)", self.part),
            (r"POST /v1/files/(\w+)/complete", self.complete),
            (r"GET /v1/files/(\w+)", self.facts),
            (r"GET /bytes", self.bytes),
            (r"POST /v1/messages", self.message),
        ):
            if found := re.fullmatch(pattern, asked):
                return method(request, content, *found.groups())
        return httpx.Response(404)

    def token(self, request: httpx.Request, content: bytes) -> httpx.Response:
        return httpx.Response(200, json={"access_token": "t"})

    def initiate(self, request: httpx.Request, content: bytes) -> httpx.Response:
        assert json.loads(content) == {
            "filename": "relatório.pdf",
            "content_type": "application/pdf",
            "size": len(CONTENT),
            "checksum": f"sha256:{hashlib.sha256(CONTENT).hexdigest()}",
            "conversation_id": "c1",
        }
        key = request.headers["idempotency-key"]
        file_id = self.begun.setdefault(key, f"f{len(self.begun)}")
        self.states.setdefault(file_id, "initiated")
        return httpx.Response(201, json={"file_id": file_id, "parts": []})

    def status(self, request: httpx.Request, content: bytes, file_id: str) -> httpx.Response:
        if self.states[file_id] == "verifying":
            self.checks -= 1
            if self.checks < 0:
                self.states[file_id] = "ready"
        if self.states[file_id] == "gone":
            return httpx.Response(404, json={"title": "There is no such thing here"})
        missing = [
            {
                "part_number": n + 1,
                "upload_url": f"https://store/parts/{n + 1}?signed",
                "offset": n * PART,
                "size": min(PART, len(CONTENT) - n * PART),
            }
            for n in range(4)
            if n + 1 not in self.parts
        ]
        found = {
            "upload_status": self.states[file_id],
            "size": len(CONTENT),
            "received_bytes": sum(map(len, self.parts.values())),
            "missing_parts": missing[:3],
        }
        return httpx.Response(200, json=found)

    def part(self, request: httpx.Request, content: bytes, number: str) -> httpx.Response:
        assert request.headers["content-length"] == str(len(content))
        assert "transfer-encoding" not in request.headers
        assert "authorization" not in request.headers
        self.parts[int(number)] = content
        return httpx.Response(200, headers={"etag": f'"{number}"'})

    def complete(self, request: httpx.Request, content: bytes, file_id: str) -> httpx.Response:
        if len(self.parts) < 4:
            return httpx.Response(409, json={"title": "This contradicts what is already there"})
        assert b"".join(self.parts[n] for n in range(1, 5)) == CONTENT
        self.states[file_id] = "verifying" if self.checks else "ready"
        return httpx.Response(202 if self.checks else 200, json={})

    def facts(self, request: httpx.Request, content: bytes, file_id: str) -> httpx.Response:
        return httpx.Response(
            200,
            json={
                "file_id": file_id,
                "filename": "../relatório.pdf",
                "size": len(CONTENT),
                "checksum": f"sha256:{hashlib.sha256(CONTENT).hexdigest()}",
                "download_url": "https://store/bytes?signed",
            },
        )

    def bytes(self, request: httpx.Request, content: bytes) -> httpx.Response:
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("range", ""))
        start = int(asked[1]) if asked else 0
        return httpx.Response(206 if start else 200, content=CONTENT[start:])

    def message(self, request: httpx.Request, content: bytes) -> httpx.Response:
        body = json.loads(content)
        self.messages[body["message_id"]] = body
        accepted = {"message_id": body["message_id"], "seq": len(self.messages), "conversation_id": "c1"}
        return httpx.Response(202, json=accepted)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(Patience, "wait", at_once)
    return Store()


def at_once(patience: Patience) -> bool:
    """Patience for ten tries that take no time."""
    patience._pause += 1
    return patience._pause <= 10


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "relatório.pdf"
    path.write_bytes(CONTENT)
    return path


def invoke(store: Store, *arguments: str) -> Result:
    client = ["--client-id", "c", "--client-secret", "s3cr3t"]
    return CliRunner().invoke(app, [*arguments, *client], obj=httpx.MockTransport(store))


def upload(store: Store, file: Path, *more: str) -> Result:
    return invoke(store, "upload", str(file), "--conversation", "c1", "--as", "ana", *more)


def failing(*starts: str, times: int, how: Callable[[], httpx.Response]) -> Callable[..., httpx.Response | None]:
    """The first ``times`` requests that begin so are answered by ``how``."""
    left = [times]

    def answer(request: httpx.Request) -> httpx.Response | None:
        if left[0] and f"{request.method} {request.url.path}".startswith(starts):
            left[0] -= 1
            return how()
        return None

    return answer


def cut() -> httpx.Response:
    raise httpx.ReadError("connection reset by peer")


def test_a_file_is_uploaded_and_sent(store: Store, file: Path) -> None:
    result = upload(store, file, "--caption", "o contrato", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["upload_status"], told["size"]) == ("ready", len(CONTENT))
    (message,) = store.messages.values()
    assert message["payload"] == {"type": "file", "file_id": "f0", "caption": "o contrato"}
    assert (message["from"], message["conversation_id"]) == ("ana", "c1")


def test_the_same_command_again_goes_on_with_the_same_upload_and_sends_once(store: Store, file: Path) -> None:
    store.breaks = failing("PUT /parts/3", "PUT /parts/4", times=1000, how=cut)
    assert upload(store, file).exit_code == 1
    assert store.parts.keys() == {1, 2}
    store.breaks = lambda request: None
    store.seen.clear()
    for _ in range(2):
        assert upload(store, file).exit_code == 0
    assert sorted(each for each in store.seen if each.startswith("PUT")) == ["PUT /parts/3", "PUT /parts/4"]
    assert len(store.begun) == 1
    assert len(store.messages) == 1


@pytest.mark.parametrize(
    "how", [cut, lambda: httpx.Response(403, text="expired"), lambda: httpx.Response(503)], ids=["cut", "403", "503"]
)
@pytest.mark.parametrize("where", ["PUT /parts/2", "PUT /parts"])
def test_a_part_that_fails_is_sent_again_by_a_fresh_url(
    store: Store, file: Path, where: str, how: Callable[[], httpx.Response]
) -> None:
    store.breaks = failing(where, times=2, how=how)
    result = upload(store, file, "--no-send")
    assert result.exit_code == 0, result.output
    assert store.messages == {}


@pytest.mark.parametrize("where", ["POST /v1/files/initiate", "GET /v1/files", "POST /v1/files/f0/complete"])
@pytest.mark.parametrize("how", [cut, lambda: httpx.Response(503)], ids=["cut", "503"])
def test_a_platform_that_is_away_for_a_moment_is_waited_for(
    store: Store, file: Path, where: str, how: Callable[[], httpx.Response]
) -> None:
    store.breaks = failing(where, times=3, how=how)
    assert upload(store, file).exit_code == 0


def test_a_platform_that_stays_away_is_exit_code_3(store: Store, file: Path) -> None:
    store.breaks = failing("GET /v1/files", times=1000, how=cut)
    result = upload(store, file)
    assert result.exit_code == 3
    assert "scripts/up" in result.stderr


def test_a_store_that_refuses_a_part_again_and_again_is_not_asked_for_ever(store: Store, file: Path) -> None:
    store.breaks = failing("PUT /parts/2", times=1000, how=lambda: httpx.Response(400, text="BadDigest"))
    result = upload(store, file)
    assert result.exit_code == 1
    assert "part 2 was answered 400: BadDigest" in result.stderr
    assert store.seen.count("PUT /parts/2") == 3


def test_what_the_platform_refuses_is_said(store: Store, file: Path) -> None:
    problem = {"title": "The request is larger than allowed", "status": 413, "detail": "a file may have 2 GiB"}
    store.breaks = failing("POST /v1/files/initiate", times=1, how=lambda: httpx.Response(413, json=problem))
    result = upload(store, file)
    assert result.exit_code == 1
    assert "a file may have 2 GiB" in result.stderr


@pytest.mark.parametrize("state", ["rejected", "aborted", "gone"])
def test_after_an_upload_that_came_to_nothing_the_same_file_begins_anew(store: Store, file: Path, state: str) -> None:
    store.breaks = failing("PUT", times=1000, how=cut)
    upload(store, file)
    store.states["f0"] = state
    store.breaks = lambda request: None
    result = upload(store, file, "--json")
    assert json.loads(result.stdout)["file_id"] == "f1"


def test_an_upload_can_be_named(store: Store, file: Path) -> None:
    store.states["f7"] = "uploading"
    result = upload(store, file, "--resume", "f7", "--json")
    assert json.loads(result.stdout)["file_id"] == "f7"
    assert "POST /v1/files/initiate" not in store.seen


def test_the_end_of_the_verification_is_waited_for(store: Store, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.cli.transfer.upload._POLL", 0.0)
    store.checks = 3
    assert upload(store, file).exit_code == 0


def test_a_message_needs_a_sender(store: Store, file: Path) -> None:
    for wrong in (["--send"], ["--caption", "x"], ["--as", "ana", "--no-send", "--caption", "x"]):
        assert invoke(store, "upload", str(file), "--conversation", "c1", *wrong).exit_code == 2
    assert invoke(store, "upload", str(file), "--conversation", "c1").exit_code == 0
    assert store.messages == {}


def test_people_see_what_became_of_it(store: Store, file: Path) -> None:
    result = upload(store, file)
    assert "ready" in result.stdout
    assert "s3cr3t" not in result.output


def test_a_file_is_downloaded_into_the_folder_whatever_its_name(store: Store, tmp_path: Path) -> None:
    result = invoke(store, "download", "f1", "-o", str(tmp_path), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["path"] == str(tmp_path / "relatório.pdf")
    assert (tmp_path / "relatório.pdf").read_bytes() == CONTENT
    assert [each.name for each in tmp_path.iterdir()] == ["relatório.pdf"]


def test_what_is_refused_is_said_without_an_empty_line(store: Store, tmp_path: Path) -> None:
    store.breaks = lambda request: (
        httpx.Response(404, json={"title": "no", "detail": "there is no file 'f1' here"})
        if request.url.path == "/v1/files/f1"
        else None
    )
    result = invoke(store, "download", "f1", "-o", str(tmp_path / "x"))
    assert result.exit_code == 1
    assert result.stderr.splitlines() == ["no: there is no file 'f1' here"]


def test_a_download_goes_on_where_it_was_cut(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "x"
    (tmp_path / ".x.f1.part").write_bytes(CONTENT[:1234])
    asked: list[str] = []

    def watching(request: httpx.Request) -> None:
        if request.url.path == "/bytes":
            asked.append(request.headers.get("range", ""))

    store.breaks = watching
    assert invoke(store, "download", "f1", "-o", str(target)).exit_code == 0
    assert target.read_bytes() == CONTENT
    assert asked == ["bytes=1234-"]


@pytest.mark.parametrize("how", [cut, lambda: httpx.Response(403)], ids=["cut", "403"])
def test_a_download_that_fails_is_tried_again_by_a_fresh_url(
    store: Store, tmp_path: Path, how: Callable[[], httpx.Response]
) -> None:
    store.breaks = failing("GET /bytes", times=3, how=how)
    assert invoke(store, "download", "f1", "-o", str(tmp_path / "x")).exit_code == 0
    assert (tmp_path / "x").read_bytes() == CONTENT
    assert store.seen.count("GET /v1/files/f1") == 4


def test_what_is_not_right_does_not_get_the_name(store: Store, tmp_path: Path) -> None:
    (tmp_path / ".x.f1.part").write_bytes(b"?" + CONTENT[1:500])
    result = invoke(store, "download", "f1", "-o", str(tmp_path / "x"))
    assert result.exit_code == 1
    assert "SHA-256" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_not_written_over(store: Store, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"mine")
    result = invoke(store, "download", "f1", "-o", str(tmp_path / "x"))
    assert (result.exit_code, (tmp_path / "x").read_bytes()) == (1, b"mine")


def test_patience_ends_only_when_nothing_moves() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    patience = Patience(seconds=60, sleep=sleep, monotonic=lambda: now[0])
    for _ in range(3):
        while now[0] < 50:
            assert patience.wait()
        patience.renewed()
        now[0] = 0
    while patience.wait():
        pass
    assert 60 <= now[0] <= 65

"""
Files through the running platform (B1 to B6, B8): put in parts or by PATCH, resumed, verified, downloaded, removed.

Bytes go to the URLs that the platform gives, wherever they lead.
"""

import hashlib
import json
import os
import random
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from shared.testing.live import CANARY, Caller, Process, Providers, eventually, fresh_id

MIB = 1024**2
PART = 5 * MIB


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


CONTENT = os.urandom(2 * PART + 1234)
"""Three parts, the last one short."""


@dataclass
class Upload:
    """A file that is being uploaded, as its client knows it."""

    caller: Caller
    content: bytes
    answer: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return str(self.answer["file_id"])

    def put(self, part: dict[str, Any], content: bytes | None = None) -> httpx.Response:
        if content is None:
            content = self.content[part["offset"] : part["offset"] + part["size"]]
        return httpx.put(part["upload_url"], content=content, headers=part["headers"], timeout=30)

    def put_all(self) -> "Upload":
        for part in self.answer["parts"]:
            assert self.put(part).status_code == 200
        return self

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.caller.must("GET", f"/v1/files/{self.id}/status")
        return answer

    def complete(self, checksum: str | None = None, **more: Any) -> httpx.Response:
        body = {"checksum": checksum or sha256(self.content), **more}
        return self.caller("POST", f"/v1/files/{self.id}/complete", body)

    def patch(self, offset: int, content: bytes, **headers: str) -> httpx.Response:
        given = {"upload-offset": str(offset), "content-type": "application/offset+octet-stream", **headers}
        return self.caller("PATCH", f"/v1/files/{self.id}/chunk", content=content, headers=given)


@pytest.fixture
def talk(acme: Caller) -> str:
    """A private conversation of ana and bruno."""
    return acme.conversation("ana", "bruno")


@pytest.fixture
def begin(acme: Caller, talk: str) -> Callable[..., Upload]:
    def initiate(content: bytes = CONTENT, user: str = "ana", **more: Any) -> Upload:
        caller = acme.acting(user)
        body = {
            "filename": f"{CANARY}.bin",
            "content_type": "application/octet-stream",
            "size": len(content),
            "conversation_id": talk,
            "part_size": PART,
            **more,
        }
        return Upload(caller, content, caller.must("POST", "/v1/files/initiate", body))

    return initiate


@pytest.fixture
def ready(begin: Callable[..., Upload]) -> Callable[..., Upload]:
    def uploaded(content: bytes = CONTENT, **more: Any) -> Upload:
        upload = begin(content, **more).put_all()
        assert upload.complete().status_code == 200
        return upload

    return uploaded


def download(caller: Caller, file_id: str) -> bytes:
    url = caller.must("GET", f"/v1/files/{file_id}")["download_url"]
    answer = httpx.get(url, timeout=30)
    assert answer.status_code == 200
    return answer.content


# Upload and download


def test_a_file_goes_up_in_parts_and_comes_down_as_it_was(
    acme: Caller, talk: str, begin: Callable[..., Upload]
) -> None:
    upload = begin(filename="Relatório final.pdf", content_type="application/pdf")
    answer = upload.answer
    assert (answer["chunk_size"], answer["deduplicated"]) == (PART, False)
    assert [(part["part_number"], part["offset"], part["size"]) for part in answer["parts"]] == [
        (1, 0, PART), (2, PART, PART), (3, 2 * PART, 1234),
    ]  # fmt: skip
    assert answer["upload_url"] == answer["parts"][0]["upload_url"]
    assert upload.status()["upload_status"] == "initiated"
    etags = [upload.put(part).headers["etag"] for part in answer["parts"]]
    parts = [{"part_number": number, "etag": etag} for number, etag in enumerate(etags, 1)]
    done = upload.complete("sha256:" + sha256(CONTENT).upper(), parts=parts)
    assert (done.status_code, done.json()) == (200, {
        "file_id": upload.id, "upload_status": "ready", "checksum": sha256(CONTENT), "size": len(CONTENT),
    })  # fmt: skip
    file = acme.acting("bruno").must("GET", f"/v1/files/{upload.id}")
    about = {name: file[name] for name in ("filename", "content_type", "size", "checksum", "upload_status", "owner")}
    assert about == {
        "filename": "Relatório final.pdf", "content_type": "application/pdf", "size": len(CONTENT),
        "checksum": sha256(CONTENT), "upload_status": "ready", "owner": "ana",
    }  # fmt: skip
    assert [part["size"] for part in file["chunks"]] == [PART, PART, 1234]
    answered = httpx.get(file["download_url"])
    assert answered.content == CONTENT
    assert answered.headers["content-type"] == "application/pdf"
    assert answered.headers["content-disposition"].startswith("attachment")
    events = eventually(lambda: [one for one in _events(acme) if one["type"] == "chat4all.file.ready.v1"])
    assert events[0]["data"]["checksum"] == sha256(CONTENT)


def _events(caller: Caller) -> list[dict[str, Any]]:
    return [one["event"] for one in caller.must("GET", "/v1/events", params={"limit": 200})["items"]]


def test_a_download_goes_on_where_it_was_cut_and_may_be_a_redirect(ready: Callable[..., Upload]) -> None:
    upload = ready()
    answer = upload.caller("GET", f"/v1/files/{upload.id}", params={"redirect": "true"})
    assert answer.status_code == 307
    url = answer.headers["location"]
    begun = httpx.get(url, headers={"range": f"bytes=0-{PART}"})
    rest = httpx.get(url, headers={"range": f"bytes={PART + 1}-", "if-range": begun.headers["etag"]})
    assert (begun.status_code, rest.status_code) == (206, 206)
    assert begun.content + rest.content == CONTENT


@pytest.mark.skipif(shutil.which("curl") is None, reason="the system has no curl")
def test_the_guides_ten_lines_send_a_file(
    acme: Caller, talk: str, platform: Process, root: Path, tmp_path: Path
) -> None:
    lines = re.search(r"^```sh\n(.+?)^```$", (root / "docs/guides/files.md").read_text(), re.MULTILINE | re.DOTALL)
    assert lines is not None
    told = {
        "http://127.0.0.1:8080": platform.url,
        "CONVERSATION_ID": talk,
        "$(chat4all token --user dora)": acme.as_user("ana").token,
    }
    script = lines[1]
    for stands_for, value in told.items():
        assert stands_for in script
        script = script.replace(stands_for, value)
    (tmp_path / "report.pdf").write_bytes(CONTENT[:1000])
    subprocess.run(["sh", "-e", "-c", script], cwd=tmp_path, check=True, timeout=60)
    (message,) = acme.acting("bruno").history(talk)
    assert message["payload"]["caption"] == "The report"


def test_status_alone_is_enough_to_go_on(begin: Callable[..., Upload]) -> None:
    upload = begin()
    assert upload.put(upload.answer["parts"][1]).status_code == 200
    status = upload.status()
    assert (status["upload_status"], status["received_bytes"], status["offset"]) == ("uploading", PART, 0)
    assert [part["part_number"] for part in status["parts_received"]] == [2]
    assert [part["part_number"] for part in status["missing_parts"]] == [1, 3]
    early = upload.complete()
    assert early.status_code == 409
    assert "parts are missing: 1, 3" in early.json()["detail"]
    for part in status["missing_parts"]:
        assert upload.put(part).status_code == 200
    assert upload.status()["missing_parts"] == []
    assert upload.complete().status_code == 200


def test_completing_again_says_the_same(ready: Callable[..., Upload]) -> None:
    upload = ready()
    assert upload.complete().status_code == 200
    again = upload.caller("POST", "/v1/files/complete", {"file_id": upload.id, "checksum": sha256(CONTENT)})
    assert (again.status_code, again.json()["upload_status"]) == (200, "ready")
    other = upload.complete(sha256(b"other"))
    assert (other.status_code, other.json()["type"].rsplit("/", 1)[1]) == (422, "checksum-mismatch")
    assert upload.status()["upload_status"] == "ready"


def test_another_checksum_is_rejected_and_the_bytes_are_gone(acme: Caller, begin: Callable[..., Upload]) -> None:
    upload = begin().put_all()
    for _ in range(2):
        answer = upload.complete(sha256(b"other"))
        assert answer.status_code == 422
        assert sha256(CONTENT) in answer.json()["detail"]
    status = upload.status()
    assert (status["upload_status"], status["reason"]) == ("rejected", "checksum_mismatch")
    assert upload.caller.must("GET", f"/v1/files/{upload.id}")["download_url"] is None
    assert acme.acting("bruno")("GET", f"/v1/files/{upload.id}").status_code == 404
    assert any(one["type"] == "chat4all.file.rejected.v1" for one in _events(acme))


def test_a_large_file_is_verified_while_its_uploader_goes_on(acme: Caller, begin: Callable[..., Upload]) -> None:
    content = bytes(65 * MIB)
    upload = begin(content, part_size=33 * MIB).put_all()
    answer = upload.complete()
    assert (answer.status_code, answer.json()["upload_status"]) == (202, "verifying")
    assert upload.complete().status_code in (200, 202)
    status = eventually(lambda: (one := upload.status())["upload_status"] == "ready" and one)
    assert status["checksum"] == sha256(content)
    again = upload.complete()
    assert (again.status_code, again.json()["checksum"]) == (200, sha256(content))


# By PATCH


def test_bytes_by_way_of_the_platform_in_pieces_of_any_size(begin: Callable[..., Upload]) -> None:
    upload, offset, sizes = begin(), 0, random.Random(7)
    while offset < len(CONTENT):
        piece = CONTENT[offset : offset + sizes.choice((1, 1000, MIB, 3 * MIB, PART, PART + 1))]
        answer = upload.patch(offset, piece)
        offset += len(piece)
        assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(offset))
        assert upload.status()["offset"] == offset
    assert upload.complete().status_code == 200
    assert download(upload.caller, upload.id) == CONTENT


def test_the_whole_file_in_one_patch_with_content_range(begin: Callable[..., Upload]) -> None:
    upload = begin()
    extent = f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"
    headers = {"content-range": extent}
    answer = upload.caller("PATCH", f"/v1/files/{upload.id}/chunk", content=CONTENT, headers=headers)
    assert (answer.status_code, answer.headers["upload-offset"]) == (204, str(len(CONTENT)))
    assert upload.complete().status_code == 200


def test_a_wrong_offset_is_409_and_says_the_right_one(begin: Callable[..., Upload]) -> None:
    upload = begin()
    assert upload.patch(0, CONTENT[:1000]).status_code == 204
    for offset in (0, 999, 1001, PART):
        answer = upload.patch(offset, CONTENT[:10])
        assert (answer.status_code, answer.headers["upload-offset"]) == (409, "1000")
        assert answer.headers["content-type"] == "application/problem+json"
    assert upload.patch(1000, CONTENT[1000:]).status_code == 204
    assert upload.patch(len(CONTENT), b"more").status_code == 422
    assert upload.complete().status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"upload-offset": ""},
        {"upload-offset": "-1"},
        {"upload-offset": "x"},
        {"upload-offset": "1" * 40},
        {"content-range": "bytes 5-1/10"},
        {"content-range": "bytes */10"},
        {"content-range": "bytes 0-99/10"},
        {"content-range": "bytes 0-3/10", "upload-offset": "1"},
        {"upload-checksum": "sha256 abc"},
    ],
    ids=str,
)
def test_headers_that_do_not_say_where_the_bytes_belong(begin: Callable[..., Upload], headers: dict[str, str]) -> None:
    upload = begin()
    answer = upload.caller("PATCH", f"/v1/files/{upload.id}/chunk", content=b"1234", headers=headers)
    assert answer.status_code == 422
    assert upload.status()["received_bytes"] == 0


def test_a_client_that_is_cut_goes_on_from_the_last_whole_part(platform: Process, begin: Callable[..., Upload]) -> None:
    upload, cut = begin(), random.Random(11).randrange(PART + 1, 2 * PART)
    with socket.create_connection((platform.host, platform.port)) as connection:
        lines = [f"PATCH /v1/files/{upload.id}/chunk HTTP/1.1", "Host: x", f"Content-Length: {len(CONTENT)}"]
        lines += [f"{name}: {value}" for name, value in upload.caller.headers.items()]
        connection.sendall("\r\n".join([*lines, "Upload-Offset: 0", "", ""]).encode() + CONTENT[:cut])
        eventually(lambda: upload.status()["offset"] == PART)
    assert upload.patch(PART, CONTENT[PART:]).status_code == 204
    assert upload.complete().status_code == 200


def test_an_upload_that_the_server_was_killed_in_goes_on(tmp_path: Path) -> None:
    with Process(tmp_path / "data") as process:
        before = process.start().tenant("killed")
        before.users("ana", "bruno")
        body = {"filename": "a.bin", "content_type": "text/plain", "size": len(CONTENT), "part_size": PART,
                "conversation_id": before.conversation("ana", "bruno")}  # fmt: skip
        upload = Upload(before.acting("ana"), CONTENT)
        upload.answer = upload.caller.must("POST", "/v1/files/initiate", body)
        first, second, _ = upload.answer["parts"]
        assert upload.put(first).status_code == 200
        url = urlsplit(second["upload_url"])
        with socket.create_connection((str(url.hostname), int(url.port or 80))) as connection:
            lines = [f"PUT {url.path}?{url.query} HTTP/1.1", "Host: x", f"Content-Length: {PART}", "", ""]
            connection.sendall("\r\n".join(lines).encode() + CONTENT[PART : PART + PART // 2])
            assert process.child is not None
            process.child.kill()
            process.child.wait()
        after = process.start().login(*before.credentials, tenant="killed").acting("ana")
        upload = Upload(after, CONTENT, {"file_id": upload.id})
        status = upload.status()
        assert [part["part_number"] for part in status["parts_received"]] == [1]
        for part in status["missing_parts"]:
            assert upload.put(part).status_code == 200
        assert upload.complete().status_code == 200
        assert download(after, upload.id) == CONTENT


# Parts that misbehave


def test_parts_come_often_in_any_order_and_with_other_bytes(begin: Callable[..., Upload]) -> None:
    upload = begin()
    first, second, last = upload.answer["parts"]
    assert upload.put(last).status_code == 200
    for _ in range(3):
        assert upload.put(second).status_code == 200
    assert upload.put(first, CONTENT[PART : 2 * PART]).status_code == 200
    assert upload.put(first).status_code == 200
    assert upload.complete().status_code == 200
    assert download(upload.caller, upload.id) == CONTENT


def test_a_part_of_another_size_or_with_other_bytes_than_announced_is_refused(begin: Callable[..., Upload]) -> None:
    cuts = [CONTENT[at : at + PART] for at in range(0, len(CONTENT), PART)]
    upload = begin(part_checksums=[sha256(one) for one in cuts])
    first = upload.answer["parts"][0]
    for wrong in (b"", CONTENT[: PART - 1], CONTENT[: PART + 1], CONTENT[1 : PART + 1]):
        assert 400 <= upload.put(first, wrong).status_code < 500
    assert upload.patch(0, CONTENT[1 : PART + 1]).status_code == 422
    assert upload.patch(0, CONTENT[1:100]).status_code == 204
    assert upload.patch(99, CONTENT[99:PART]).status_code == 422
    assert upload.status()["received_bytes"] == 0
    assert upload.put_all().complete().status_code == 200


def test_parts_that_a_client_names_must_be_those_that_are_there(begin: Callable[..., Upload]) -> None:
    upload = begin().put_all()
    wrong = [{"part_number": 1, "etag": '"0"'}, {"part_number": 7, "etag": '"0"'}]
    answer = upload.complete(parts=wrong)
    assert answer.status_code == 409
    assert "there is no part 7" in answer.json()["detail"]
    assert upload.complete().status_code == 200


def test_a_url_that_was_changed_in_any_byte_is_refused(begin: Callable[..., Upload]) -> None:
    upload = begin(b"tiny", part_size=None)
    url = upload.answer["upload_url"]
    start = url.index("/", len("http://")) + 1
    with httpx.Client() as http:
        for at in range(start, len(url)):
            changed = url[:at] + ("b" if url[at] == "a" else "a") + url[at + 1 :]
            assert 400 <= http.put(changed, content=b"tiny").status_code < 500, changed
    assert upload.status()["parts_received"] == []
    assert upload.put_all().complete().status_code == 200


# Races


def at_once(*work: Callable[[], Any]) -> list[Any]:
    barrier = threading.Barrier(len(work))

    def run(one: Callable[[], Any]) -> Any:
        barrier.wait()
        return one()

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(run, work))


def test_of_many_who_complete_at_once_all_get_the_same_answer(begin: Callable[..., Upload]) -> None:
    upload = begin().put_all()
    answers = at_once(*[upload.complete for _ in range(6)])
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert eventually(lambda: upload.complete().status_code == 200)
    assert download(upload.caller, upload.id) == CONTENT


def test_a_part_in_flight_while_the_upload_completes_never_makes_a_wrong_file_ready(
    begin: Callable[..., Upload],
) -> None:
    for _ in range(4):
        upload = begin().put_all()
        first = upload.answer["parts"][0]
        at_once(upload.complete, partial(upload.put, first, CONTENT[1 : PART + 1]))
        status = upload.status()["upload_status"]
        if status == "ready":
            assert download(upload.caller, upload.id) == CONTENT
        else:
            assert status in ("uploading", "rejected")
        upload.caller.must("DELETE", f"/v1/files/{upload.id}")


def test_two_who_patch_the_same_bytes_at_once_do_not_spoil_them(begin: Callable[..., Upload]) -> None:
    upload = begin()
    answers = at_once(*[lambda: upload.patch(0, CONTENT[:1000]) for _ in range(4)])
    assert {answer.status_code for answer in answers} <= {204, 409}
    assert upload.status()["offset"] == 1000
    assert upload.patch(1000, CONTENT[1000:]).status_code == 204
    assert upload.complete().status_code == 200


# What is refused


@pytest.mark.parametrize(
    ("change", "status", "pointer"),
    [
        ({"filename": "../../etc/passwd"}, 422, "/filename"),
        ({"filename": "..\\boot.ini"}, 422, "/filename"),
        ({"filename": ".."}, 422, "/filename"),
        ({"filename": " "}, 422, "/filename"),
        ({"filename": "a\r\nSet-Cookie: x=1"}, 422, "/filename"),
        ({"filename": "a\0b"}, 422, "/filename"),
        ({"filename": "invoice\u202efdp.exe"}, 422, "/filename"),
        ({"filename": "é" * 128}, 422, "/filename"),
        ({"content_type": "text/html\r\nX: y"}, 422, "/content_type"),
        ({"content_type": "no type"}, 422, "/content_type"),
        ({"size": 0}, 422, "/size"),
        ({"size": -1}, 422, "/size"),
        ({"size": "5"}, 422, "/size"),
        ({"size": 2 * 1024**3 + 1}, 413, None),
        ({"size": 10**15}, 413, None),
        ({"size": 10_001, "part_size": 1}, 422, "/part_size"),
        ({"part_size": PART - 1}, 422, "/part_size"),
        ({"checksum": "md5:abc"}, 422, "/checksum"),
        ({"part_checksums": ["0" * 64]}, 422, "/part_checksums"),
        ({"part_checksums": ["x"] * 3}, 422, "/part_checksums/0"),
        ({"part_checksums": ["0" * 64] * 10_001}, 422, "/part_checksums"),
        ({"conversation_id": "none"}, 404, None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_uploaded_is_said_before(
    acme: Caller, talk: str, change: dict[str, Any], status: int, pointer: str | None
) -> None:
    body = {"filename": "a.bin", "content_type": "text/plain", "size": len(CONTENT), "conversation_id": talk,
            "part_size": PART}  # fmt: skip
    answer = acme.acting("ana")("POST", "/v1/files/initiate", {**body, **change})
    assert answer.status_code == status, answer.text
    if pointer is not None:
        assert pointer in [error["pointer"] for error in answer.json()["errors"]]


def test_the_largest_file_is_taken(acme: Caller, talk: str) -> None:
    body = {"filename": "a", "content_type": "text/plain", "size": 2 * 1024**3, "conversation_id": talk}
    answer = acme.acting("ana").must("POST", "/v1/files/initiate", body)
    assert len(answer["parts"]) == 128
    acme.must("DELETE", f"/v1/files/{answer['file_id']}")


def test_more_than_ten_thousand_parts_cannot_be_named(begin: Callable[..., Upload]) -> None:
    upload = begin()
    parts = [{"part_number": number % 10_000 + 1, "etag": "e"} for number in range(10_001)]
    assert upload.complete(parts=parts).status_code == 422
    assert upload.complete(parts=[{"part_number": 10_001, "etag": "e"}]).status_code == 422


def test_a_user_has_twenty_uploads_open_and_no_more(begin: Callable[..., Upload], acme: Caller, talk: str) -> None:
    body = {"filename": "a", "content_type": "text/plain", "size": 5, "conversation_id": talk}
    ana = acme.acting("ana")
    answers = at_once(*[lambda: ana("POST", "/v1/files/initiate", body) for _ in range(12)])
    opened = [answer.json()["file_id"] for answer in answers if answer.status_code == 201]
    while len(opened) < 20:
        opened.append(ana.must("POST", "/v1/files/initiate", body)["file_id"])
    assert ana("POST", "/v1/files/initiate", body).status_code == 429
    assert acme.acting("bruno")("POST", "/v1/files/initiate", body).status_code == 201
    ana.must("DELETE", f"/v1/files/{opened[0]}")
    assert ana("POST", "/v1/files/initiate", body).status_code == 201


# Who may


def test_only_members_download_and_only_while_they_are(acme: Caller, ready: Callable[..., Upload]) -> None:
    group = acme.conversation("ana", "bruno", "clara", type="group")
    upload = ready(conversation_id=group)
    path = f"/v1/files/{upload.id}"
    for user in ("ana", "bruno", "clara"):
        assert acme.as_user(user)("GET", path).status_code == 200
    acme.acting("clara").must("DELETE", f"/v1/conversations/{group}/members/clara")
    assert acme.as_user("clara")("GET", path).status_code == 404
    acme.users("eve")
    for user in ("clara", "eve"):
        for method, of in (("GET", path), ("GET", f"{path}/status"), ("DELETE", path)):
            assert acme.as_user(user)(method, of).status_code == 404
    assert acme.as_user("bruno")("DELETE", path).status_code == 404
    assert acme.as_user("bruno")("GET", f"{path}/status").status_code == 404
    assert acme("GET", path).status_code == 200


def test_who_is_no_member_uploads_nothing(acme: Caller, talk: str) -> None:
    body = {"filename": "a", "content_type": "text/plain", "size": 5, "conversation_id": talk}
    assert acme.acting("clara")("POST", "/v1/files/initiate", body).status_code == 403
    assert acme("POST", "/v1/files/initiate", body).status_code == 422


def test_who_leaves_before_the_upload_is_complete_completes_nothing(acme: Caller, begin: Callable[..., Upload]) -> None:
    group = acme.conversation("ana", "bruno", "clara", type="group")
    upload = begin(user="clara", conversation_id=group).put_all()
    acme.acting("clara").must("DELETE", f"/v1/conversations/{group}/members/clara")
    assert upload.complete().status_code == 403


def test_a_removed_file_is_gone_and_an_aborted_upload_takes_nothing(
    acme: Caller, begin: Callable[..., Upload], ready: Callable[..., Upload]
) -> None:
    upload = begin()
    part = upload.answer["parts"][0]
    assert upload.put(part).status_code == 200
    for _ in range(2):
        upload.caller.must("DELETE", f"/v1/files/{upload.id}")
    assert upload.status()["upload_status"] == "aborted"
    assert upload.put(part).status_code == 404
    assert upload.patch(0, b"x").status_code == 409
    assert upload.complete().status_code == 409
    upload = ready()
    for _ in range(2):
        upload.caller.must("DELETE", f"/v1/files/{upload.id}")
    for path in (f"/v1/files/{upload.id}", f"/v1/files/{upload.id}/status"):
        assert acme("GET", path).status_code == 404


def test_the_unfinished_uploads_of_an_erased_user_are_aborted(acme: Caller, begin: Callable[..., Upload]) -> None:
    upload = begin()
    assert upload.put(upload.answer["parts"][0]).status_code == 200
    erased = acme.must("DELETE", "/v1/users/ana")
    assert erased["removed"]["uploads"] == 1
    assert acme.must("GET", f"/v1/files/{upload.id}/status")["upload_status"] == "aborted"


# The same bytes again


def test_who_can_read_a_file_need_not_upload_it_again(
    acme: Caller, talk: str, begin: Callable[..., Upload], ready: Callable[..., Upload]
) -> None:
    first = ready()
    again = begin(user="bruno", checksum=sha256(CONTENT), filename="copy.bin")
    assert (again.answer["deduplicated"], again.answer["parts"], again.answer["upload_url"]) == (True, [], None)
    assert again.id != first.id
    assert acme.acting("ana").must("GET", f"/v1/files/{again.id}")["filename"] == "copy.bin"
    first.caller.must("DELETE", f"/v1/files/{first.id}")
    assert download(acme.acting("bruno"), again.id) == CONTENT


def test_knowing_a_hash_gives_nobody_the_file(
    acme: Caller, new_tenant: Callable[[], Caller], begin: Callable[..., Upload], ready: Callable[..., Upload]
) -> None:
    first = ready()
    acme.users("eve", "mallory")
    elsewhere = acme.conversation("eve", "mallory")
    stranger = begin(user="eve", conversation_id=elsewhere, checksum=sha256(CONTENT))
    assert (stranger.answer["deduplicated"], len(stranger.answer["parts"])) == (False, 3)
    wrong_size = begin(CONTENT[:-1], user="bruno", checksum=sha256(CONTENT))
    assert wrong_size.answer["deduplicated"] is False
    other = new_tenant()
    other.users("ana", "bruno")
    body = {"filename": "a", "content_type": "text/plain", "size": len(CONTENT), "checksum": sha256(CONTENT),
            "conversation_id": other.conversation("ana", "bruno")}  # fmt: skip
    assert other.acting("ana").must("POST", "/v1/files/initiate", body)["deduplicated"] is False
    # Uploaded by somebody who could not see the other, it is a file of its own; and outlives the other.
    assert stranger.put_all().complete().status_code == 200
    first.caller.must("DELETE", f"/v1/files/{first.id}")
    assert download(acme.acting("eve"), stranger.id) == CONTENT
    assert acme.as_user("eve")("GET", f"/v1/files/{first.id}").status_code == 404


def test_another_checksum_than_was_announced_is_refused_before_anything_is_read(begin: Callable[..., Upload]) -> None:
    upload = begin(checksum=sha256(CONTENT)).put_all()
    assert upload.complete(sha256(b"other")).status_code == 422
    assert upload.status()["upload_status"] == "uploading"
    answer = upload.caller("POST", f"/v1/files/{upload.id}/complete", {})
    assert answer.status_code == 200


# CloudEvents


def test_an_integration_uploads_by_cloudevents(acme: Caller, talk: str) -> None:
    def emit(kind: str, event_id: str, **data: Any) -> None:
        event = {"specversion": "1.0", "id": event_id, "source": "/crm", "type": kind, "data": {"from": "ana", **data}}
        headers = {"content-type": "application/cloudevents+json"}
        assert acme("POST", "/v1/events", content=json.dumps(event), headers=headers).status_code == 202

    content, file_id = CONTENT[: PART + 5], fresh_id()
    for _ in range(2):
        emit("chat4all.file.initiate.requested.v1", file_id, conversation_id=talk, filename="a.bin",
             content_type="text/plain", size=len(content))  # fmt: skip
    ana = acme.acting("ana")
    eventually(lambda: ana("GET", f"/v1/files/{file_id}/status").status_code == 200)
    upload = Upload(ana, content, {"file_id": file_id})
    for part in upload.status()["missing_parts"]:
        assert upload.put(part).status_code == 200
    for _ in range(2):
        emit("chat4all.file.complete.requested.v1", fresh_id(), file_id=file_id, checksum=sha256(content))
    eventually(lambda: upload.status()["upload_status"] == "ready")
    assert download(ana, file_id) == content


# Messages that carry files


def test_a_file_is_sent_once_it_is_ready_by_who_may_read_it(
    acme: Caller, talk: str, begin: Callable[..., Upload], ready: Callable[..., Upload]
) -> None:
    def send(sender: str, conversation: str, file_id: str, **more: Any) -> httpx.Response:
        payload = {"type": "file", "file_id": file_id, **more}
        return acme("POST", "/v1/messages", {"conversation_id": conversation, "from": sender, "payload": payload})

    assert send("ana", talk, "none").status_code == 422
    assert send("ana", talk, begin().id).status_code == 409
    upload = ready()
    assert send("ana", talk, upload.id, caption="x" * 4097).status_code == 422
    assert send("ana", talk, upload.id, caption=f"look {CANARY}").status_code == 202
    assert acme.history(talk)[-1]["payload"] == {"type": "file", "file_id": upload.id, "caption": f"look {CANARY}"}
    acme.users("eve")
    with_eve = acme.conversation("eve", "clara")
    refused = send("eve", with_eve, upload.id)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/payload/file_id")
    # Forwarded by who can read it, it can be read where it was forwarded to.
    onward = acme.conversation("bruno", "clara")
    assert acme.as_user("clara")("GET", f"/v1/files/{upload.id}").status_code == 404
    assert send("bruno", onward, upload.id).status_code == 202
    assert download(acme.as_user("clara"), upload.id) == CONTENT


def test_a_file_goes_to_a_channel_by_its_url_or_as_a_link_when_it_is_too_much(
    shop: Caller, providers: Providers
) -> None:
    number, igsid = "+5511987650042", "17841400000000042"
    shop.users("ana", "bruno")
    shop.must("POST", "/v1/users/bruno/channels", {"channel": "whatsapp", "identifier": number})
    shop.must("POST", "/v1/users/bruno/channels", {"channel": "instagram", "identifier": igsid})
    talk = shop.conversation("ana", "bruno")

    def sent(content: bytes, **about: str) -> str:
        body = {"filename": "report.pdf", "content_type": "application/pdf", "size": len(content),
                "conversation_id": talk, **about}  # fmt: skip
        ana = shop.acting("ana")
        upload = Upload(ana, content, ana.must("POST", "/v1/files/initiate", body)).put_all()
        assert upload.complete().status_code == 200
        payload = {"type": "file", "file_id": upload.id, "caption": f"look {CANARY}"}
        message = {"conversation_id": talk, "from": "ana", "payload": payload, "channels": ["whatsapp", "instagram"]}
        return str(shop.must("POST", "/v1/messages", message)["message_id"])

    def told(message_id: str) -> dict[str, str | None]:
        """By channel the reason, once both have it."""
        deliveries = shop.must("GET", f"/v1/messages/{message_id}")["deliveries"]
        done = {one["channel"]: one["reason"] for one in deliveries if one["status"] in ("SENT", "DELIVERED", "READ")}
        assert {"whatsapp", "instagram"} <= set(done)
        return done

    small = CONTENT[:5000]
    message_id = sent(small)
    assert set(eventually(lambda: told(message_id)).values()) == {None}
    on_whatsapp = json.dumps(providers.shown("whatsapp", number))
    on_instagram = json.dumps(providers.shown("instagram", igsid))
    assert '"document"' in on_whatsapp
    assert '"file"' in on_instagram
    for shown in (on_whatsapp, on_instagram):
        assert httpx.get(_urls(shown)[-1]).content == small

    message_id = sent(small, filename="archive.zip", content_type="application/zip")
    reasons = eventually(lambda: told(message_id))
    assert (reasons["whatsapp"], reasons["instagram"]) == (None, "file_as_link")
    shown = json.dumps(providers.shown("instagram", igsid))
    assert "archive.zip (5.0 kB)" in shown
    assert httpx.get(_urls(shown)[-1]).content == small


def _urls(shown: str) -> list[str]:
    return re.findall(r"https?://[^\s\"\\]+", shown)


def test_the_urls_lead_to_the_platform_or_its_store_and_carry_no_secret(begin: Callable[..., Upload]) -> None:
    parts = urlsplit(begin().answer["upload_url"])
    assert parts.scheme in ("http", "https")
    assert "bearer" not in parts.query.lower()

"""
A stop and a start on the same data directory, and who may come in at the first start (issue 3 item 8; E5, A11).

What prevents a start is in test_command_line.py; kill -9 is the crash campaign's.
"""

import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx
import pytest

from shared.runtime import start_error
from shared.testing.live import Process, eventually, fresh_id, text
from shared.testing.platform import UNLIMITED, free_port, plain_environment


@pytest.fixture
def process(tmp_path: Path, environment: Callable[[], dict[str, str]]) -> Iterator[Process]:
    with Process(tmp_path / "data", settings=environment()) as running:
        yield running


def of_nobody(settings: Mapping[str, str]) -> dict[str, str]:
    """The same mode and engines, and no client that the environment names."""
    return {name: value for name, value in settings.items() if name not in UNLIMITED}


def standings(process: Process, tenant: str) -> dict[str, int]:
    known = json.loads((process.data / "credentials.json").read_text())["tenants"][tenant]
    caller = process.login(known["client_id"], known["client_secret"], tenant=tenant)
    return {one["name"]: one["offset"] for one in caller.must("GET", "/v1/triggers")["items"]}


def test_everything_is_there_after_a_restart_and_nothing_happens_twice(process: Process) -> None:
    before = process.start().tenant("acme")
    before.users("ana", "bruno")
    talk = before.conversation("ana", "bruno")
    mine = fresh_id()
    for n in range(5):
        before.send(talk, "ana", f"{n}", **({"message_id": mine} if n == 0 else {}))
    before.acting("bruno").must("PUT", f"/v1/conversations/{talk}/read", {"seq": 3})
    event = {"specversion": "1.0", "id": fresh_id(), "source": "/crm", "type": "chat4all.message.send.requested.v1",
             "data": {"conversation_id": "none", "from": "ana", "payload": text()}}  # fmt: skip
    structured = {"content-type": "application/cloudevents+json"}
    assert before("POST", "/v1/events", content=json.dumps(event), headers=structured).status_code == 202
    eventually(lambda: before.must("GET", "/v1/parked")["items"])
    eventually(lambda: {one["lag"] for one in before.must("GET", "/v1/triggers")["items"]} == {0})
    history = before.history(talk)
    parked = before.must("GET", "/v1/parked")
    chain = before.chain(mine)
    offsets = standings(process, "acme")
    keys = before.http.get("/.well-known/jwks.json").json()
    assert process.stop() == 0

    after = process.start().login(*before.credentials, tenant="acme")
    assert after.history(talk) == history
    assert after.must("GET", "/v1/parked") == parked
    assert after.chain(mine) == chain, "an event that was handled is not handled again"
    assert after.http.get("/.well-known/jwks.json").json() == keys
    old = process.client().get("/v1/users", headers={"authorization": f"Bearer {before.token}"})
    assert old.status_code == 200, "a token outlives a restart"
    now = standings(process, "acme")
    assert set(now) == set(offsets)
    assert all(now[name] >= offsets[name] for name in offsets)
    again = after(
        "POST", "/v1/messages", {"conversation_id": talk, "from": "ana", "payload": text("0"), "message_id": mine}
    )
    assert (again.status_code, again.json()["seq"], again.headers["idempotent-replayed"]) == (202, 1, "true")
    assert after.send(talk, "bruno")["seq"] == 6


def test_who_starts_on_other_tables_comes_in_with_the_credentials_that_were_kept(
    tmp_path: Path, environment: Callable[[], dict[str, str]]
) -> None:
    """README: first embedded, then on real engines, in the same data directory."""
    data = tmp_path / "data"
    with Process(data, settings=of_nobody({})) as before:
        before.start().stop()
    kept = json.loads((data / "credentials.json").read_text())["tenants"]["demo"]
    for file in data.glob("*.db*"):
        file.unlink()
    with Process(data, settings=of_nobody(environment())) as after:
        caller = after.start().login(kept["client_id"], kept["client_secret"], tenant="demo")
        assert caller("GET", "/v1/users").status_code == 200
    assert json.loads((data / "credentials.json").read_text())["tenants"]["demo"] == kept


def test_the_first_start_keeps_a_generated_secret_for_its_owner_only_and_tells_it_to_no_log(process: Process) -> None:
    """What it says goes into a journal, or whatever keeps the output of a service; a terminal is shown it once."""
    process.settings = of_nobody(process.settings)
    process.start()
    file = process.data / "credentials.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = json.loads(file.read_text())["tenants"]["demo"]
    assert len(kept["client_secret"]) >= 32
    assert kept["client_secret"] not in process.said
    assert str(file) in process.said
    assert (
        process.login(kept["client_id"], kept["client_secret"], tenant="demo").must("GET", "/v1/users")["items"] == []
    )
    assert kept["client_secret"] not in process.log.read_text()
    process.stop()
    process.start()
    assert kept["client_secret"] not in process.said
    assert json.loads(file.read_text())["tenants"]["demo"] == kept
    process.login(kept["client_id"], kept["client_secret"], tenant="demo")


def test_no_start_makes_another_client_for_one_that_was_disabled(tmp_path: Path) -> None:
    data = tmp_path / "data"
    chat4all = [sys.executable, "-m", "shared.cli.main", "tenants"]
    with Process(data, settings=of_nobody({})) as process:
        process.start()
        kept = json.loads((data / "credentials.json").read_text())["tenants"]["demo"]
        subprocess.run(
            [*chat4all, "disable-client", kept["client_id"], "--data-dir", str(data)], check=True, timeout=60
        )
        process.stop()
        said = len(process.said)
        process.start()
        assert "client_secret" not in process.said[said:]
        entry = json.loads((data / "credentials.json").read_text())["tenants"]["demo"]
        assert entry == {"client_id": kept["client_id"], "disabled": True}
        refused = process.client().post("/auth/token", json=kept)
        assert refused.status_code == 401


def test_a_start_that_fails_leaves_the_secret_to_the_first_that_succeeds(tmp_path: Path) -> None:
    data = tmp_path / "data"
    up = [sys.executable, "-m", "shared.cli.main", "up", "--port", "0", "--data-dir", str(data)]
    for wrong, expected in (
        (("--triggers", "nosuch"), start_error.WIRING_WRONG),
        (("--mode", "foo"), start_error.SETTINGS_WRONG),
    ):
        failed = subprocess.run(
            [*up, *wrong], env=plain_environment(), capture_output=True, text=True, timeout=60, check=False
        )
        assert failed.returncode == expected, failed.stderr
        assert not (data / "credentials.json").exists()
    with Process(data, settings=of_nobody({})) as process:
        process.start()
        kept = json.loads((data / "credentials.json").read_text())["tenants"]["demo"]
        assert f"client_id     {kept['client_id']}" in process.said


def test_the_secret_of_the_environment_holds_and_changes_when_it_is_changed(process: Process) -> None:
    named = {
        **of_nobody(process.settings),
        "CHAT4ALL_BOOTSTRAP_TENANT": "loja",
        "CHAT4ALL_BOOTSTRAP_CLIENT_ID": "loja-web",
    }
    secrets = ("the first secret of this test", "the second secret of this test")
    process.settings = {**named, "CHAT4ALL_BOOTSTRAP_CLIENT_SECRET": secrets[0]}
    first = process.start().login("loja-web", secrets[0], tenant="loja")
    first.users("ana")
    process.stop()
    process.settings = {**named, "CHAT4ALL_BOOTSTRAP_CLIENT_SECRET": secrets[1]}
    second = process.start().login("loja-web", secrets[1], tenant="loja")
    assert [one["user_id"] for one in second.must("GET", "/v1/users")["items"]] == ["ana"]
    http = process.client()
    old = http.post("/auth/token", json={"client_id": "loja-web", "client_secret": secrets[0]})
    assert old.status_code == 401
    token = http.get("/v1/users", headers={"authorization": f"Bearer {first.token}"})
    assert token.status_code == 401, "what the old secret gave dies with it"
    assert [secret for secret in secrets if secret in process.said + process.log.read_text()] == []


def test_a_trigger_that_asks_for_what_cannot_be_done_stops_the_start_with_one_line(tmp_path: Path, root: Path) -> None:
    """The wiring is found beside the code, so the code is what is copied."""
    for name in ("events", "functions", "shared", "knative"):
        shutil.copytree(root / name, tmp_path / "tree" / name, ignore=shutil.ignore_patterns("__pycache__"))
    trigger = tmp_path / "tree" / "knative" / "triggers" / "route.yaml"
    manifest = trigger.read_text()
    ordered = manifest.replace(
        "metadata:\n", "metadata:\n  annotations:\n    kafka.eventing.knative.dev/delivery.order: ordered\n", 1
    )
    assert ordered != manifest
    trigger.write_text(ordered)
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "shared.cli.main",
            "up",
            "--port",
            str(free_port()),
            "--data-dir",
            str(tmp_path / "data"),
        ],
        cwd=tmp_path / "tree",
        env=plain_environment() | {"PYTHONPATH": str(tmp_path / "tree"), **UNLIMITED},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (start_error.WIRING_WRONG, ""), ended.stderr
    (line,) = ended.stderr.splitlines()
    assert "route" in line
    assert "order" in line


def test_what_was_accepted_while_it_was_told_to_stop_is_there_afterwards(process: Process) -> None:
    caller = process.start().tenant("acme")
    caller.users("ana", "bruno")
    talk = caller.conversation("ana", "bruno")
    accepted: list[str] = []
    begun = Event()

    def send_until_it_is_gone() -> None:
        with httpx.Client(base_url=process.url, headers=dict(caller.headers)) as http:
            body = {"conversation_id": talk, "from": "ana", "payload": text()}
            while True:
                try:
                    answer = http.post("/v1/messages", json=body)
                except httpx.TransportError:
                    return
                assert answer.status_code == 202, answer.text
                accepted.append(answer.json()["message_id"])
                if len(accepted) == 50:
                    begun.set()

    with ThreadPoolExecutor(4) as pool:
        senders = [pool.submit(send_until_it_is_gone) for _ in range(4)]
        assert begun.wait(30)
        assert process.stop() == 0
        for sender in senders:
            sender.result()
    again = process.start().login(*caller.credentials, tenant="acme")
    history, since = [], 0
    while page := again.history(talk, since=since, limit=200):
        history += page
        since = page[-1]["seq"]
    assert [one["seq"] for one in history] == list(range(1, len(history) + 1))
    assert set(accepted) <= {one["message_id"] for one in history}
    assert len(history) - len(accepted) <= 4, "at most the one that each was waiting for"

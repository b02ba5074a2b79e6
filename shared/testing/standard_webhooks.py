"""What the libraries of Standard Webhooks, Python's and JavaScript's, say about a webhook that came."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

_NPM = Path(__file__).resolve().parents[2] / "build" / "npm"
_SCRIPT = Path(__file__).with_suffix(".mjs")
_VERSION = "1"


class Case(msgspec.Struct, frozen=True):
    """One webhook and the secret (whsec_…) to judge it by."""

    secret: str
    headers: Mapping[str, str]
    body: str


def in_python(cases: Sequence[Case]) -> list[bool]:
    return [_holds(case) for case in cases]


def in_javascript(cases: Sequence[Case]) -> list[bool]:
    """By the package of npm, which is installed under build/ the first time."""
    if not (_NPM / "node_modules" / "standardwebhooks").is_dir():
        _NPM.mkdir(parents=True, exist_ok=True)
        options = ["--prefix", str(_NPM), "--cache", str(_NPM / "cache"), "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(["npm", "install", *options, f"standardwebhooks@{_VERSION}"], check=True, timeout=100)
    said = subprocess.run(
        ["node", str(_SCRIPT), str(_NPM)], input=msgspec.json.encode(cases), capture_output=True, check=True, timeout=60
    )
    verdicts: list[bool] = json.loads(said.stdout)
    return verdicts


def node_is_here() -> bool:
    return shutil.which("npm") is not None and shutil.which("node") is not None


def _holds(case: Case) -> bool:
    try:
        Webhook(case.secret).verify(case.body, dict(case.headers))
    except WebhookVerificationError:
        return False
    return True

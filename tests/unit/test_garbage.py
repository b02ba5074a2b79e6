"""Python looks for cycles again once a function's start is over (ADR 34)."""

import gc
import subprocess
import sys
from pathlib import Path

import httpx

from shared.runtime import __main__ as runtime
from shared.runtime import serve

ROOT = Path(__file__).parents[2]


def test_what_a_start_makes_is_not_looked_through_and_what_comes_later_is():
    script = """
import gc
from shared.runtime import garbage
garbage.leave_alone()
assert not gc.isenabled()
made = [[] for _ in range(1000)]
garbage.settle()
assert gc.isenabled() and gc.get_freeze_count() > 1000
ring = []
ring.append(ring)
del ring
assert gc.collect() == 1
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})


SERVED = """
import gc
from shared.runtime import garbage

garbage.leave_alone()
from shared.runtime.serve import serve

class Function:
    async def handle(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%r %r" % (gc.isenabled(), gc.get_freeze_count() > 0)})

serve(Function(), {}, host="127.0.0.1", port=0, announce=lambda url: print(url, flush=True))
"""


def test_a_function_begins_without(monkeypatch):
    """And imports what it needs only then: that is what takes long."""
    script = "import sys, shared.runtime.__main__; assert not {'uvicorn', 'prometheus_client'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)})
    seen = []
    monkeypatch.setattr(serve, "serve", lambda *_, **__: seen.append(gc.isenabled()))
    try:
        runtime.main()
    finally:
        gc.enable()
    assert seen == [False]


def test_a_function_that_is_served_has_its_cycles_found():
    command = [sys.executable, "-c", SERVED]
    with subprocess.Popen(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as served:
        assert served.stdout is not None
        url = served.stdout.readline().strip()
        try:
            assert httpx.get(url, trust_env=False).text == "True True"
        finally:
            served.terminate()

"""
Whether what takes long comes to its end although its pod is to go: a slow upload while its node is drained (E8).

Knative's proxy gives the function TERM half a minute later, and one that had no more than its usual grace would cut
what is under way then (docs/guides/production.md, what an end waits for). A new revision alone ends no such pod: what
is under way counts as load.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from typing import Any

import httpx

from infra.cluster import pods
from infra.cluster.revisions import until_pods
from infra.cluster.talk import Talk

SERVICE = "files"
_PIECE, _PIECES, _PAUSE = 8 * 1024, 120, 1.0
_BEGUN = 5.0
"""Seconds until the pod is deleted, at least: one must be ready by then, and it may have to start first."""
_PATIENCE = 300.0


async def while_its_pod_goes(talk: Talk) -> dict[str, Any]:
    """
    seconds: how long the upload took; status: of its answer; upload: how the file ended; gone: seconds from the
    deletion of the pod until it was there no more.
    """
    content = os.urandom(_PIECE * _PIECES)
    caller = talk.caller.acting("agent")
    asked = {
        "filename": "slow.bin",
        "content_type": "application/octet-stream",
        "size": len(content),
        "conversation_id": talk.conversation,
    }
    file_id = (await asyncio.to_thread(caller.must, "POST", "/v1/files/initiate", asked))["file_id"]
    headers = {**caller.headers, "upload-offset": "0", "content-type": "application/offset+octet-stream"}
    async with httpx.AsyncClient(base_url=caller.http.base_url, timeout=_PATIENCE, trust_env=False) as client:
        began = time.monotonic()
        sending = asyncio.create_task(_sent(client, f"/v1/files/{file_id}/chunk", headers, content))
        await asyncio.sleep(_BEGUN)
        before = {pod.name for pod in await until_pods(SERVICE, lambda seen: any(pod.ready for pod in seen))}
        deleted = time.monotonic()
        await asyncio.to_thread(pods.kubectl, "delete", "pod", *before, "--wait=false")
        status = await sending
        seconds = time.monotonic() - began
    await until_pods(SERVICE, lambda seen: all(pod.name not in before for pod in seen))
    gone = time.monotonic() - deleted
    done = {"checksum": sha256(content).hexdigest()}
    answer = await asyncio.to_thread(caller, "POST", f"/v1/files/{file_id}/complete", done)
    return {
        "bytes": len(content),
        "seconds": round(seconds, 1),
        "status": status,
        "upload": answer.json().get("upload_status", answer.status_code),
        "gone": round(gone, 1),
    }


async def _sent(client: httpx.AsyncClient, path: str, headers: Mapping[str, str], content: bytes) -> int:
    """The status of the answer; 0 without one."""
    given = {**headers, "content-length": str(len(content))}
    try:
        return (await client.patch(path, headers=given, content=_slowly(content))).status_code
    except httpx.HTTPError:
        return 0


async def _slowly(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), _PIECE):
        yield content[start : start + _PIECE]
        await asyncio.sleep(_PAUSE)


def findings(drain: Mapping[str, Any] | None) -> list[str]:
    """What did not come true, if it was tried."""
    if drain is None or (drain["status"] == 204 and drain["upload"] == "ready"):
        return []
    return [f"an upload whose pod was to go was answered {drain['status']}, and its file is {drain['upload']}"]

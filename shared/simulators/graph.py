"""What both simulated Meta products answer alike: who may ask, and errors in Graph's shape."""

import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shared.simulators.stage import Stage


def error(status: int, code: int, message: str, *, subcode: int = 0, details: str = "", wait: float = 0.0) -> Response:
    """The body of every Graph error (channels.md 3.2); ``wait`` is given in Retry-After, in seconds."""
    said: dict[str, Any] = {
        "message": f"(#{code}) {message}",
        "type": "OAuthException",
        "code": code,
        "fbtrace_id": secrets.token_urlsafe(8),
    }
    if subcode:
        said["error_subcode"] = subcode
    if details:
        said["error_data"] = {"messaging_product": "whatsapp", "details": details}
    headers = {"retry-after": str(max(1, round(wait)))} if wait else None
    return JSONResponse({"error": said}, status_code=status, headers=headers)


def refused_caller(stage: Stage, request: Request, *accounts: str) -> Response | None:
    """The answer to a wrong token (401, 190) or to an id that is none of ours (400, 100/33)."""
    given = request.headers.get("authorization", "")
    if given != f"Bearer {stage.access_token}":
        return error(401, 190, "Invalid OAuth access token - Cannot parse access token")
    if request.path_params["account"] not in accounts:
        return error(400, 100, "Unsupported request. Object with this ID does not exist", subcode=33)
    return None

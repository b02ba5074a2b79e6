"""Whether spans are recorded, and where they go: decided once, at the start of a process."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from shared.observability import spans
from shared.runtime.start_error import SETTINGS_WRONG, StartError

ENDPOINT = "CHAT4ALL_OTEL_ENDPOINT"
STANDARD_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
RATIO = "CHAT4ALL_OTEL_SAMPLE_RATIO"


@asynccontextmanager
async def spans_to(endpoint: str | None, *, service: str, ratio: float = 1.0) -> AsyncIterator[None]:
    """
    Spans are recorded inside, and what is left of them is sent on leaving; without ``endpoint`` nothing happens.

    Raises:
        StartError: it is no URL, or the packages of the extra ``otel`` are not installed.
    """
    if not endpoint:
        yield
        return
    if not endpoint.startswith(("http://", "https://")):
        raise StartError(
            f"{ENDPOINT} or {STANDARD_ENDPOINT} is no http:// or https:// URL of a collector of OTLP/HTTP",
            SETTINGS_WRONG,
        )
    try:
        from shared.observability.otlp import OtlpRecorder
    except ModuleNotFoundError as error:
        raise StartError(
            f"{ENDPOINT} or {STANDARD_ENDPOINT} is set, and the module {error.name!r} that sends spans is not "
            f"installed; install the extra 'otel', or set {ENDPOINT} to nothing",
            SETTINGS_WRONG,
        ) from error
    recorder = OtlpRecorder(service, endpoint, ratio)
    spans.record_with(recorder)
    try:
        yield
    finally:
        spans.record_with(None)
        await asyncio.to_thread(recorder.close)


def spans_by(cfg: Mapping[str, str], *, service: str) -> AbstractAsyncContextManager[None]:
    """
    The same for one function as a process, by its environment; ``shared.settings`` would cost it its quick start.

    Raises:
        StartError: as ``spans_to``, or the ratio is no number from 0 to 1.
    """
    try:
        ratio = float(cfg.get(RATIO, "1"))
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise StartError(f"{RATIO} is no number from 0 to 1", SETTINGS_WRONG)
    return spans_to(cfg.get(ENDPOINT, cfg.get(STANDARD_ENDPOINT)), service=service, ratio=ratio)

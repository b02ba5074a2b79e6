"""What `kn func` and stock func-python host: one of our functions, named by CHAT4ALL_FUNCTION."""

from shared.runtime.function_service import FunctionService
from shared.runtime.open_ports import open_by


def new() -> FunctionService:
    """func-python looks for a callable of this very name."""
    return FunctionService(open_by)

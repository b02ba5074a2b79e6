"""
``python -m shared.testing.stock_host``: a function over ports in memory, served as `kn func` serves it.

The scaffolding of `kn func` imports ``new`` and gives it to stock func-python; so does this.
"""

from func_python.http import serve

from shared.runtime.function_service import FunctionService
from shared.testing.memory_ports import opened_memory


def new() -> FunctionService:
    return FunctionService(opened_memory)


if __name__ == "__main__":
    serve(new)

"""``python -m shared.testing.lean_host``: the same function on our own server; PORT says where."""

import os
import sys

from shared.observability.log import write_to
from shared.runtime.function_service import FunctionService
from shared.runtime.serve import serve
from shared.testing.memory_ports import opened_memory

if __name__ == "__main__":
    write_to(sys.stdout)
    environment = dict(os.environ)  # noqa: TID251  this is a process's border
    serve(FunctionService(opened_memory), environment, host="127.0.0.1", port=int(environment["PORT"]))

"""``python -m shared.runtime``: one function as a service, on the port that Knative names in PORT."""

import os
import sys

from shared.runtime import garbage


def main() -> None:
    garbage.leave_alone()
    from shared.observability.log import log, write_to
    from shared.runtime.function_service import FunctionService
    from shared.runtime.open_ports import open_by
    from shared.runtime.serve import serve

    write_to(sys.stdout)
    environment = dict(os.environ)  # noqa: TID251  this is the process's border
    port = environment.get("PORT", "8080")
    if not port.isdigit():
        log.critical("PORT is no number", port=port)
        raise SystemExit(2)
    serve(FunctionService(open_by), environment, port=int(port))


if __name__ == "__main__":
    main()

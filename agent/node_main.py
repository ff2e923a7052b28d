"""The node service's own process: ``python -P -m agent.node_main PLAN``."""

import asyncio
import sys


def main() -> None:
    """Serve what the plan, one line of JSON, asks for."""
    # structlog would load it to print tracebacks on a terminal: 5 MiB that a service has no use of.
    sys.modules["rich"] = None  # type: ignore[assignment]
    from agent.node_plan import read  # noqa: PLC0415
    from agent.node_process import run_node  # noqa: PLC0415
    from core.errors import GpumedicError  # noqa: PLC0415

    try:
        asyncio.run(run_node(read(sys.argv[1])))
    except GpumedicError as error:
        sys.exit(f"gpumedic: {error}")


if __name__ == "__main__":
    main()

"""`python -m ci.local.aws --port 4566 --bind 127.0.0.1 [--bind ADDRESS] --record FILE`."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from ci.local import process
from ci.local.aws import hook, server


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m ci.local.aws", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bind", action="append", required=True, help="an address to listen on")
    parser.add_argument("--record", type=Path, required=True, help="where to say that it runs")
    parser.add_argument("--plain", action="store_true", help="without the corrections")
    options = parser.parse_args()
    # By itself: whoever started it may be killed before it could.
    bridge = options.bind[-1]
    process.record(options.record, process.of(os.getpid()), port=options.port, bridge=bridge)
    try:
        asyncio.run(server.run(port=options.port, addresses=options.bind, plain=options.plain))
    except hook.GoneError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        where = " and ".join(options.bind)
        sys.exit(f"error: cannot listen at port {options.port} of {where}: {error.strerror}")


if __name__ == "__main__":
    main()

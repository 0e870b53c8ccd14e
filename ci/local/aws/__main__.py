"""`python -m ci.local.aws --port 4566 --bind 127.0.0.1 [--bind ADDRESS] --record FILE`."""

import argparse
import asyncio
import os
import sys
from pathlib import Path

from ci.local import process
from ci.local.aws import patching, server


def main() -> None:
    """Run the embedded AWS until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m ci.local.aws", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bind", action="append", required=True, help="address to listen on")
    parser.add_argument("--record", type=Path, required=True, help="file to record the process in")
    parser.add_argument("--plain", action="store_true", help="do not apply the corrections")
    options = parser.parse_args()
    # Recorded here and not by the parent, which may be killed before it could.
    bridge = options.bind[-1]
    process.record(options.record, process.of(os.getpid()), port=options.port, bridge=bridge)
    try:
        asyncio.run(server.run(port=options.port, addresses=options.bind, plain=options.plain))
    except patching.IncompatibleError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        addresses = " and ".join(options.bind)
        sys.exit(f"error: cannot listen on port {options.port} of {addresses}: {error.strerror}")


if __name__ == "__main__":
    main()

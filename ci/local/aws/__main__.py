"""`python -m ci.local.aws --port 4566 --bind 127.0.0.1 [--bind ADDRESS] [--plain]`."""

import argparse
import asyncio

from ci.local.aws import server


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m ci.local.aws", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--bind", action="append", required=True, help="an address to listen on")
    parser.add_argument("--plain", action="store_true", help="without the corrections")
    options = parser.parse_args()
    asyncio.run(server.run(port=options.port, addresses=options.bind, plain=options.plain))


if __name__ == "__main__":
    main()

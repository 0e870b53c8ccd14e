"""Run all agents in one process: `python -m agents.laptop PORT AGENT...`.

They are started again after every change of their code. AWS_ENDPOINT_URL is the embedded AWS.
"""

import contextlib
import os
import sys
from pathlib import Path

import uvicorn

from agents.common.aws import Aws
from agents.common.settings import read
from agents.laptop.app import NAMES
from agents.laptop.prepare import ENVIRONMENT, prepare

HOST = "127.0.0.1"
#: Seconds for running requests to finish before a start with new code.
GRACE = 3


def main(port: int, names: list[str]) -> None:
    """Prepare the embedded AWS, print addresses and a token, and serve until Ctrl-C."""
    prepared = prepare(Aws(read("laptop", os.environ)))
    url = f"http://{HOST}:{port}"
    os.environ |= {
        NAMES: ",".join(names),
        "ACSO_ENVIRONMENT": ENVIRONMENT,
        "ACSO_VERSION": ENVIRONMENT,
        "ACSO_STATE_TABLE": prepared.table,
        "ACSO_PEOPLE_SECRET": prepared.people,
        "ACSO_AGENTS_SECRET": prepared.agents,
        "ACSO_URL": url,
    }
    lines = [*(f"{name:<24}{url}/{name}" for name in names), f"{'token':<24}{prepared.token}"]
    print("\n".join(lines), flush=True)
    uvicorn.run(
        "agents.laptop.app:together",
        factory=True,
        host=HOST,
        port=port,
        reload=True,
        reload_dirs=[str(Path(__file__).parents[1])],
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=GRACE,
    )


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(int(sys.argv[1]), sys.argv[2:])

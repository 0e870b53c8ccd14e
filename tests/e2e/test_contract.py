"""Each agent held against its OpenAPI document, through the load balancer."""

import subprocess
import sys
from pathlib import Path

import pytest

from ci.config import load
from tests.e2e.checkout import Checkout, Done

pytestmark = [pytest.mark.docker, pytest.mark.matrix, pytest.mark.timeout(900)]
CONFIG = Path(__file__).with_name("schemathesis.toml")
AGENTS = [agent.name for agent in load(Path(__file__).parents[2] / "acso.toml").agents]


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_answers_as_its_document_says(
    checkout: Checkout, deployed: Done, agent: str
) -> None:
    services = deployed.document["result"]["services"]
    url = next(service["url"] for service in services if service["agent"] == agent)
    token = checkout.acso("token", "--env", "development").out.strip()
    program = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(
        [
            *(program, "--config-file", CONFIG, "run", f"{url}/openapi.json"),
            *("--header", f"Authorization: Bearer {token}"),
            *("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "10"),
            *("--seed", "1", "--no-shrink", "--rate-limit", "90/s"),
        ],
        env=checkout.environ | {"NO_PROXY": "127.0.0.1,localhost"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    assert " passed" in done.stdout

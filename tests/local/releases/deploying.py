"""A process of its own that deploys, so that a test can kill it: arguments are AWS and images."""

import json
import sys
from pathlib import Path
from typing import Any

import anyio

from ci import config as configuration
from ci import infra, release
from ci.aws.session import Aws, Credentials
from tests.local.releases.environment import validation

ROOT = Path(__file__).parents[3]


async def main(where: dict[str, Any], images: list[dict[str, str]]) -> None:
    """Deploy the images; every line of progress goes to standard output at once."""
    keys = Credentials(access_key_id="test", secret_access_key="test")
    aws = Aws(region="us-east-1", credentials=keys, **where)
    config = configuration.load(ROOT / configuration.FILE)
    env = config.environment("development")
    outputs = await infra.outputs(aws, config, env)
    assert outputs is not None

    await release.deploy(
        release.Place(aws=aws, config=config, env=env, outputs=outputs),
        [release.Image(**image) for image in images],
        release.Request(commit="killed", actor="tests"),
        validation(True),
        lambda line: print(line, flush=True),
    )


if __name__ == "__main__":
    anyio.run(main, json.loads(sys.argv[1]), json.loads(sys.argv[2]))

"""A process of its own that deploys, so that a test can stop it: arguments are AWS and images.

Its exit code is the release's, as that of `acso deploy`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import anyio

from ci import config as configuration
from ci import infra, release
from ci.aws.session import Aws, Credentials
from ci.aws.target import Target
from ci.config import Config, Environment
from ci.errors import AcsoError
from ci.pipeline.interrupts import interrupts

ROOT = Path(__file__).parents[3]


def _target(aws: Aws, config: Config, environment: Environment | None = None) -> Target:
    chosen = environment or config.environment("development")
    return Target(aws=aws, config=config, env=chosen)


async def main(where: dict[str, Any], images: list[dict[str, str]]) -> None:
    """Deploy the images; every line of progress goes to standard output at once."""
    keys = Credentials(access_key_id="test", secret_access_key="test")
    aws = Aws(region="us-east-1", credentials=keys, **where)
    config = configuration.load(ROOT / "tests" / configuration.FILE)
    env = config.environment("development")
    outputs = await infra.outputs(_target(aws, config, env))
    assert outputs is not None

    async def validate(_: release.ReleaseContext) -> release.Report:
        # However late the test is to stop this process, the release is not over before.
        await anyio.sleep_forever()
        raise AssertionError

    with interrupts() as stop:
        outcome = await release.deploy(
            release.ReleaseContext(aws=aws, config=config, env=env, outputs=outputs),
            [release.Image(**image) for image in images],
            release.Request(commit="killed", actor="tests"),
            validate,
            lambda line: print(line, flush=True),
            release.ReleaseOptions(stop=stop),
        )
    outcome.raise_for_failure()


if __name__ == "__main__":
    try:
        anyio.run(main, json.loads(sys.argv[1]), json.loads(sys.argv[2]))
    except AcsoError as error:
        sys.exit(error.exit_code)

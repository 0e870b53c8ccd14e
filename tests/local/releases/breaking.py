"""A process of its own that breaks something, so that a test can kill it: arguments are AWS."""

import json
import sys
from pathlib import Path
from typing import Any

import anyio

from ci import chaos, infra, release
from ci import config as configuration
from ci.aws.session import Aws, Credentials
from ci.aws.target import Target

ROOT = Path(__file__).parents[3]


async def main(where: dict[str, Any], experiment: str) -> None:
    """Conduct an experiment that lasts until the process ends."""
    keys = Credentials(access_key_id="test", secret_access_key="test")
    aws = Aws(region="us-east-1", credentials=keys, **where)
    config = configuration.load(ROOT / "tests" / configuration.FILE)
    target = Target(aws=aws, config=config, env=config.environment("development"))
    outputs = await infra.outputs(target)
    assert outputs is not None
    context = release.ReleaseContext(**vars(target), outputs=outputs)
    plan = chaos.Plan(experiments=(experiment,), agent="supervisor", seconds=3600)
    await chaos.run(context, plan, lambda line: print(line, flush=True))


if __name__ == "__main__":
    anyio.run(main, json.loads(sys.argv[1]), sys.argv[2])

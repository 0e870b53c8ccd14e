"""`python -m validation SUITE --environment NAME [--output FILE]`: exit 0 if all checks pass.

AWS credentials come from boto3's default chain. AWS_ENDPOINT_URL sets another endpoint, and
ACSO_LOAD_BALANCER the URL pattern (with {name}) of its load balancers.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio

from ci import config as configuration
from ci.aws.session import Aws, check_account
from ci.aws.target import Target
from ci.errors import AcsoError, UsageError
from validation.model import Report
from validation.runner import run
from validation.suites import SUITES

FILE = Path(__file__).parents[1] / configuration.FILE


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a suite and return the exit code: 0 passed, 1 not passed, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        report = anyio.run(_run, options, environ)
        print(report.text())
        if options.output:
            write(options.output, report)
    except (AcsoError, OSError) as error:
        hint = getattr(error, "hint", "")
        print(f"error: {error}" + (f"\n  hint: {hint}" if hint else ""), file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0 if report.ok else 1


def write(path: Path, report: Report) -> None:
    """Write a report as JSON, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        json.dump(report.data(), file, indent=2)
        file.write("\n")
    Path(file.name).replace(path)


async def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> Report:
    config = configuration.load(FILE)
    env = config.environment(options.environment)
    aws = Aws(
        region=env.region,
        endpoint=environ.get("AWS_ENDPOINT_URL"),
        load_balancer=environ.get("ACSO_LOAD_BALANCER"),
    )
    await check_account(aws, env)
    return await run(options.suite, Target(aws=aws, config=config, env=env))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m validation", description=__doc__)
    parser.add_argument("suite", choices=list(SUITES), help="suite to run")
    parser.add_argument("--environment", required=True, help="environment in acso.toml")
    parser.add_argument("--output", type=Path, help="file to write the results to, as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))

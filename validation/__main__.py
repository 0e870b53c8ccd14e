"""Run suites of validation checks on an environment.

exit codes: 0 all passed, 1 a check failed, 2 wrong usage, 3 undecided: nothing failed, but a check
could not look (a permission, a timeout, no data), or AWS could not be reached at all
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio

from ci import config as configuration
from ci.aws.session import Aws, Credentials, check_account
from ci.aws.target import Target
from ci.config.machine import embedded_aws
from ci.errors import AcsoError, ConfigError, UsageError, WrongAccountError
from validation import console
from validation.model import Result
from validation.output import FORMATS, write
from validation.report import Report, Verdict
from validation.runner import run
from validation.suites import SUITES

FILE = Path(__file__).parents[1] / configuration.FILE
CODES = {Verdict.PASSED: 0, Verdict.FAILED: 1, Verdict.UNDECIDED: 3}
WRONG_USAGE, COULD_NOT_LOOK = 2, 3


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run suites and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        report = anyio.run(_run, options, environ)
        print(report.text())
        for name, path in _files(options):
            write(path, FORMATS[name](report))
    except (AcsoError, OSError) as error:
        hint = getattr(error, "hint", "")
        print(f"error: {error}" + (f"\n  hint: {hint}" if hint else ""), file=sys.stderr)
        wrong = isinstance(error, UsageError | ConfigError | WrongAccountError)
        return WRONG_USAGE if wrong else COULD_NOT_LOOK
    return CODES[report.verdict]


def _files(options: argparse.Namespace) -> list[tuple[str, Path]]:
    """Return which forms of the report are written, and where."""
    found = [("results.json", options.output)] if options.output else []
    if options.reports:
        found += [(name, options.reports / name) for name in FORMATS]
    return found


async def _run(options: argparse.Namespace, environ: Mapping[str, str]) -> Report:
    config = configuration.load(FILE)
    env = config.environment(options.environment)
    aws = _local(env.region) if options.aws == "local" else _real(env.region, environ)
    target = Target(aws=aws, config=config, env=await check_account(aws, env))
    return await run(options.suites or env.suites, target, progress=_progress)


def _real(region: str, environ: Mapping[str, str]) -> Aws:
    return Aws(
        region=region,
        endpoint=environ.get("AWS_ENDPOINT_URL"),
        load_balancer=environ.get("ACSO_LOAD_BALANCER"),
    )


def _local(region: str) -> Aws:
    """Return the embedded AWS; it takes any credentials, so the user's own are not sent."""
    found = embedded_aws()
    return Aws(
        region=region,
        endpoint=found.endpoint,
        load_balancer=found.load_balancer,
        credentials=Credentials(access_key_id="test", secret_access_key="test"),  # noqa: S106
    )


def _progress(result: Result) -> None:
    print(console.line(result), file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m validation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m validation smoke --environment development --aws local",
        allow_abbrev=False,
    )
    parser.add_argument(
        "suites",
        nargs="*",
        metavar="suite",
        help=f"suites to run: {', '.join(SUITES)}; default: those of acso.toml",
    )
    parser.add_argument("--environment", required=True, help="environment in acso.toml")
    parser.add_argument(
        "--aws",
        choices=["real", "local"],
        default="real",
        help="real: credentials of boto3's chain, AWS_ENDPOINT_URL for another endpoint (and "
        "ACSO_LOAD_BALANCER for the URL pattern of its load balancers); local: the embedded AWS "
        "of this machine",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the results as JSON")
    parser.add_argument(
        "--reports",
        type=Path,
        metavar="DIR",
        help=f"write them in every form: {', '.join(FORMATS)}",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))

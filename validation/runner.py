"""Run a suite: its checks in parallel, each with its own timeout; none can stop another."""

from collections.abc import Sequence

import anyio

from ci.aws import elb
from ci.aws.probing import DIRECT, Probe
from ci.aws.target import Target
from ci.common.concurrency import first, first_of, parallel
from ci.errors import AcsoError, AwsError, UsageError
from validation.model import Check, CheckContext, Finding, Report, Result, error
from validation.suites import SUITES

PAUSE = 1.0  # seconds between two attempts


async def run(suite: str, target: Target, url: str | None = None, probe: Probe = DIRECT) -> Report:
    """Run a suite of checks on an environment.

    Args:
        suite: its name, such as "smoke".
        target: the environment, the agents that it should have, and its AWS.
        url: base URL of its load balancer; None: looked up by the load balancer's name.
        probe: sends the requests to it.

    Raises:
        UsageError: there is no such suite.
        AwsError: the load balancer could not be looked up.
    """
    if suite not in SUITES:
        message = f"unknown suite {suite!r}"
        raise UsageError(message, hint=f"known: {', '.join(SUITES)}")
    aws, config, environment = target.aws, target.config, target.env
    found = url or await elb.url(aws, environment)
    context = CheckContext(
        aws=aws, config=config, env=environment, url=found.rstrip("/"), probe=probe
    )
    return await run_checks(suite, SUITES[suite], context)


async def run_checks(suite: str, checks: Sequence[Check], context: CheckContext) -> Report:
    """Run checks in parallel and return their results in order."""
    began = anyio.current_time()
    results = await parallel(lambda check: _result(check, context), checks)
    return Report(
        suite=suite,
        environment=context.env.name,
        results=tuple(results),
        seconds=anyio.current_time() - began,
    )


async def _result(check: Check, context: CheckContext) -> Result:
    began = anyio.current_time()
    finding = await _finding(check, context)
    return Result(
        check=check.name,
        sentence=check.sentence,
        finding=finding,
        seconds=anyio.current_time() - began,
    )


async def _finding(check: Check, context: CheckContext) -> Finding:
    """Return what a check finds; an error or timeout is a finding with status ERROR.

    A check that got no answer is repeated within its time: one lost request is no finding.
    """
    found = error(f"no result within {check.seconds:g} s")
    with anyio.move_on_after(check.seconds):
        while True:
            try:
                return await check.run(context)
            except Exception as problem:  # a broken check must not hide what the others found
                found = _error(problem)
                if not _may_pass(problem):
                    return found
            await anyio.sleep(PAUSE)
    return found


def _may_pass(problem: Exception) -> bool:
    """Return whether a failed call may succeed later; a missing permission stays missing."""
    failed = first_of(problem, AwsError)
    return failed is not None and not failed.action


def _error(problem: Exception) -> Finding:
    known = first(problem)
    if isinstance(known, AcsoError):
        return error(str(known), hint=known.hint)
    if isinstance(problem, ExceptionGroup):
        return error(str(known) or type(known).__name__)
    return error(f"the check itself failed: {type(problem).__name__}: {problem}")

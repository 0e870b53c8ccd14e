"""Run suites: their checks in parallel, each with its own timeout; none can stop another."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import anyio

from ci.aws import elb
from ci.aws.probing import DIRECT, Probe
from ci.aws.session import ENDLESS
from ci.aws.target import Target
from ci.common.concurrency import first, first_of, parallel
from ci.config import nearest
from ci.errors import AcsoError, AwsError, UsageError
from validation import exceptions
from validation.model import (
    Check,
    CheckContext,
    Finding,
    Result,
    Status,
    not_examined,
)
from validation.reads import attempt_began
from validation.report import Report, Verdict, joined
from validation.suites import SUITES, known_checks

PAUSE = 1.0  # seconds between two attempts
#: Codes of errors that are the same at the next attempt.
FINAL = frozenset({ENDLESS, "PaginationError", "UnknownOperationException", "InvalidAction"})
Progress = Callable[[Result], None]


async def run(
    suites: Sequence[str],
    target: Target,
    url: str | None = None,
    *,
    probe: Probe = DIRECT,
    progress: Progress = lambda _: None,
    stop_early: bool = False,
) -> Report:
    """Run suites of checks on an environment, one after the other.

    Args:
        suites: their names, such as ["smoke", "integration"].
        target: the environment, the agents that it should have, and its AWS.
        url: base URL of its load balancer; None: looked up by the load balancer's name.
        probe: sends the requests to it.
        progress: called with each result when there is one.
        stop_early: end with the first suite that did not pass.

    Raises:
        UsageError: there is no such suite, or acso.toml has an exception for an unknown check.
        AwsError: the account or the load balancer could not be looked up.
    """
    for suite in suites:
        if suite not in SUITES:
            raise UsageError(f"unknown suite {suite!r}", hint=nearest(suite, list(SUITES)))
    exceptions.check_ids(target, known_checks())
    found = url or await elb.url(target.aws, target.env)
    context = CheckContext(
        aws=target.aws,
        config=target.config,
        env=target.env,
        url=found.rstrip("/"),
        probe=probe,
    )
    account = await target.aws.account()
    reports = []
    for suite in suites:
        reports.append(await run_checks(suite, SUITES[suite], context, account, progress))
        if stop_early and reports[-1].verdict is not Verdict.PASSED:
            break
    return joined(reports)


async def run_checks(
    suite: str,
    checks: Sequence[Check],
    context: CheckContext,
    account: str = "",
    progress: Progress = lambda _: None,
) -> Report:
    """Run checks in parallel and return their results in order."""
    began = anyio.current_time()

    async def one(check: Check) -> Result:
        result = await _result(check, context, account)
        progress(result)
        return result

    results = await parallel(one, checks)
    return Report(
        suite=suite,
        environment=context.env.name,
        results=tuple(results),
        seconds=anyio.current_time() - began,
    )


async def _result(check: Check, context: CheckContext, account: str) -> Result:
    began = anyio.current_time()
    attempts, finding = await _looked(check, context)
    note = exceptions.expired(context, check.id)
    if note and finding.status is not Status.SKIP:
        finding = replace(finding, warnings=(*finding.warnings, note))
    return Result(
        check=check,
        finding=finding,
        seconds=anyio.current_time() - began,
        attempts=attempts,
        accepted=exceptions.accepted(context, account, check.id, finding.status),
    )


async def _looked(check: Check, context: CheckContext) -> tuple[int, Finding]:
    """Return how often a check looked, and what it found last.

    A failure is looked at again within the check's patience, and a lost call within its time: one
    lost request is no finding.
    """
    began, attempts = anyio.current_time(), 0
    found = not_examined(f"no result within {check.seconds:g} s")
    with anyio.move_on_after(check.seconds):
        while True:
            attempts += 1
            found, again = await _attempt(check, context)
            if not again:
                late = anyio.current_time() + PAUSE - began > check.patience
                if found.status is Status.SKIP:
                    return 0, found
                if found.status is not Status.FAIL or late:
                    return attempts, found
            await anyio.sleep(PAUSE)
            attempt_began.set(anyio.current_time())
    return attempts, found


async def _attempt(check: Check, context: CheckContext) -> tuple[Finding, bool]:
    """Let a check look once; return its finding, and whether a failed call may succeed later."""
    try:
        if why := await _rule(check, context):
            return Finding(status=Status.SKIP, observed=why, expected=check.title), False
        return _believed(await check.run(context)), False
    except Exception as problem:  # a broken check must not hide what the others found
        return _error(problem), _may_pass(problem)


async def _rule(check: Check, context: CheckContext) -> str:
    """Return why a check does not apply; empty if it does."""
    why = check.applies(context)
    return why if isinstance(why, str) else await why


def _believed(finding: Finding) -> Finding:
    """Return a finding; a PASS that read nothing, or less than there is, is not one."""
    if finding.status is not Status.PASS:
        return finding
    short = [str(item) for item in finding.evidence if item.read < item.of]
    if short:
        return not_examined(f"read {', '.join(short)}", *finding.evidence)
    if not any(item.read for item in finding.evidence):
        return not_examined(f"nothing was read: {finding.observed}", *finding.evidence)
    return finding


def _may_pass(problem: Exception) -> bool:
    """Return whether a failed call may succeed later; a missing permission stays missing."""
    failed = first_of(problem, AwsError)
    return failed is not None and not failed.action and failed.code not in FINAL


def _error(problem: Exception) -> Finding:
    known = first(problem)
    if isinstance(known, AcsoError):
        return not_examined(str(known), hint=known.hint)
    if isinstance(problem, ExceptionGroup):
        return not_examined(str(known) or type(known).__name__)
    return not_examined(f"the check itself failed: {type(problem).__name__}: {problem}")

"""Whether a release answers worse than the one before it, under the same load."""

from collections.abc import Callable, Sequence

from validation.model import (
    Check,
    CheckContext,
    Evidence,
    Finding,
    Severity,
    Status,
    judged,
    not_examined,
)
from validation.regression import comparison
from validation.regression.comparison import Change, Pairs, Rule
from validation.regression.measuring import Measurement, measurement

SECONDS = 400.0  # starting tasks, the load, and waiting for CloudWatch's figures of memory
EXPECTED = "no change for the worse whose whole interval is beyond the noise"


async def latency(context: CheckContext) -> Finding:
    """Check that no agent answers more slowly than before."""
    return await _compared(context, comparison.latencies)


async def errors(context: CheckContext) -> Finding:
    """Check that no agent answers with more errors than before."""
    return await _compared(context, comparison.errors)


async def memory(context: CheckContext) -> Finding:
    """Check that no agent needs more memory than before."""
    return await _compared(context, comparison.memory)


async def _compared(
    context: CheckContext, compare: Callable[[Pairs, Rule], Sequence[Change]]
) -> Finding:
    found = await measurement(context)
    if found.skip:
        return Finding(status=Status.SKIP, observed=found.skip, expected=EXPECTED)
    hint = "a machine with CPU to spare, or a lower rate: environments.NAME.load in acso.toml"
    if found.invalid:
        return not_examined(f"the load is invalid: {found.invalid}", hint=hint)
    rule = Rule(noise=found.noise, false_alarms=context.env.load.false_alarms)
    return _finding(found, compare(found.pairs, rule))


def _finding(found: Measurement, changes: Sequence[Change]) -> Finding:
    compared = {item.what.split()[0] for item in changes}
    missing = sorted(found.pairs.keys() - compared)
    evidence = (
        Evidence("agents that changed", len(compared), len(found.pairs)),
        Evidence("requests", found.sent, found.sent),
    )
    problems = [item.text() for item in changes if item.worse]
    if missing and not problems:
        return not_examined(f"no data of {', '.join(missing)}", *evidence)
    return judged(
        problems,
        *evidence,
        observed=f"{len(compared)} agents as {found.against}{_smallest(changes)}",
        expected=f"{EXPECTED} ({found.noise:g} %); compared with {found.against}",
    )


def _smallest(changes: Sequence[Change]) -> str:
    """Say which change would have been found in any agent: of each figure, the largest."""
    known: dict[str, Change] = {}
    for item in sorted(changes, key=lambda item: item.smallest or 0.0):
        if item.smallest is not None:
            known[item.what.partition(" ")[2] or "errors"] = item
    texts = [f"{figure} {item.smallest:+.1f}{item.sign}" for figure, item in known.items()]
    return f"; a change of {', '.join(texts)} would have been found" if texts else ""


READS = ("GET /whoami", "GET /ready", "dynamodb:Query", "ecs:RunTask")
CHECKS = (
    Check(
        id="regression.latency",
        title="agents answer as fast as before",
        run=latency,
        severity=Severity.MEDIUM,
        reads=READS,
        seconds=SECONDS,
        why="a slower release needs more tasks, and may be too slow when there is more to do",
        remedy="compare the releases: ./acso plan; load.noise in acso.toml is what may change",
    ),
    Check(
        id="regression.errors",
        title="agents answer with no more errors than before",
        run=errors,
        severity=Severity.HIGH,
        reads=READS,
        seconds=SECONDS,
        why="an error that shows under load alone is found by no other check",
        remedy="./acso logs --env ENV --agent NAME; ./acso rollback",
    ),
    Check(
        id="regression.memory",
        title="agents need no more memory than before",
        run=memory,
        severity=Severity.MEDIUM,
        reads=(*READS, "GET /metrics", "cloudwatch:GetMetricData"),
        seconds=SECONDS,
        why="ECS kills a task that needs more memory than it has",
        remedy="what the release keeps in memory; or memory of the agent in acso.toml",
    ),
)

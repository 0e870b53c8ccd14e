"""Conduct experiments, one after the other, and report them like checks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from ci import release
from ci.chaos import probes, recording
from ci.chaos.experiments import EXPERIMENTS, NOT_HERE, Experiment, running
from ci.chaos.faults import Fault
from ci.chaos.probes import Look, Probes, Watched
from ci.errors import AwsError, ChaosError, UsageError
from ci.release.records import lock
from validation import Check, CheckContext, Evidence, Finding, Report, Result, run_checks
from validation.client import Tokens, agents_of
from validation.model import failed, judged, not_examined

#: Seconds in which all must be well before, and in which a fault must show: a policy may take a
#: minute. Source: IAM User Guide, "Changes that I make are not always immediately visible".
BEFORE, EFFECT, EFFECT_HERE = 15.0, 90.0, 20.0
#: Seconds of an experiment at most, beside those that the fault lasts.
LONGEST = 600.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which experiments are conducted, on which agent, and for how many seconds each."""

    experiments: tuple[str, ...]
    agent: str
    seconds: float


async def run(context: release.ReleaseContext, plan: Plan, say: release.Say) -> Report:
    """Conduct experiments while holding the environment's lock; faults left before are undone.

    Raises:
        LockedError: another process releases to the environment.
        ChaosError: a fault of a process that was killed cannot be undone.
    """

    async def work(_: Any) -> Report:
        await recording.undo_all(context, say)
        began = anyio.current_time()
        results: list[Result] = []
        seen = CheckContext(
            aws=context.aws,
            config=context.config,
            env=context.env,
            url=context.outputs.url.rstrip("/"),
            probe=context.probe,
        )
        account = await context.aws.account()
        for name in plan.experiments:
            say(f"{name}: {_hypothesis(name)}")
            check = _check(name, context, seen, plan, say)
            results += (await run_checks("chaos", [check], seen, account)).results
        return Report(
            suite="chaos",
            environment=context.env.name,
            results=tuple(results),
            seconds=anyio.current_time() - began,
        )

    return await lock.under_lock(context, "chaos", say, work)


def _hypothesis(name: str) -> str:
    return EXPERIMENTS[name].hypothesis if name in EXPERIMENTS else NOT_HERE[name]


def _check(
    name: str,
    context: release.ReleaseContext,
    seen: CheckContext,
    plan: Plan,
    say: release.Say,
) -> Check:
    """Return an experiment as a check."""

    async def look(_: CheckContext) -> Finding:
        if name in NOT_HERE:
            return not_examined(NOT_HERE[name])
        try:
            conducted = _Conducted(
                context=context, experiment=EXPERIMENTS[name], plan=plan, say=say
            )
            return await conducted.finding(await _tokens(EXPERIMENTS[name], seen))
        except (AwsError, UsageError) as error:  # a second attempt would make the fault again
            return not_examined(str(error), hint=error.hint)

    known = EXPERIMENTS.get(name)
    return Check(
        id=f"chaos.{name}",
        title=_hypothesis(name),
        run=look,
        severity=known.severity if known else EXPERIMENTS["stop-task"].severity,
        reads=("ecs:DescribeServices", "GET /health", "GET /ready"),
        why=known.why if known else "-",
        remedy="docs/chaos.md says what each experiment shows; ./acso status and ./acso logs",
        seconds=LONGEST + plan.seconds,
    )


async def _tokens(experiment: Experiment, seen: CheckContext) -> Tokens | None:
    return (await agents_of(seen)).tokens if experiment.model else None


@dataclass(frozen=True, kw_only=True)
class _Conducted:
    """One experiment under way."""

    context: release.ReleaseContext
    experiment: Experiment
    plan: Plan
    say: release.Say

    async def finding(self, tokens: Tokens | None) -> Finding:
        """Conduct the experiment; the fault is undone whatever happens."""
        agent = self.plan.agent
        watching = Probes(context=self.context, tokens=tokens, asking=agent)
        before = await watching.steady(BEFORE)
        if problem := _problem(before):
            return not_examined(f"not steady before: {problem}", _evidence([before]))
        tasks = len(await running(self.context, agent))
        fault = await self.experiment.fault(self.context, agent)
        await recording.record(self.context, fault)
        async with watching.watching() as watched:
            try:
                await self._made(fault, watched)
            except AwsError as error:
                if error.action:  # IAM allows neither the fault nor its undo
                    await recording.withdraw(self.context, fault)
                raise
            finally:
                problem = await self._undone(fault)
            during = list(watched.looks)
            after = await watching.steady(self._recovery)
        return self._judged(during, problem or _problem(after), tasks)

    async def _made(self, fault: Fault, watched: Watched) -> None:
        """Make the fault; return when it has lasted, or has had no effect."""
        await fault.make(self.context)
        self.say(f"made: {fault.kind} of {fault.agent}")
        effects = self.experiment.effect_on(self.plan.agent)
        if (
            await watched.until_failing(effects, _effect_seconds(self.context))
            or self.experiment.ends
        ):
            await anyio.sleep(self.plan.seconds)

    async def _undone(self, fault: Fault) -> str:
        """Undo the fault; return what is left, empty if nothing is."""
        try:
            await recording.undo(self.context, fault, self.say)
        except ChaosError as error:
            return f"{error}; next: {error.hint}"
        return ""

    @property
    def _recovery(self) -> float:
        return self.context.env.health_grace + 60.0

    def _judged(self, looks: Sequence[Look], left: str, tasks: int) -> Finding:
        agent, evidence = self.plan.agent, _evidence(looks)
        wrong = probes.violations(looks, self.experiment.may_fail(agent, tasks=tasks))
        problems = [f"{name}: {text}" for name, text in wrong.items()]
        problems += [f"not as before afterwards: {left}"] * bool(left)
        if problems:
            return failed("; ".join(problems), self.experiment.hypothesis, evidence)
        if not (probes.failed(looks, self.experiment.effect_on(agent)) or self.experiment.ends):
            return not_examined(_without_effect(self.context), evidence)
        seconds = max(probes.outage(looks, f"{agent} {item}") for item in ("health", "ready"))
        return judged(
            [],
            evidence,
            observed=f"{agent} did not answer for {seconds:.1f} s; all is as before",
            expected=self.experiment.hypothesis,
        )


def _evidence(looks: Sequence[Look]) -> Evidence:
    seen = [look for look in looks if not look.unseen]
    return Evidence("looks of all probes", len(seen), len(seen))


def _problem(look: Look) -> str:
    return look.unseen or "; ".join(f"{name}: {text}" for name, text in look.failing().items())


def _without_effect(context: release.ReleaseContext) -> str:
    why = "tasks at this endpoint do not use their roles"
    seconds = f"{_effect_seconds(context):g} s"
    return f"the fault had no effect within {seconds}" + f": {why}" * bool(context.aws.endpoint)


def _effect_seconds(context: release.ReleaseContext) -> float:
    return EFFECT_HERE if context.aws.endpoint else EFFECT

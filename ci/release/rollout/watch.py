"""The polling loop: check all services of a release until each is healthy or one has failed."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ci.aws import ecs, elb
from ci.aws.failures import throttled, unanswered
from ci.common.concurrency import parallel
from ci.errors import AwsError
from ci.release.model import ReleaseContext, Say
from ci.release.rollout.verdict import (
    SILENCE_PATIENCE,
    Expectation,
    Kind,
    Limits,
    Snapshot,
    Verdict,
    all_running,
    answer_matches,
    evaluate,
    in_service,
)

T = TypeVar("T")
FIRST_PAUSE = 0.25  # seconds between polls at the start of a rollout
BAKE_PAUSE = 1.0  # seconds between polls during the bake time
LAST_PAUSE = 5.0  # seconds between polls late in a rollout
PAUSE_DIVISOR = 40.0  # the pause is the elapsed time divided by this
LONGEST_PAUSE = 30.0  # seconds between polls while AWS throttles
JITTER = 0.2  # share by which a pause varies, so that several pipelines do not poll in step
MARGIN_SECONDS = 30.0  # after the timeout in `Limits`, which normally ends the loop
REPEAT_SECONDS = 10.0  # after which an unchanged state is reported again


@dataclass(frozen=True, kw_only=True)
class WatchResult:
    """The last verdict on every service, the snapshots behind it, and the seconds it took."""

    verdicts: Mapping[str, Verdict]
    snapshots: Mapping[str, Snapshot]
    seconds: float

    @property
    def healthy(self) -> bool:
        """Whether every service is healthy."""
        return all(verdict.kind is Kind.HEALTHY for verdict in self.verdicts.values())


class ProgressReporter:
    """Reports verdicts that changed, and every few seconds those that did not.

    All waves of a release share one reporter.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._reported: dict[str, tuple[str, float]] = {}

    def __call__(self, agent: str, verdict: Verdict, now: float) -> None:
        """Report the verdict on one agent's service at a time in monotonic seconds."""
        text, at = self._reported.get(agent, ("", now))
        if verdict.text != text or (verdict.kind is Kind.PENDING and now - at >= REPEAT_SECONDS):
            self._reported[agent] = (verdict.text, now)
            self._say(f"{agent}: {verdict.text}")

    def throttled_by(self, error: AwsError) -> None:
        """Report that AWS throttles."""
        self._say(f"AWS throttles, polling less often ({error.operation or error})")


async def watch(
    context: ReleaseContext,
    expectations: Sequence[Expectation],
    limits: Limits,
    progress: ProgressReporter,
    *,
    to_the_end: bool = False,
    at_least: float = 0.0,
) -> WatchResult:
    """Poll until all services are healthy or one has failed, at most for `limits.timeout`.

    Args:
        context: the environment.
        expectations: what each service should run.
        limits: when a service counts as failed.
        progress: receives each verdict.
        to_the_end: continue after a failure until every service is healthy or failed (rollback).
        at_least: continue for these seconds although all services are healthy (bake time).
    """
    watcher = _Watcher(context, expectations, limits, progress)

    async def look() -> WatchResult | None:
        try:
            result = await watcher.look()
        except AwsError as error:
            if throttled(error):
                progress.throttled_by(error)
            raise
        kinds = {verdict.kind for verdict in result.verdicts.values()}
        if Kind.FAILED in kinds and not to_the_end:
            return result
        return result if Kind.PENDING not in kinds and result.seconds >= at_least else None

    # The verdict ends the loop at the timeout; the limit here is only a safety margin.
    every = BAKE_PAUSE if at_least else None
    result = await poll(context, look, limits.timeout + MARGIN_SECONDS, every=every)
    return result or await watcher.look()


async def poll(
    context: ReleaseContext,
    look: Callable[[], Awaitable[T | None]],
    seconds: float,
    *,
    every: float | None = None,
) -> T | None:
    """Call a function until it returns a value; return None after the given seconds.

    If AWS throttles a call, the pauses double, up to `LONGEST_PAUSE`, until calls succeed again.
    A call without an answer is repeated for `SILENCE_PATIENCE`. Any other error is raised.

    Args:
        context: its clock is used.
        look: returns the value, None as long as there is none.
        seconds: when to give up.
        every: seconds between calls; by default they grow with the elapsed time.
    """
    began, backoff, found = context.clock.monotonic(), 1.0, None
    answered = began
    while True:
        try:
            found, backoff = await look(), max(1.0, backoff / 2)
            answered = context.clock.monotonic()
        except AwsError as error:
            now = context.clock.monotonic()
            silent = unanswered(error) and now - answered < SILENCE_PATIENCE
            if not (silent or throttled(error)) or now - began >= seconds:
                raise
            backoff *= 2
        elapsed = context.clock.monotonic() - began
        if found is not None or elapsed >= seconds:
            return found
        usual = default_pause(elapsed) if every is None else every
        await context.clock.sleep(pause(usual, backoff, context.clock.jitter()))


def default_pause(elapsed: float) -> float:
    """Return the pause after so many elapsed seconds: short at first, when most rollouts end."""
    return min(LAST_PAUSE, max(FIRST_PAUSE, elapsed / PAUSE_DIVISOR))


def pause(usual: float, backoff: float, jitter: float) -> float:
    """Return the seconds until the next poll.

    Args:
        usual: the pause without throttling.
        backoff: the factor for throttling.
        jitter: a random number from 0 to 1.
    """
    return min(LONGEST_PAUSE, usual * backoff) * (1 - JITTER + 2 * JITTER * jitter)


class _Watcher:
    """Polls the services, and keeps what later polls need."""

    def __init__(
        self,
        context: ReleaseContext,
        expectations: Sequence[Expectation],
        limits: Limits,
        progress: ProgressReporter,
    ) -> None:
        self._context, self._goals, self._limits, self._tell = (
            context,
            expectations,
            limits,
            progress,
        )
        self._began = context.clock.monotonic()
        self._stopped: dict[str, ecs.Task] = {}  # stopped tasks do not change
        self._running_since: dict[str, float] = {}
        self._wrong_since: dict[str, tuple[str, float]] = {}
        self._healthy: dict[str, Snapshot] = {}  # the last snapshot of each healthy service
        self._reused = False

    async def look(self) -> WatchResult:
        """Poll every service once and return the verdicts."""
        services, tasks = await self._cluster()
        result = await self._evaluate(services, tasks)
        if result.healthy and self._reused:
            # Some snapshots are older: success requires new snapshots of all services.
            self._healthy.clear()
            result = await self._evaluate(services, tasks)
        for expectation in self._goals:
            verdict = result.verdicts[expectation.service]
            self._tell(expectation.agent, verdict, self._context.clock.monotonic())
        return result

    async def _evaluate(
        self, services: Mapping[str, ecs.Service], tasks: Sequence[ecs.Task]
    ) -> WatchResult:
        self._reused = False

        async def one(expectation: Expectation) -> Snapshot:
            own = tuple(task for task in tasks if task.service == expectation.service)
            return await self._snapshot(expectation, services.get(expectation.service), own)

        looks = await parallel(one, self._goals)
        snapshots = {
            expectation.service: look for expectation, look in zip(self._goals, looks, strict=True)
        }
        verdicts = {
            expectation.service: evaluate(expectation, snapshots[expectation.service], self._limits)
            for expectation in self._goals
        }
        self._healthy = {
            name: snapshots[name]
            for name, verdict in verdicts.items()
            if verdict.kind is Kind.HEALTHY
        }
        return WatchResult(verdicts=verdicts, snapshots=snapshots, seconds=self._elapsed())

    async def _cluster(self) -> tuple[dict[str, ecs.Service], list[ecs.Task]]:
        """Return services and tasks, read in parallel."""
        services: dict[str, ecs.Service] = {}
        tasks: list[ecs.Task] = []

        async def get(what: str) -> None:
            if what == "tasks":
                tasks.extend(await self._tasks())
            else:
                services.update(await self._services())

        await parallel(get, ("services", "tasks"))
        return services, tasks

    async def _services(self) -> dict[str, ecs.Service]:
        """Return the services, ten in each call, in parallel."""
        aws, cluster = self._context.aws, self._context.outputs.cluster
        names, ten = [expectation.service for expectation in self._goals], ecs.DESCRIBED_SERVICES
        batches = [names[start : start + ten] for start in range(0, len(names), ten)]
        found = await parallel(lambda batch: ecs.services(aws, cluster, batch), batches)
        return {name: service for part in found for name, service in part.items()}

    def _elapsed(self) -> float:
        return self._context.clock.monotonic() - self._began

    async def _tasks(self) -> list[ecs.Task]:
        """Return all tasks of the cluster: four calls for up to a hundred of them."""
        aws, cluster = self._context.aws, self._context.outputs.cluster
        # Running tasks first: one that stops between the calls is then in both, not in neither.
        running = await ecs.task_ids(aws, cluster)
        stopped = await ecs.task_ids(aws, cluster, stopped=True)
        wanted = dict.fromkeys([*running, *stopped])
        unknown = [id_ for id_ in wanted if id_ not in self._stopped]
        found = {task.id: task for task in await ecs.tasks(aws, cluster, unknown)}
        self._stopped |= {id_: task for id_, task in found.items() if task.status == "STOPPED"}
        now = self._elapsed()
        for task in found.values():
            if task.status == "RUNNING":
                self._running_since.setdefault(task.id, now)
        known = self._stopped | found
        return [known[id_] for id_ in wanted if id_ in known]

    async def _snapshot(
        self, expectation: Expectation, service: ecs.Service | None, tasks: tuple[ecs.Task, ...]
    ) -> Snapshot:
        """Return the snapshot of a service; targets and answer are read only when they matter."""
        now = self._elapsed()
        ages = {task.id: now - self._running_since.get(task.id, now) for task in tasks}
        kept = self._healthy.get(expectation.service)
        if kept is not None and (kept.service, kept.tasks) == (service, tasks):
            self._reused = True
            return replace(kept, elapsed=now, ages=ages)
        snapshot = Snapshot(service=service, tasks=tasks, elapsed=now, ages=ages)
        if expectation.run.desired and all_running(expectation, snapshot):
            arn = self._context.outputs.target_groups[expectation.agent]
            snapshot = replace(snapshot, targets=tuple(await elb.targets(self._context.aws, arn)))
        if snapshot.targets is not None and in_service(expectation, snapshot):
            agent = self._context.config.agent(expectation.agent)
            url = self._context.url(expectation.agent) + agent.health_path
            snapshot = replace(snapshot, answer=await self._context.probe.get(url))
        return replace(snapshot, wrong_for=self._wrong_for(expectation, snapshot))

    def _wrong_for(self, expectation: Expectation, snapshot: Snapshot) -> float:
        if snapshot.answer is None or answer_matches(expectation, snapshot.answer):
            self._wrong_since.pop(expectation.service, None)
            return 0.0
        now, kind = self._elapsed(), _kind(snapshot.answer)
        known = self._wrong_since.get(expectation.service)
        if known is None or known[0] != kind:  # each kind counts apart
            known = self._wrong_since[expectation.service] = (kind, now)
        return now - known[1]


def _kind(answer: elb.Answer) -> str:
    """Return in which way an answer is not the expected one."""
    if not answer.examined:
        return "not examined"
    return "wrong" if answer.status else "missing"

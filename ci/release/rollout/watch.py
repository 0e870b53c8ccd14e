"""The one loop that waits: looks at all services of a release at once until each is judged."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ci.aws import ecs, elb
from ci.aws.failures import throttled
from ci.common.concurrency import parallel
from ci.errors import AwsError
from ci.release.model import ReleaseContext, Say
from ci.release.rollout.verdict import (
    Goal,
    Kind,
    Limits,
    Seen,
    Verdict,
    answers,
    in_service,
    judge,
    serving,
)

T = TypeVar("T")
FIRST_PAUSE = 0.25  # seconds between looks, as long as a rollout is young
CALM_PAUSE = 1.0  # where all is good and only a failure would be news
LAST_PAUSE = 5.0
PATIENCE = 40.0  # elapsed seconds for each second of pause
SLOWEST = 30.0  # seconds between looks while AWS throttles
SPREAD = 0.2  # part by which a pause is longer or shorter, so that pipelines do not ask in step
NET = 30.0
SAID_AGAIN = 10.0  # seconds after which an unchanged state is told again


@dataclass(frozen=True, kw_only=True)
class Watched:
    """The last verdict on every service, what it was judged by, and how long it took."""

    verdicts: Mapping[str, Verdict]
    seen: Mapping[str, Seen]
    seconds: float

    @property
    def good(self) -> bool:
        """Whether every service is what it should be."""
        return all(verdict.kind is Kind.GOOD for verdict in self.verdicts.values())


class Teller:
    """Says what changed, and from time to time what has not; one for all waves of a release."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._said: dict[str, tuple[str, float]] = {}

    def __call__(self, agent: str, verdict: Verdict, now: float) -> None:
        """Tell one agent's verdict at a time in monotonic seconds."""
        text, at = self._said.get(agent, ("", now))
        if verdict.text != text or (verdict.kind is Kind.PENDING and now - at >= SAID_AGAIN):
            self._said[agent] = (verdict.text, now)
            self._say(f"{agent}: {verdict.text}")

    def slowed(self, error: AwsError) -> None:
        """Tell that AWS wants to be asked less often."""
        self._say(f"AWS throttles, looking less often ({error.operation or error})")


async def watch(
    context: ReleaseContext,
    goals: Sequence[Goal],
    limits: Limits,
    tell: Teller,
    *,
    to_the_end: bool = False,
    at_least: float = 0.0,
) -> Watched:
    """Look until all goals are good or one has failed; ends by `limits.timeout` at the latest.

    Args:
        context: where the services are.
        goals: what each of them is to run.
        limits: when it takes too long.
        tell: told each verdict; says what changed.
        to_the_end: go on after a failure until every goal is good or failed (the way back).
        at_least: go on for these seconds although all is good, unhurriedly.
    """
    watcher = _Watcher(context, goals, limits, tell)

    async def look() -> Watched | None:
        try:
            watched = await watcher.look()
        except AwsError as error:
            if throttled(error):
                tell.slowed(error)
            raise
        kinds = {verdict.kind for verdict in watched.verdicts.values()}
        if Kind.FAILED in kinds and not to_the_end:
            return watched
        return watched if Kind.PENDING not in kinds and watched.seconds >= at_least else None

    # The verdict knows the deadline and ends the loop; this one is only a net below it.
    calm = CALM_PAUSE if at_least else None
    watched = await poll(context, look, limits.timeout + NET, every=calm)
    return watched or await watcher.look()


async def poll(
    context: ReleaseContext,
    look: Callable[[], Awaitable[T | None]],
    seconds: float,
    *,
    every: float | None = None,
) -> T | None:
    """Look again and again until something is found, or return None after the seconds given.

    A look that AWS throttles found nothing; the pauses after it are twice as long, up to half a
    minute, until looks go through again. Any other error is the caller's.

    Args:
        context: whose clock it is.
        look: returns what is waited for, None as long as that is not there.
        seconds: when to give up.
        every: seconds between looks; by default more and more of them, as rollouts need it.
    """
    began, stretch, found = context.clock.monotonic(), 1.0, None
    while True:
        try:
            found, stretch = await look(), max(1.0, stretch / 2)
        except AwsError as error:
            if not throttled(error) or context.clock.monotonic() - began >= seconds:
                raise
            stretch *= 2
        elapsed = context.clock.monotonic() - began
        if found is not None or elapsed >= seconds:
            return found
        usual = growing(elapsed) if every is None else every
        await context.clock.sleep(pause(usual, stretch, context.clock.chance()))


def growing(elapsed: float) -> float:
    """Return the usual pause so many seconds after the first look: short while most end."""
    return min(LAST_PAUSE, max(FIRST_PAUSE, elapsed / PATIENCE))


def pause(usual: float, stretch: float, chance: float) -> float:
    """Return the seconds until the next look.

    Args:
        usual: what they are as long as all is well.
        stretch: how many times longer because AWS throttles.
        chance: a number from 0 to 1 by which they differ a little.
    """
    return min(SLOWEST, usual * stretch) * (1 - SPREAD + 2 * SPREAD * chance)


class _Watcher:
    """What must be remembered from look to look."""

    def __init__(
        self, context: ReleaseContext, goals: Sequence[Goal], limits: Limits, tell: Teller
    ) -> None:
        self._place, self._goals, self._limits, self._tell = context, goals, limits, tell
        self._began = context.clock.monotonic()
        self._ended: dict[str, ecs.Task] = {}  # stopped tasks do not change any more
        self._running_since: dict[str, float] = {}
        self._wrong_since: dict[str, float] = {}
        self._settled: dict[str, Seen] = {}  # by what each good service was last judged
        self._reused = False

    async def look(self) -> Watched:
        """Look at every service once and judge it."""
        services, tasks = await self._cluster()
        watched = await self._judged(services, tasks)
        if watched.good and self._reused:
            # Some were found good a while ago: success is said of all at one moment.
            self._settled.clear()
            watched = await self._judged(services, tasks)
        for goal in self._goals:
            verdict = watched.verdicts[goal.service]
            self._tell(goal.agent, verdict, self._place.clock.monotonic())
        return watched

    async def _judged(
        self, services: Mapping[str, ecs.Service], tasks: Sequence[ecs.Task]
    ) -> Watched:
        self._reused = False

        async def one(goal: Goal) -> Seen:
            own = tuple(task for task in tasks if task.service == goal.service)
            return await self._complete(goal, services.get(goal.service), own)

        looks = await parallel(one, self._goals)
        seen = {goal.service: look for goal, look in zip(self._goals, looks, strict=True)}
        verdicts = {
            goal.service: judge(goal, seen[goal.service], self._limits) for goal in self._goals
        }
        self._settled = {
            name: seen[name] for name, verdict in verdicts.items() if verdict.kind is Kind.GOOD
        }
        return Watched(verdicts=verdicts, seen=seen, seconds=self._elapsed())

    async def _cluster(self) -> tuple[dict[str, ecs.Service], list[ecs.Task]]:
        """Return services and tasks; both are asked for at once."""
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
        """Return the services: a call for each ten of them, side by side."""
        aws, cluster = self._place.aws, self._place.outputs.cluster
        names, ten = [goal.service for goal in self._goals], ecs.DESCRIBED_SERVICES
        batches = [names[start : start + ten] for start in range(0, len(names), ten)]
        found = await parallel(lambda batch: ecs.services(aws, cluster, batch), batches)
        return {name: service for part in found for name, service in part.items()}

    def _elapsed(self) -> float:
        return self._place.clock.monotonic() - self._began

    async def _tasks(self) -> list[ecs.Task]:
        """Return all tasks of the cluster: four calls for up to a hundred of them."""
        aws, cluster = self._place.aws, self._place.outputs.cluster
        # Stopped ones last: a task that stops between the two calls is then in both, not in none.
        running = await ecs.task_ids(aws, cluster)
        stopped = await ecs.task_ids(aws, cluster, stopped=True)
        wanted = dict.fromkeys([*running, *stopped])
        unknown = [id_ for id_ in wanted if id_ not in self._ended]
        found = {task.id: task for task in await ecs.tasks(aws, cluster, unknown)}
        self._ended |= {id_: task for id_, task in found.items() if task.status == "STOPPED"}
        now = self._elapsed()
        for task in found.values():
            if task.status == "RUNNING":
                self._running_since.setdefault(task.id, now)
        known = self._ended | found
        return [known[id_] for id_ in wanted if id_ in known]

    async def _complete(
        self, goal: Goal, service: ecs.Service | None, tasks: tuple[ecs.Task, ...]
    ) -> Seen:
        """Add targets and answer as soon as they can matter, and as long as they may change it."""
        now = self._elapsed()
        ages = {task.id: now - self._running_since.get(task.id, now) for task in tasks}
        kept = self._settled.get(goal.service)
        if kept is not None and (kept.service, kept.tasks) == (service, tasks):
            self._reused = True
            return replace(kept, elapsed=now, ages=ages)
        seen = Seen(service=service, tasks=tasks, elapsed=now, ages=ages)
        if goal.run.desired and serving(goal, seen):
            arn = self._place.outputs.target_groups[goal.agent]
            seen = replace(seen, targets=tuple(await elb.targets(self._place.aws, arn)))
        if seen.targets is not None and in_service(goal, seen):
            agent = self._place.config.agent(goal.agent)
            url = self._place.url(goal.agent) + agent.health_path
            seen = replace(seen, answer=await elb.get(url))
        return replace(seen, wrong_for=self._wrong_for(goal, seen))

    def _wrong_for(self, goal: Goal, seen: Seen) -> float:
        if seen.answer is None or answers(goal, seen.answer):
            self._wrong_since.pop(goal.service, None)
            return 0.0
        now = self._elapsed()
        return now - self._wrong_since.setdefault(goal.service, now)

"""Whether a rollout is good, has failed, or needs more time: pure functions of what was seen.

Sources of the rules: Amazon ECS Developer Guide, "Stopped tasks error codes" and "Deployment
circuit breaker"; ELB User Guide, "Health checks for target groups".
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ci.aws.ecs import Service, Task
from ci.aws.elb import Answer, Target
from ci.release.model import ServiceRevision
from ci.release.rollout.causes import too_many

#: Stop codes of a task that did not end by anybody's wish.
BROKEN = ("EssentialContainerExited", "TaskFailedToStart")
#: Seconds that a load balancer may still answer from before, after the last old target drained.
ANSWER_PATIENCE = 5.0
#: How deployment ids begin. On AWS a task's startedBy is one; elsewhere it may be another name.
DEPLOYMENT = "ecs-svc/"
#: Targets in these states get no new requests.
LEAVING = ("draining", "unused")


class Kind(StrEnum):
    """What a verdict says."""

    PENDING = "pending"
    GOOD = "good"
    FAILED = "failed"


class Cause(StrEnum):
    """Why a service failed, as far as it matters to what is done next."""

    BROKEN = "broken"  # its own tasks or answers
    ECS = "ecs"  # ECS gave the deployment up and runs another revision
    REPLACED = "replaced"  # somebody else deployed, scaled or deleted it
    LATE = "late"  # its time is over


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The judgement of one service at one moment, in words, with the tasks that failed."""

    kind: Kind
    text: str
    failing: tuple[Task, ...] = ()
    cause: Cause | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When waiting ends: failures of one cause, seconds of grace for a task, seconds in all."""

    failures: int
    grace: float
    timeout: float


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What one service is to run, and since when its tasks count.

    `deployment` is the id in UpdateService's own reply; empty if this release did not begin the
    deployment (it only looks at the service, or ECS began it). `since` is the creation time of
    that deployment by AWS's clock; None where earlier failures of the revision cannot be told
    from this deployment's: then only the present counts.
    """

    agent: str
    service: str
    run: ServiceRevision
    deployment: str = ""
    since: datetime.datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Seen:
    """All that one look found out about one service.

    `ages` are seconds since each task was first seen running, `wrong_for` seconds since the
    answer is another than the goal's; both by the watcher's own clock.
    """

    service: Service | None
    tasks: tuple[Task, ...] = ()
    targets: tuple[Target, ...] | None = None
    answer: Answer | None = None
    elapsed: float = 0.0
    ages: Mapping[str, float] = field(default_factory=dict)
    wrong_for: float = 0.0


def judge(goal: Goal, seen: Seen, limits: Limits) -> Verdict:
    """Judge one service by its goal: failures first, then patience, then every sign of success."""
    service = seen.service
    if service is None or service.status != "ACTIVE":
        state = service.status if service else "missing"
        return _failed(f"the service is gone ({state})", cause=Cause.REPLACED)
    return (
        _superseded(goal, service)
        or _switched_off(goal, service)
        or _crashed(goal, seen, limits)
        or _unhealthy(goal, seen, limits)
        or _wrong(goal, seen)
        or _waiting(goal, service, seen, limits)
        or Verdict(kind=Kind.GOOD, text=f"{service.running} of {service.desired} tasks serve")
    )


def ours(goal: Goal, seen: Seen) -> tuple[Task, ...]:
    """Return the tasks that belong to the goal's deployment, running or stopped."""
    return tuple(task for task in seen.tasks if _is_ours(goal, task))


def stopped_broken(task: Task) -> bool:
    """Tell whether a task ended by a failure: its own, or of a health check."""
    if task.status != "STOPPED":
        return False
    return task.stop_code in BROKEN or "health check" in task.stopped_reason


def answers(goal: Goal, answer: Answer) -> bool:
    """Tell whether an answer is the goal's agent, well, in the goal's version and digest."""
    told = (answer.body.get("agent"), answer.body.get("version"), answer.body.get("digest"))
    return answer.status == 200 and told == (goal.agent, goal.run.version, goal.run.digest)


def serving(goal: Goal, seen: Seen) -> bool:
    """Tell whether exactly the goal's tasks run, as many as desired: then targets matter."""
    if seen.service is None:
        return False
    return not _tasks_missing(goal, seen)


def in_service(goal: Goal, seen: Seen) -> bool:
    """Tell whether the goal's tasks, and no others, get requests: then the answer matters."""
    return serving(goal, seen) and not _targets_missing(goal, seen)


def _is_ours(goal: Goal, task: Task) -> bool:
    if goal.deployment and task.started_by.startswith(DEPLOYMENT):
        return task.started_by == goal.deployment
    if task.revision != goal.run.revision:
        return False
    if goal.since is None or task.created_at is None:
        return task.status != "STOPPED"
    # ECS tells whole seconds in some places: a task is not older than its deployment for that.
    return task.created_at >= goal.since.replace(microsecond=0)


def _superseded(goal: Goal, service: Service) -> Verdict | None:
    """Fail if ECS gave this deployment up, or another one took its place."""
    primary = service.primary
    if primary is None or not goal.deployment:
        return None
    given_up, number = _given_up(goal, service), primary.revision.rpartition(":")[2]
    if given_up and primary.id == goal.deployment:
        return _failed(f"ECS gave the deployment up: {given_up}")
    if given_up:
        text = f"ECS gave the deployment up and runs revision {number} again: {given_up}"
        return _failed(text, cause=Cause.ECS)
    if primary.id == goal.deployment:
        return None
    which = "of the same revision" if number == goal.run.number else f"(revision {number})"
    return _failed(f"another deployment {which} took this one's place", cause=Cause.REPLACED)


def _given_up(goal: Goal, service: Service) -> str:
    """Return why ECS gave the goal's deployment up; empty if it did not.

    ECS drops a failed deployment from the list once it has gone back; its event stays. Source:
    Amazon ECS Developer Guide, "Service event messages": `service (service-name) (deployment
    deployment-id) deployment failed: reason`.
    """
    for item in service.deployments:
        if item.id == goal.deployment:
            return (item.reason or "no reason told") if item.state == "FAILED" else ""
    said = f"(deployment {goal.deployment}) deployment failed"
    event = next((event for event in service.events if said in event), "")
    return event.partition(said)[2].strip(" :.") or ("no reason told" if event else "")


def _switched_off(goal: Goal, service: Service) -> Verdict | None:
    if service.desired == 0 and goal.run.desired > 0:
        text = "somebody set the service's desired count to 0 meanwhile"
        return _failed(text, cause=Cause.REPLACED)
    return None


def _crashed(goal: Goal, seen: Seen, limits: Limits) -> Verdict | None:
    if goal.since is None:
        return None
    broken = tuple(task for task in ours(goal, seen) if stopped_broken(task))
    sick = tuple(
        task for task in ours(goal, seen) if task.health == "UNHEALTHY" and task not in broken
    )
    if not too_many(broken + sick, limits.failures):
        return None
    what = [f"{len(broken)} stopped"] * bool(broken) + [f"{len(sick)} unhealthy"] * bool(sick)
    plural = "task" if len(broken) + len(sick) == 1 else "tasks"
    text = f"does not stay up (revision {goal.run.number}, {' and '.join(what)} {plural})"
    return _failed(text, broken + sick)


def _unhealthy(goal: Goal, seen: Seen, limits: Limits) -> Verdict | None:
    """Fail if a task had its grace and its container or target is still not healthy."""
    healthy = {item.address for item in seen.targets or () if item.state == "healthy"}
    late = tuple(
        task
        for task in ours(goal, seen)
        if seen.ages.get(task.id, 0.0) > limits.grace
        and (
            task.health == "UNHEALTHY" or (seen.targets is not None and task.address not in healthy)
        )
    )
    if not late:
        return None
    states = sorted({f"target {t.state}" for t in seen.targets or () if t.state != "healthy"})
    why = ", ".join(states) or "container unhealthy"
    text = f"is not healthy {limits.grace:g} s after it started (revision {goal.run.number}, {why})"
    return _failed(text, late)


def _wrong(goal: Goal, seen: Seen) -> Verdict | None:
    if seen.wrong_for <= ANSWER_PATIENCE or seen.answer is None:
        return None
    text = f"the load balancer answers {seen.answer}, not version {goal.run.version}"
    return _failed(text, tuple(task for task in ours(goal, seen) if task.status == "RUNNING"))


def _waiting(goal: Goal, service: Service, seen: Seen, limits: Limits) -> Verdict | None:
    """Return what is still missing: as pending, or as a failure once the time is over."""
    missing = (
        _tasks_missing(goal, seen)
        or _targets_missing(goal, seen)
        or _answer_missing(goal, seen)
        or _deployment_missing(goal, service)
    )
    if not missing:
        return None
    if seen.elapsed <= limits.timeout:
        return Verdict(kind=Kind.PENDING, text=missing)
    running = tuple(task for task in ours(goal, seen) if task.status != "STOPPED")
    text = f"is not done after {limits.timeout:.0f} s: {missing}"
    return _failed(text, running, cause=Cause.LATE)


def _tasks_missing(goal: Goal, seen: Seen) -> str:
    alive = [task for task in seen.tasks if task.status != "STOPPED"]
    mine = [task for task in alive if _is_ours(goal, task)]
    running = [task for task in mine if task.status == "RUNNING"]
    if len(running) != goal.run.desired:
        state = mine[0].status.lower() if mine and not running else f"{len(running)} running"
        return f"{goal.run.desired} tasks wanted, {state}"
    return ""


def _targets_missing(goal: Goal, seen: Seen) -> str:
    if goal.run.desired == 0:
        return ""
    if seen.targets is None:
        return "targets not looked at yet"
    addresses = {t.address for t in ours(goal, seen) if t.status == "RUNNING" and t.address}
    healthy = {item.address for item in seen.targets if item.state == "healthy"}
    if not addresses or not addresses <= healthy:
        states = ", ".join(sorted({item.state for item in seen.targets})) or "none registered"
        return f"target not yet healthy ({states})"
    others = [t for t in seen.targets if t.address not in addresses and t.state not in LEAVING]
    return f"{len(others)} old targets still serve" if others else ""


def _answer_missing(goal: Goal, seen: Seen) -> str:
    if goal.run.desired == 0:
        return ""
    if seen.answer is None:
        return "not asked yet"
    return "" if answers(goal, seen.answer) else f"answers {seen.answer}"


def _deployment_missing(goal: Goal, service: Service) -> str:
    primary = service.primary
    if primary is None or service.revision != goal.run.revision:
        return "the service has another revision"
    if primary.state not in ("", "COMPLETED"):
        return "ECS is completing the deployment"
    return "" if service.running == goal.run.desired else "old tasks are stopping"


def _failed(text: str, failing: tuple[Task, ...] = (), *, cause: Cause = Cause.BROKEN) -> Verdict:
    return Verdict(kind=Kind.FAILED, text=text, failing=failing, cause=cause)

"""Whether a service is healthy, has failed, or needs more time: pure functions of a snapshot.

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
from ci.release.rollout.causes import threshold_reached

#: Stop codes of a task that was not stopped on purpose.
BROKEN = ("EssentialContainerExited", "TaskFailedToStart")
#: Seconds that a load balancer may still route to old tasks, after the last old target drained.
ANSWER_PATIENCE = 5.0
#: Seconds without any answer on this machine until that counts: a single lost request, or a machine
#: that is busy, says nothing about a service whose targets are healthy.
SILENCE_PATIENCE = 30.0
#: Seconds for which answers may not be examined, because the prober that asks has to be replaced.
BLIND_PATIENCE = 180.0
#: Prefix of deployment ids. On AWS a task's startedBy is one; the emulator uses another name.
DEPLOYMENT = "ecs-svc/"
#: Targets in these states get no new requests.
LEAVING = ("draining", "unused")


class Kind(StrEnum):
    """The kinds of verdict."""

    PENDING = "pending"
    HEALTHY = "good"
    FAILED = "failed"


class FailureCause(StrEnum):
    """Why a service failed, as far as it determines the release's outcome."""

    BROKEN = "broken"  # its own tasks fail, or answer wrongly
    ECS = "ecs"  # ECS rolled the deployment back
    REPLACED = "replaced"  # somebody else deployed, scaled or deleted it
    TIMEOUT = "timeout"
    NOT_EXAMINED = "not_examined"  # nobody could ask it: nothing is known to be wrong


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The state of one service at one moment: its kind, a description, and the failed tasks."""

    kind: Kind
    text: str
    failed_tasks: tuple[Task, ...] = ()
    cause: FailureCause | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When waiting ends: failures of one cause, grace seconds of a task, total seconds."""

    failures: int
    grace: float
    timeout: float


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What one service should run, and since when its tasks count.

    `deployment` is the id in the response of UpdateService; empty if this release did not start
    the deployment. `since` is the creation time of that deployment by AWS's clock; None if earlier
    failures of the revision cannot be told apart from this deployment's: then stopped tasks do
    not count. The number of tasks of a `scaled` service may change at any time.
    """

    agent: str
    service: str
    run: ServiceRevision
    deployment: str = ""
    since: datetime.datetime | None = None
    scaled: bool = False

    def needed(self, service: Service) -> int:
        """Return how many tasks must run: all, or as many as autoscaling keeps at least."""
        return min(self.run.desired, service.desired) if self.scaled else self.run.desired


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One service as seen in one poll.

    `ages` are the seconds since each task was first seen running, `wrong_for` the seconds for
    which the agent's answer has been wrong, missing (status 0) or not examined, as `answer` is;
    both by the watcher's own clock.
    """

    service: Service | None
    tasks: tuple[Task, ...] = ()
    targets: tuple[Target, ...] | None = None
    answer: Answer | None = None
    elapsed: float = 0.0
    ages: Mapping[str, float] = field(default_factory=dict)
    wrong_for: float = 0.0


def evaluate(expectation: Expectation, snapshot: Snapshot, limits: Limits) -> Verdict:
    """Return the verdict on one service: failures first, then what is still missing."""
    service = snapshot.service
    if service is None or service.status != "ACTIVE":
        state = service.status if service else "missing"
        return _failed(f"the service is gone ({state})", cause=FailureCause.REPLACED)
    return (
        _superseded(expectation, service, snapshot)
        or _switched_off(expectation, service)
        or _crashed(expectation, snapshot, limits)
        or _unhealthy(expectation, snapshot, limits)
        or _wrong(expectation, snapshot)
        or _waiting(expectation, service, snapshot, limits)
        or Verdict(kind=Kind.HEALTHY, text=f"{service.running} of {service.desired} tasks serve")
    )


def own_tasks(expectation: Expectation, snapshot: Snapshot) -> tuple[Task, ...]:
    """Return the tasks that belong to the expected deployment, running or stopped."""
    return tuple(task for task in snapshot.tasks if _is_ours(expectation, task))


def ended_in_failure(task: Task) -> bool:
    """Return whether a task stopped because it, or its health check, failed."""
    if task.status != "STOPPED":
        return False
    return task.stop_code in BROKEN or "health check" in task.stopped_reason


def answer_matches(expectation: Expectation, answer: Answer) -> bool:
    """Return whether an answer is healthy and has the expected agent, version and digest."""
    identity = (answer.body.get("agent"), answer.body.get("version"), answer.body.get("digest"))
    return answer.status == 200 and identity == (
        expectation.agent,
        expectation.run.version,
        expectation.run.digest,
    )


def all_running(expectation: Expectation, snapshot: Snapshot) -> bool:
    """Return whether as many expected tasks run as desired; then targets are worth a call."""
    if snapshot.service is None:
        return False
    return not _tasks_missing(expectation, snapshot, snapshot.service)


def in_service(expectation: Expectation, snapshot: Snapshot) -> bool:
    """Return whether only the expected tasks get requests; then the answer is worth a call."""
    return all_running(expectation, snapshot) and not _targets_missing(expectation, snapshot)


def _is_ours(expectation: Expectation, task: Task) -> bool:
    if expectation.deployment and task.started_by.startswith(DEPLOYMENT):
        return task.started_by == expectation.deployment
    if task.revision != expectation.run.revision:
        return False
    if expectation.since is None or task.created_at is None:
        return task.status != "STOPPED"
    # ECS rounds some times to whole seconds, which must not make a task older than its deployment.
    return task.created_at >= expectation.since.replace(microsecond=0)


def _superseded(expectation: Expectation, service: Service, snapshot: Snapshot) -> Verdict | None:
    """Fail if ECS rolled this deployment back, or another deployment replaced it."""
    primary = service.primary
    if primary is None or not expectation.deployment:
        return None
    reason, number = _failure_reason(expectation, service), primary.revision.rpartition(":")[2]
    # ECS counts failures and does not say what they were: the tasks do.
    broken = tuple(task for task in own_tasks(expectation, snapshot) if ended_in_failure(task))
    if reason and primary.id == expectation.deployment:
        return _failed(f"ECS marked the deployment as failed: {reason}", broken)
    if reason:
        text = f"ECS rolled the deployment back to revision {number}: {reason}"
        return _failed(text, broken, cause=FailureCause.ECS)
    if primary.id == expectation.deployment:
        return None
    which = "of the same revision" if number == expectation.run.number else f"(revision {number})"
    return _failed(f"another deployment {which} replaced this one", cause=FailureCause.REPLACED)


def _failure_reason(expectation: Expectation, service: Service) -> str:
    """Return why the expected deployment failed, as ECS says; empty if it did not fail.

    ECS drops a failed deployment from the list once it is rolled back; its event stays. Source:
    Amazon ECS Developer Guide, "Service event messages": `service (service-name) (deployment
    deployment-id) deployment failed: reason`.
    """
    for item in service.deployments:
        if item.id == expectation.deployment:
            return (item.reason or "no reason given") if item.state == "FAILED" else ""
    failed = f"(deployment {expectation.deployment}) deployment failed"
    event = next((event for event in service.events if failed in event), "")
    return event.partition(failed)[2].strip(" :.") or ("no reason given" if event else "")


def _switched_off(expectation: Expectation, service: Service) -> Verdict | None:
    if service.desired == 0 and expectation.run.desired > 0:
        text = "somebody set the service's desired count to 0"
        return _failed(text, cause=FailureCause.REPLACED)
    return None


def _crashed(expectation: Expectation, snapshot: Snapshot, limits: Limits) -> Verdict | None:
    if expectation.since is None:
        return None
    broken = tuple(task for task in own_tasks(expectation, snapshot) if ended_in_failure(task))
    sick = tuple(
        task
        for task in own_tasks(expectation, snapshot)
        if task.health == "UNHEALTHY" and task not in broken
    )
    if not threshold_reached(broken + sick, limits.failures):
        return None
    what = [f"{len(broken)} stopped"] * bool(broken) + [f"{len(sick)} unhealthy"] * bool(sick)
    plural = "task" if len(broken) + len(sick) == 1 else "tasks"
    text = f"does not stay up (revision {expectation.run.number}, {' and '.join(what)} {plural})"
    return _failed(text, broken + sick)


def _unhealthy(expectation: Expectation, snapshot: Snapshot, limits: Limits) -> Verdict | None:
    """Fail if a container or target is still unhealthy after the task's grace period."""
    healthy = {item.address for item in snapshot.targets or () if item.state == "healthy"}
    late = tuple(
        task
        for task in own_tasks(expectation, snapshot)
        if snapshot.ages.get(task.id, 0.0) > limits.grace
        and (
            task.health == "UNHEALTHY"
            or (snapshot.targets is not None and task.address not in healthy)
        )
    )
    if not late:
        return None
    states = sorted({f"target {t.state}" for t in snapshot.targets or () if t.state != "healthy"})
    why = ", ".join(states) or "container unhealthy"
    which = f"revision {expectation.run.number}, {why}"
    text = f"is not healthy {limits.grace:g} s after it started ({which})"
    return _failed(text, late)


def _wrong(expectation: Expectation, snapshot: Snapshot) -> Verdict | None:
    if snapshot.answer is None:
        return None
    if not snapshot.answer.examined:
        return _blind(snapshot, snapshot.answer)
    if snapshot.wrong_for <= (ANSWER_PATIENCE if snapshot.answer.status else SILENCE_PATIENCE):
        return None
    text = f"the load balancer answers {snapshot.answer}, not version {expectation.run.version}"
    return _failed(
        text, tuple(task for task in own_tasks(expectation, snapshot) if task.status == "RUNNING")
    )


def _blind(
    snapshot: Snapshot, answer: Answer, *, patience: float = BLIND_PATIENCE
) -> Verdict | None:
    """Fail if the agent could not be asked for too long: it is not known to be healthy."""
    if snapshot.wrong_for < patience:
        return None
    text = f"could not be asked for {snapshot.wrong_for:.0f} s, its targets are healthy: "
    return _failed(text + answer.error, cause=FailureCause.NOT_EXAMINED)


def _waiting(
    expectation: Expectation, service: Service, snapshot: Snapshot, limits: Limits
) -> Verdict | None:
    """Return what is still missing: PENDING, or FAILED after the timeout."""
    missing = (
        _tasks_missing(expectation, snapshot, service)
        or _targets_missing(expectation, snapshot)
        or _answer_missing(expectation, snapshot)
        or _deployment_missing(expectation, service, snapshot)
    )
    if not missing:
        return None
    if snapshot.elapsed <= limits.timeout:
        return Verdict(kind=Kind.PENDING, text=missing)
    if snapshot.answer is not None and not snapshot.answer.examined:
        return _blind(snapshot, snapshot.answer, patience=0.0)
    running = tuple(task for task in own_tasks(expectation, snapshot) if task.status != "STOPPED")
    text = f"is not done after {limits.timeout:.0f} s: {missing}"
    return _failed(text, running, cause=FailureCause.TIMEOUT)


def _tasks_missing(expectation: Expectation, snapshot: Snapshot, service: Service) -> str:
    alive = [task for task in snapshot.tasks if task.status != "STOPPED"]
    mine = [task for task in alive if _is_ours(expectation, task)]
    running = [task for task in mine if task.status == "RUNNING"]
    needed = expectation.needed(service)
    if len(running) < needed or (len(running) > needed and not expectation.scaled):
        state = mine[0].status.lower() if mine and not running else f"{len(running)} running"
        return f"{needed} tasks desired, {state}"
    return ""


def _targets_missing(expectation: Expectation, snapshot: Snapshot) -> str:
    if expectation.run.desired == 0:
        return ""
    if snapshot.targets is None:
        return "targets not checked yet"
    addresses = {
        t.address for t in own_tasks(expectation, snapshot) if t.status == "RUNNING" and t.address
    }
    healthy = {item.address for item in snapshot.targets if item.state == "healthy"}
    # Autoscaling may have just started one more: it has its own grace period (`_unhealthy`).
    enough = expectation.scaled and len(addresses & healthy) >= expectation.run.desired
    if not addresses or not (enough or addresses <= healthy):
        states = ", ".join(sorted({item.state for item in snapshot.targets})) or "none registered"
        return f"target not yet healthy ({states})"
    others = [t for t in snapshot.targets if t.address not in addresses and t.state not in LEAVING]
    return f"{len(others)} old targets still serve" if others else ""


def _answer_missing(expectation: Expectation, snapshot: Snapshot) -> str:
    if expectation.run.desired == 0:
        return ""
    if snapshot.answer is None:
        return "health endpoint not checked yet"
    if not snapshot.answer.examined:
        return f"cannot be asked yet ({snapshot.answer.error})"
    return "" if answer_matches(expectation, snapshot.answer) else f"answers {snapshot.answer}"


def _deployment_missing(expectation: Expectation, service: Service, snapshot: Snapshot) -> str:
    primary = service.primary
    if primary is None or service.revision != expectation.run.revision:
        return "the service has another revision"
    if primary.state not in ("", "COMPLETED"):
        return "ECS is completing the deployment"
    if expectation.scaled:
        alive = (task for task in snapshot.tasks if task.status == "RUNNING")
        moved = all(_is_ours(expectation, task) for task in alive)
    else:
        moved = service.running == expectation.run.desired
    return "" if moved else "old tasks are stopping"


def _failed(
    text: str, failed_tasks: tuple[Task, ...] = (), *, cause: FailureCause = FailureCause.BROKEN
) -> Verdict:
    return Verdict(kind=Kind.FAILED, text=text, failed_tasks=failed_tasks, cause=cause)

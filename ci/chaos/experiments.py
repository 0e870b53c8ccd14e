"""The experiments: what each does to an agent, and what must hold meanwhile."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ci import release
from ci.aws import ecs
from ci.chaos.faults import DeniedActions, Fault, StoppedTasks, UnreachableAgent
from ci.errors import UsageError
from validation import Severity


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """One experiment.

    Attributes:
        name: as it is called.
        hypothesis: what it expects, as a sentence without a full stop.
        fault: returns the fault for an agent.
        effects: probes of the agent of which one must fail, or the fault had no effect.
        allowed: probes of the agent that may fail; all others of all agents must not.
        ends: whether the effect ends by itself, without the undo.
        model: whether the agent's model is a probe.
        severity: how bad it is if the hypothesis is wrong.
        why: what goes wrong then.
    """

    name: str
    hypothesis: str
    fault: Callable[[release.ReleaseContext, str], Awaitable[Fault]]
    effects: tuple[str, ...]
    allowed: tuple[str, ...]
    why: str
    ends: bool = False
    model: bool = False
    severity: Severity = Severity.HIGH

    def may_fail(self, agent: str, *, tasks: int) -> frozenset[str]:
        """Return the probes that may fail: with two tasks, an agent answers without one of them."""
        kept = self.name == "stop-task" and tasks > 1
        return frozenset(f"{agent} {item}" for item in (("tasks",) if kept else self.allowed))

    def effect_on(self, agent: str) -> frozenset[str]:
        """Return the probes of which one must fail."""
        return frozenset(f"{agent} {item}" for item in self.effects)


async def running(context: release.ReleaseContext, agent: str) -> list[str]:
    """Return the ids of an agent's running tasks; raises `UsageError` if it has none."""
    cluster, name = context.outputs.cluster, context.env.service(context.config.agent(agent))
    found = await ecs.tasks(context.aws, cluster, await ecs.task_ids(context.aws, cluster))
    ids = sorted(task.id for task in found if task.service == name and task.status == "RUNNING")
    if not ids:
        message = f"{agent} has no running task in {context.env.name}"
        raise UsageError(message, hint=f"./acso status --env {context.env.name}")
    return ids


async def _one_task(context: release.ReleaseContext, agent: str) -> Fault:
    return StoppedTasks(agent=agent, tasks=tuple((await running(context, agent))[:1]))


async def _all_tasks(context: release.ReleaseContext, agent: str) -> Fault:
    return StoppedTasks(agent=agent, tasks=tuple(await running(context, agent)))


async def _cut(_: release.ReleaseContext, agent: str) -> Fault:
    return UnreachableAgent(agent=agent)


def _denied(*actions: str) -> Callable[[release.ReleaseContext, str], Awaitable[Fault]]:
    async def fault(context: release.ReleaseContext, agent: str) -> Fault:
        role = context.outputs.task_roles[agent].rpartition("/")[2]
        return DeniedActions(agent=agent, role=role, actions=actions)

    return fault


ALL = (
    Experiment(
        name="stop-task",
        hypothesis="a stopped task is replaced, and no other agent notices",
        fault=_one_task,
        effects=("tasks", "health", "ready"),
        allowed=("tasks", "health", "ready"),
        ends=True,
        why="tasks stop at any time: hardware, Spot, updates of Fargate",
        severity=Severity.CRITICAL,
    ),
    Experiment(
        name="stop-agent",
        hypothesis="an agent without tasks gets new ones, and no other agent notices",
        fault=_all_tasks,
        effects=("tasks", "health", "ready"),
        allowed=("tasks", "health", "ready"),
        ends=True,
        why="an agent that takes others with it makes one failure five",
    ),
    Experiment(
        name="cut-agent",
        hypothesis="an agent that nobody reaches keeps its tasks, and no other agent notices",
        fault=_cut,
        effects=("health", "ready"),
        allowed=("health", "ready"),
        why="a black hole in the network must not stop or hang those who call",
    ),
    Experiment(
        name="cut-bedrock",
        hypothesis="an agent without its model stays healthy and ready",
        fault=_denied("bedrock:*"),
        effects=("model",),
        allowed=("model",),
        model=True,
        why="models are absent, throttled or slow; work goes on by rules",
    ),
    Experiment(
        name="deny-dynamodb",
        hypothesis="an agent without its state is not ready, keeps its tasks, and comes back",
        fault=_denied("dynamodb:*"),
        effects=("ready",),
        allowed=("ready",),
        why="tasks that are killed because a table does not answer only add to the failure",
    ),
)
EXPERIMENTS: Mapping[str, Experiment] = MappingProxyType({item.name: item for item in ALL})
NO_SIDECAR = "it needs a process in the task: FIS does it by a sidecar of SSM, which no task has"
#: What is not done, and why.
NOT_HERE: Mapping[str, str] = MappingProxyType(
    {
        "throttle-dynamodb": "FIS has no action for it and IAM none: deny-dynamodb is the nearest",
        "fill-cpu": NO_SIDECAR,
        "fill-memory": NO_SIDECAR,
    }
)

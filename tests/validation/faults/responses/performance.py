"""Metrics of ECS and of the load balancer: values over a window, by agent."""

from collections.abc import Sequence

from tests.validation.faults.fault import in_responses
from tests.validation.faults.scene import Metric, Scene

MINUTES = 15  # values of a metric, one for each minute
ECS, ELB = "AWS/ECS", "AWS/ApplicationELB"
ROUTINE = {"Average": [22.0] * MINUTES, "Maximum": [35.0] * MINUTES}
BUSY = {"Average": [93.0] * MINUTES, "Maximum": [99.0] * MINUTES}


def utilization(
    scene: Scene, name: str, wrong: Sequence[str], bad: dict[str, list[float]]
) -> tuple[Metric, ...]:
    """Return a metric of every service; those of the `wrong` agents have the `bad` values."""
    return tuple(
        Metric(
            namespace=ECS,
            name=name,
            dimensions={"ClusterName": scene.cluster, "ServiceName": scene.service(agent)},
            good=ROUTINE,
            bad=bad if agent in wrong else ROUTINE,
        )
        for agent in scene.agents
    )


def balanced(
    scene: Scene,
    name: str,
    good: dict[str, list[float]],
    bad: dict[str, list[float]],
    *wrong: str,
) -> tuple[Metric, ...]:
    """Return a metric of every target group; those of the `wrong` agents have the `bad` values."""
    balancer = scene.load_balancer.partition("loadbalancer/")[2]
    return tuple(
        Metric(
            namespace=ELB,
            name=name,
            dimensions={
                "LoadBalancer": balancer,
                "TargetGroup": scene.target_group(agent).rpartition(":")[2],
            },
            good=good,
            bad=bad if agent in wrong else good,
            unit="Seconds" if name == "TargetResponseTime" else "Count",
        )
        for agent in scene.agents
    )


def _steady(**values: float) -> dict[str, list[float]]:
    return {statistic: [value] * MINUTES for statistic, value in values.items()}


def _requests(scene: Scene) -> tuple[Metric, ...]:
    """Return the requests of a good environment: 200 a minute to each agent."""
    count = _steady(Sum=200)
    return balanced(scene, "RequestCount", count, count)


FAST = _steady(Average=0.12, p50=0.1, p95=0.4, p99=0.8, Maximum=1.2)
NO_ERRORS = _steady(Sum=0)


@in_responses("performance.cpu", wrong="The fifth agent uses 93 % of its CPU; the others 22 %.")
def cpu_of_the_fifth_agent(scene: Scene) -> tuple[Metric, ...]:
    return utilization(scene, "CPUUtilization", scene.agents[-1:], BUSY)


@in_responses("performance.cpu", wrong="Every agent uses 93 % of its CPU.")
def cpu_of_all_agents(scene: Scene) -> tuple[Metric, ...]:
    return utilization(scene, "CPUUtilization", scene.agents, BUSY)


@in_responses(
    "performance.cpu",
    wrong="There is no data point of one agent's CPU, and nobody knows how busy it is.",
    outcome="NOT_EXAMINED",
)
def cpu_without_data(scene: Scene) -> tuple[Metric, ...]:
    return utilization(scene, "CPUUtilization", scene.agents[2:3], {})


@in_responses("performance.memory", wrong="The third agent uses 95 % of its memory.")
def memory_of_the_third_agent(scene: Scene) -> tuple[Metric, ...]:
    full = _steady(Average=95, Maximum=97)
    return utilization(scene, "MemoryUtilization", scene.agents[2:3], full)


@in_responses(
    "performance.memory",
    wrong="There is no data point of any agent's memory.",
    outcome="NOT_EXAMINED",
)
def memory_without_data(scene: Scene) -> tuple[Metric, ...]:
    return utilization(scene, "MemoryUtilization", scene.agents, {})


@in_responses(
    "performance.latency",
    wrong="The p95 of one of five agents is 9 s; its average is below every limit.",
)
def slow_tail_of_one_agent(scene: Scene) -> tuple[Metric, ...]:
    slow = _steady(Average=0.6, p50=0.1, p95=9.0, p99=12.0, Maximum=20.0)
    times = balanced(scene, "TargetResponseTime", FAST, slow, scene.agents[3])
    return (*times, *_requests(scene))


@in_responses(
    "performance.latency",
    wrong="There is no data point of one agent's response time.",
    outcome="NOT_EXAMINED",
)
def latency_without_data(scene: Scene) -> tuple[Metric, ...]:
    times = balanced(scene, "TargetResponseTime", FAST, {}, scene.agents[0])
    return (*times, *_requests(scene))


@in_responses("performance.errors", wrong="8 % of one agent's answers are 5xx.")
def errors_of_one_agent(scene: Scene) -> tuple[Metric, ...]:
    errors = balanced(
        scene, "HTTPCode_Target_5XX_Count", NO_ERRORS, _steady(Sum=16), scene.agents[1]
    )
    return (*errors, *_requests(scene))


@in_responses(
    "performance.errors",
    wrong="No request reached one agent within the window: its share of errors is unknown.",
    outcome="NOT_EXAMINED",
)
def errors_without_requests(scene: Scene) -> tuple[Metric, ...]:
    requests = balanced(scene, "RequestCount", _steady(Sum=200), {}, scene.agents[4])
    errors = balanced(scene, "HTTPCode_Target_5XX_Count", NO_ERRORS, {}, scene.agents[4])
    return (*requests, *errors)


@in_responses(
    wrong="Harmless: there is no data point of 5xx, because every request of the window succeeded.",
)
def harmless_no_errors_at_all(scene: Scene) -> tuple[Metric, ...]:
    # ELB reports the metric only if there is a nonzero value; requests are always reported.
    errors = balanced(scene, "HTTPCode_Target_5XX_Count", NO_ERRORS, {}, *scene.agents)
    return (*errors, *_requests(scene))


@in_responses(
    wrong="Harmless: one agent's CPU reached 99 % for a minute; its average is 27 %.",
)
def harmless_peak(scene: Scene) -> tuple[Metric, ...]:
    peak = {"Average": [22.0] * (MINUTES - 1) + [99.0], "Maximum": [35.0] * (MINUTES - 1) + [99.0]}
    return utilization(scene, "CPUUtilization", scene.agents[1:2], peak)

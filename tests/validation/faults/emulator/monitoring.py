"""Faults of alarms that can be planted in the embedded AWS."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from ci.release import ReleaseContext
from tests.validation.faults.fault import on_emulator

#: What DescribeAlarms returns and PutMetricAlarm takes.
SETTINGS = (
    *("AlarmName", "AlarmDescription", "ActionsEnabled", "AlarmActions", "OKActions"),
    *("InsufficientDataActions", "MetricName", "Namespace", "Statistic", "Dimensions", "Period"),
    *("EvaluationPeriods", "DatapointsToAlarm", "Threshold", "ComparisonOperator"),
    "TreatMissingData",
)
Alarm = dict[str, Any]


def name(place: ReleaseContext, kind: str, agent: int = -1) -> str:
    """Return the name of an agent's alarm: `unhealthy`, `errors`, `cpu` or `memory`."""
    return f"{place.env.service(place.config.agents[agent])}-{kind}"


async def alarms(place: ReleaseContext) -> dict[str, Alarm]:
    """Return all alarms of the account, by name."""
    found = await place.aws.pages("cloudwatch", "describe_alarms", "MetricAlarms")
    return {item["AlarmName"]: item for item in found}


async def settings(place: ReleaseContext) -> dict[str, Alarm]:
    """Return what PutMetricAlarm sets of the alarms, without states and times."""
    found = await alarms(place)
    return {
        key: {part: value for part, value in item.items() if part in SETTINGS}
        for key, item in found.items()
    }


async def states(place: ReleaseContext) -> dict[str, str]:
    """Return the alarms' states, by name."""
    return {key: str(item["StateValue"]) for key, item in (await alarms(place)).items()}


def _any(**wanted: Any) -> Any:
    return lambda found: any(
        all(item.get(key) == value for key, value in wanted.items()) for item in found.values()
    )


async def _changed(place: ReleaseContext, alarm: str, **change: Any) -> AsyncIterator[None]:
    before = (await settings(place))[alarm]
    await place.aws.call("cloudwatch", "put_metric_alarm", **(before | change))
    yield
    await place.aws.call("cloudwatch", "put_metric_alarm", **before)


@on_emulator(
    "monitoring.coverage",
    wrong="The last agent has no alarm of its memory.",
    read=settings,
    shows=lambda found: not any(item.endswith("-intelligence-memory") for item in found),
)
async def alarm_missing(place: ReleaseContext) -> AsyncIterator[None]:
    alarm = name(place, "memory")
    before = (await settings(place))[alarm]
    await place.aws.call("cloudwatch", "delete_alarms", AlarmNames=[alarm])
    yield
    await place.aws.call("cloudwatch", "put_metric_alarm", **before)


@on_emulator(
    "monitoring.coverage",
    wrong="The CPU alarm of the second agent has its name, and watches the first agent's service.",
    read=settings,
    shows=lambda found: any(
        "threat-hunter-cpu" in key and "supervisor" in str(item["Dimensions"])
        for key, item in found.items()
    ),
)
async def alarm_of_another_service(place: ReleaseContext) -> AsyncIterator[None]:
    other = (await settings(place))[name(place, "cpu", 0)]["Dimensions"]
    async for _ in _changed(place, name(place, "cpu", 1), Dimensions=other):
        yield


@on_emulator(
    "monitoring.coverage",
    wrong="The threshold of a CPU alarm (100 percent, exceeded) can never be reached.",
    read=settings,
    shows=_any(MetricName="CPUUtilization", Threshold=100.0),
)
async def alarm_that_cannot_fire(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _changed(place, name(place, "cpu"), Threshold=100.0):
        yield


@on_emulator(
    "monitoring.actions",
    wrong="An alarm has no action.",
    read=settings,
    shows=_any(AlarmActions=[]),
)
async def alarm_without_action(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _changed(place, name(place, "errors"), AlarmActions=[]):
        yield


@on_emulator(
    "monitoring.actions",
    "integration.alarm",
    wrong="The actions of an alarm are disabled; they are still listed.",
    read=settings,
    shows=_any(ActionsEnabled=False),
)
async def alarm_actions_disabled(place: ReleaseContext) -> AsyncIterator[None]:
    alarm = [name(place, "unhealthy", 0)]
    await place.aws.call("cloudwatch", "disable_alarm_actions", AlarmNames=alarm)
    yield
    await place.aws.call("cloudwatch", "enable_alarm_actions", AlarmNames=alarm)


ELSEWHERE = "arn:aws:sns:us-east-1:000000000000:old-topic"


@on_emulator(
    "monitoring.actions",
    wrong="An alarm notifies a topic that is not the environment's.",
    read=settings,
    shows=_any(AlarmActions=[ELSEWHERE]),
)
async def alarm_to_another_topic(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _changed(place, name(place, "memory", 1), AlarmActions=[ELSEWHERE]):
        yield


async def _in_alarm(place: ReleaseContext, alarm: str) -> AsyncIterator[None]:
    before = (await states(place))[alarm]
    put = partial(place.aws.call, "cloudwatch", "set_alarm_state", AlarmName=alarm)
    await put(StateValue="ALARM", StateReason="planted")
    yield
    await put(StateValue=before, StateReason="repaired")


@on_emulator(
    "monitoring.alarms",
    wrong="An alarm of the last agent is in ALARM.",
    read=states,
    shows=lambda found: "ALARM" in found.values(),
)
async def alarm_in_alarm(place: ReleaseContext) -> AsyncIterator[None]:
    async for _ in _in_alarm(place, name(place, "unhealthy")):
        yield


@on_emulator(
    "monitoring.alarms",
    "monitoring.actions",
    wrong="The actions of an alarm are disabled and it is in ALARM, so nobody is notified.",
    read=states,
    shows=lambda found: "ALARM" in found.values(),
)
async def silent_alarm_in_alarm(place: ReleaseContext) -> AsyncIterator[None]:
    alarm = name(place, "errors", 1)
    cloudwatch = partial(place.aws.call, "cloudwatch")
    await cloudwatch("disable_alarm_actions", AlarmNames=[alarm])
    async for _ in _in_alarm(place, alarm):
        yield
    await cloudwatch("enable_alarm_actions", AlarmNames=[alarm])


@on_emulator(
    wrong="Harmless: an alarm of another environment is in ALARM.",
    read=states,
    shows=lambda found: found.get("acso-elsewhere-supervisor-cpu") == "ALARM",
)
async def harmless_alarm_of_another_environment(place: ReleaseContext) -> AsyncIterator[None]:
    alarm = "acso-elsewhere-supervisor-cpu"
    like = (await settings(place))[name(place, "cpu", 0)] | {"AlarmName": alarm}
    await place.aws.call("cloudwatch", "put_metric_alarm", **like)
    async for _ in _in_alarm(place, alarm):
        yield
    await place.aws.call("cloudwatch", "delete_alarms", AlarmNames=[alarm])

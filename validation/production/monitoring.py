"""Whether somebody is told when an environment is not well."""

import datetime
from collections.abc import Mapping

from ci.aws.audit import alarms, topics
from ci.aws.audit.alarms import Alarm
from ci.aws.metrics.cloudwatch import BALANCER, ECS
from ci.config.environments import DEVELOPMENT
from validation import environment
from validation.model import (
    Check,
    CheckContext,
    Evidence,
    Finding,
    Severity,
    failed,
    judged,
    not_examined,
)
from validation.production.encryption import log_groups
from validation.production.inventory import agents, inventory, target_group

ALARM = "AWS::CloudWatch::Alarm"
#: What an agent's alarms must watch: what they are called, and the metric.
WATCHED: Mapping[str, str] = {
    "CPU": f"{ECS} CPUUtilization",
    "memory": f"{ECS} MemoryUtilization",
    "5xx": f"{BALANCER} HTTPCode_Target_5XX_Count",
    "latency": f"{BALANCER} TargetResponseTime",
    "unhealthy tasks": f"{BALANCER} UnHealthyHostCount",
}
PERCENT = 100  # CPU and memory never exceed it
ABOVE = ("GreaterThanThreshold", "GreaterThanOrEqualToThreshold")
#: Seconds after its period in which a new alarm gets its first data.
DELAY = 300


async def all_alarms(context: CheckContext) -> tuple[list[Alarm], Evidence]:
    """Return the alarms of the environment, and how many of its stack's were found."""
    return await context.reads.get("alarms", lambda: _alarms(context))


async def _alarms(context: CheckContext) -> tuple[list[Alarm], Evidence]:
    listed = (await inventory(context)).of(ALARM)
    found = await alarms.alarms(context.aws, f"{context.env.prefix}-")
    names = {alarm.name for alarm in found}
    return found, Evidence("alarms", len(found), len(found) + len(listed - names))


async def coverage(context: CheckContext) -> Finding:
    """Check that each agent has alarms of everything that should be watched."""
    found, _ = await all_alarms(context)
    running, evidence = await agents(context)
    problems = []
    for agent, service in sorted(running.services.items()):
        places = {service.name, target_group(service).rpartition(":")[2]}
        own = [alarm for alarm in found if places & set(alarm.dimensions.values())]
        for name, metric in WATCHED.items():
            watching = [alarm for alarm in own if alarm.metric == metric]
            problems += [f"{agent} has no alarm of {name}"] * (not watching)
            problems += [f"{alarm.name} can never go off" for alarm in watching if _never(alarm)]
    wanted = len(WATCHED) * len(context.config.agents)
    return judged(
        problems,
        evidence,
        Evidence("alarms", len(found), max(len(found), wanted if not problems else len(found))),
        observed=f"{len(found)} alarms watch {len(running.services)} agents",
        expected=f"alarms of each agent: {', '.join(WATCHED)}",
    )


def _never(alarm: Alarm) -> bool:
    """Return whether an alarm's threshold cannot be reached."""
    percent = alarm.metric in (WATCHED["CPU"], WATCHED["memory"])
    return alarm.comparison not in ABOVE or (percent and alarm.threshold >= PERCENT)


async def actions(context: CheckContext) -> Finding:
    """Check that alarms notify the environment's topic, and that somebody listens to it."""
    found, evidence = await all_alarms(context)
    topic = await environment.output(context, "Topic")
    problems = []
    for alarm in found:
        problems += [f"the actions of {alarm.name} are off"] * (not alarm.enabled)
        problems += [f"{alarm.name} does not notify {topic}"] * (topic not in alarm.actions)
    listening = await topics.subscriptions(context.aws, topic)
    unheard = unheard_by(context, listening)
    development = context.env.name == DEVELOPMENT and not context.env.subscriptions
    return judged(
        problems + ([] if development else unheard),
        evidence,
        Evidence("subscriptions", len(listening), len(listening)),
        observed=f"{len(found)} alarms notify {topic}, {len(listening)} subscriptions",
        expected="actions on, to the environment's topic, which has a confirmed subscription",
        warnings=unheard if development else [],
    )


def unheard_by(context: CheckContext, found: list[topics.Subscription]) -> list[str]:
    """Return who should get notifications and does not; pure."""
    confirmed = {item.endpoint for item in found if item.confirmed}
    pending = {item.endpoint for item in found if not item.confirmed}
    problems = [f"{who} has not confirmed its subscription" for who in sorted(pending)]
    missing = set(context.env.subscriptions) - confirmed - pending
    problems += [f"{who} is not subscribed" for who in sorted(missing)]
    return problems or ["nobody gets the notifications"] * (not confirmed)


async def none_in_alarm(context: CheckContext) -> Finding:
    """Check that no alarm has gone off, and that each one can look."""
    found, evidence = await all_alarms(context)
    ringing = [alarm for alarm in found if alarm.state == "ALARM"]
    blind = [alarm for alarm in found if alarm.state == "INSUFFICIENT_DATA"]
    now = datetime.datetime.now(datetime.UTC)
    embedded = (await inventory(context)).embedded
    unexplained = [alarm.name for alarm in blind if embedded or not is_new(alarm, now)]
    wanted = "every alarm OK"
    if ringing:
        text = "; ".join(f"{alarm.name}: {alarm.reason}" for alarm in ringing)
        return failed(text, wanted, evidence)
    if unexplained or len(blind) == len(found):
        why = "the embedded AWS has no metrics" if embedded else "their metric is not written"
        text = f"{len(blind)} of {len(found)} alarms have no data: {why}"
        return not_examined(f"{text}: {', '.join(unexplained)}", evidence)
    return judged(
        [],
        evidence,
        observed=f"{len(found) - len(blind)} alarms are OK",
        expected=wanted,
        warnings=[f"{alarm.name} is new and has no data yet" for alarm in blind],
    )


def is_new(alarm: Alarm, now: datetime.datetime) -> bool:
    """Return whether an alarm is too new to have data; pure."""
    if alarm.changed is None:
        return False
    return (now - alarm.changed).total_seconds() <= alarm.seconds + DELAY


async def retention(context: CheckContext) -> Finding:
    """Check that logs are kept as long as acso.toml says."""
    found, evidence = await log_groups(context)
    days = context.env.log_retention
    problems = [
        f"{group.name} keeps {group.retention or 'all'} days"
        for group in found
        if group.retention != days
    ]
    return judged(
        problems,
        evidence,
        observed=f"{len(found)} log groups keep {days} days",
        expected=f"{days} days",
    )


CHECKS = (
    Check(
        id="monitoring.coverage",
        title="every agent has its alarms",
        run=coverage,
        severity=Severity.HIGH,
        reads=("cloudwatch:DescribeAlarms",),
        why="what nobody watches fails until a user complains",
        remedy="./acso deploy creates the alarms again",
    ),
    Check(
        id="monitoring.actions",
        title="alarms reach somebody",
        run=actions,
        severity=Severity.HIGH,
        reads=("cloudwatch:DescribeAlarms", "sns:ListSubscriptionsByTopic"),
        why="an alarm that notifies nobody is none",
        remedy="name subscriptions of the environment in acso.toml, and confirm them",
    ),
    Check(
        id="monitoring.alarms",
        title="no alarm has gone off",
        run=none_in_alarm,
        severity=Severity.HIGH,
        reads=("cloudwatch:DescribeAlarms",),
        why="a release into an environment that is not well hides the cause",
        remedy="the alarm's reason says what was measured; ./acso status and ./acso logs say why",
        patience=20.0,
    ),
    Check(
        id="monitoring.logs-retention",
        title="logs are kept as acso.toml says",
        run=retention,
        severity=Severity.MEDIUM,
        reads=("logs:DescribeLogGroups",),
        why="too short and the cause is gone; for ever costs, and keeps what people asked",
        remedy="./acso deploy sets RetentionInDays again",
    ),
)

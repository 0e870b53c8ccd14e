"""Check that an alarm reaches who listens to the environment's topic."""

import secrets

import anyio

from ci.aws import alarms, sns
from validation import environment
from validation.model import Check, CheckContext, Evidence, Finding, Severity, judged

REASON = "a drill of the pipeline's validation: nothing is wrong"
ARRIVAL = 20.0  # seconds for a notification to arrive
PAUSE = 0.2  # seconds between two looks, beside those that SQS waits
LEFT_AGE = 3600.0  # seconds after which a queue of an earlier run is a leftover


async def notified(context: CheckContext) -> Finding:
    """Raise an agent's alarm for a moment, and wait for its notification in a queue of our own."""
    aws, env = context.aws, context.env
    topic = await environment.output(context, "Topic")
    alarm = f"{env.service(context.config.agents[0])}-errors"
    prefix = f"{env.prefix}-validation-"
    await sns.remove_old_queues(aws, prefix, age=LEFT_AGE)
    inbox = await sns.open_inbox(aws, topic, f"{prefix}{secrets.token_hex(4)}")
    try:
        await alarms.set_state(aws, alarm, "OK", reason=REASON)
        await alarms.set_state(aws, alarm, "ALARM", reason=REASON)
        found = await _arrived(context, inbox, alarm)
    finally:
        with anyio.CancelScope(shield=True):
            await alarms.set_state(aws, alarm, "OK", reason=REASON)
            await sns.close_inbox(aws, inbox)
    return judged(
        [f"no notification of {alarm} within {ARRIVAL:g} s"] * (not found),
        Evidence("alarms", 1, 1),
        observed=f"the notification of {alarm} arrived",
        expected="a notification through the environment's topic",
        hint="the alarm's actions name the topic; the topic's key must allow cloudwatch to use it",
    )


async def _arrived(context: CheckContext, inbox: sns.Inbox, alarm: str) -> bool:
    end = anyio.current_time() + ARRIVAL
    while anyio.current_time() < end:
        if any(alarm in text for text in await sns.messages(context.aws, inbox)):
            return True
        await anyio.sleep(PAUSE)
    return False


CHECKS = (
    Check(
        id="integration.alarm",
        title="an alarm reaches its topic",
        run=notified,
        severity=Severity.HIGH,
        reads=("cloudwatch:SetAlarmState", "sns:Subscribe", "sqs:ReceiveMessage"),
        why="an alarm that reaches nobody is none",
        remedy="./acso deploy repairs the alarm; subscriptions are in acso.toml",
        seconds=60,
    ),
)

"""CloudWatch alarms, as far as the pipeline changes them."""

from ci.aws.session import Aws


async def set_state(aws: Aws, alarm: str, state: str, *, reason: str) -> None:
    """Set an alarm's state, as if its metric had; CloudWatch sets it again when it looks next."""
    await aws.call(
        "cloudwatch", "set_alarm_state", AlarmName=alarm, StateValue=state, StateReason=reason
    )

"""CloudWatch alarms, and queues that receive their notifications."""

import json
import time
from dataclasses import dataclass

from ci.aws.session import Aws

#: Seconds that a receive waits for a message; source: SQS API Reference, ReceiveMessage.
WAIT = 2


@dataclass(frozen=True, kw_only=True)
class Inbox:
    """A queue that a topic's messages go to, until it is closed."""

    url: str
    subscription: str


async def set_state(aws: Aws, alarm: str, state: str, *, reason: str) -> None:
    """Set an alarm's state, as if its metric had; CloudWatch sets it again when it looks next."""
    await aws.call(
        "cloudwatch", "set_alarm_state", AlarmName=alarm, StateValue=state, StateReason=reason
    )


async def open_inbox(aws: Aws, topic: str, name: str) -> Inbox:
    """Create a queue that gets a topic's messages; raises `AwsError`."""
    arn = f"{topic.rpartition(':')[0].replace(':sns:', ':sqs:')}:{name}"
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "sns.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
            }
        ],
    }
    attributes = {"Policy": json.dumps(policy), "MessageRetentionPeriod": "300"}
    answer = await aws.call("sqs", "create_queue", QueueName=name, Attributes=attributes)
    found = await aws.call(
        "sns",
        "subscribe",
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=arn,
        Attributes={"RawMessageDelivery": "true"},
        ReturnSubscriptionArn=True,
    )
    return Inbox(url=answer["QueueUrl"], subscription=found["SubscriptionArn"])


async def messages(aws: Aws, inbox: Inbox) -> list[str]:
    """Return the texts of the messages that have arrived, and remove them."""
    answer = await aws.call(
        "sqs",
        "receive_message",
        QueueUrl=inbox.url,
        MaxNumberOfMessages=10,
        WaitTimeSeconds=WAIT,
    )
    return [str(item["Body"]) for item in answer.get("Messages", ())]


async def close_inbox(aws: Aws, inbox: Inbox) -> None:
    """Remove the subscription and the queue."""
    await aws.call("sns", "unsubscribe", SubscriptionArn=inbox.subscription)
    await aws.call("sqs", "delete_queue", QueueUrl=inbox.url)


async def remove_old_queues(aws: Aws, prefix: str, *, age: float) -> list[str]:
    """Remove queues of a prefix that are older than `age` seconds; return their names."""
    removed = []
    for url in await aws.pages("sqs", "list_queues", "QueueUrls", QueueNamePrefix=prefix):
        answer = await aws.call(
            "sqs", "get_queue_attributes", QueueUrl=url, AttributeNames=["CreatedTimestamp"]
        )
        if time.time() - float(answer["Attributes"]["CreatedTimestamp"]) > age:
            await aws.call("sqs", "delete_queue", QueueUrl=url)
            removed.append(str(url).rpartition("/")[2])
    return removed

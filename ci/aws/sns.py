"""Amazon SNS: publish messages to a topic, and receive them in a queue of one's own."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ci.aws.session import Aws

#: Seconds that a receive waits for a message; source: SQS API Reference, ReceiveMessage.
WAIT = 2
MAX_SUBJECT = 99  # characters of printable ASCII; source: SNS API Reference, Publish


@dataclass(frozen=True, kw_only=True)
class Inbox:
    """A queue that a topic's messages go to, until it is closed."""

    url: str
    subscription: str


async def publish(
    aws: Aws, topic: str, *, subject: str, text: str, attributes: Mapping[str, str]
) -> None:
    """Publish a message; raises `AwsError` within seconds if that fails.

    Args:
        aws: the topic's account and region.
        topic: its ARN.
        subject: of e-mails; shortened to what SNS allows.
        text: the message.
        attributes: for the filter policies of subscriptions; no value may be empty.
    """
    plain = subject.encode("ascii", "replace").decode().splitlines()[0]
    await aws.call(
        "sns",
        "publish",
        TopicArn=topic,
        Subject=plain[:MAX_SUBJECT],
        Message=text,
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
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

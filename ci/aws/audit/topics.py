"""Amazon SNS: topics and who gets their messages."""

from dataclasses import dataclass

from ci.aws.session import Aws
from ci.errors import AwsError

PENDING = "PendingConfirmation"


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """Who gets a topic's messages; `confirmed` if they agreed to it."""

    endpoint: str
    confirmed: bool


async def names(aws: Aws) -> list[str]:
    """Return the ARNs of all topics of the region."""
    return [item["TopicArn"] for item in await aws.pages("sns", "list_topics", "Topics")]


async def key(aws: Aws, topic: str) -> str | None:
    """Return the KMS key of a topic, empty if it has none; None if the topic does not exist."""
    try:
        answer = await aws.call("sns", "get_topic_attributes", TopicArn=topic)
    except AwsError as error:
        if error.code in ("NotFound", "NotFoundException"):
            return None
        raise
    return str(answer["Attributes"].get("KmsMasterKeyId", ""))


async def subscriptions(aws: Aws, topic: str) -> list[Subscription]:
    """Return the subscriptions of a topic."""
    found = await aws.pages("sns", "list_subscriptions_by_topic", "Subscriptions", TopicArn=topic)
    return [
        Subscription(endpoint=item["Endpoint"], confirmed=item["SubscriptionArn"] != PENDING)
        for item in found
    ]

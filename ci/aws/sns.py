"""Amazon SNS: telling whoever subscribed to a topic."""

from collections.abc import Mapping

from ci.aws.session import Aws

LONGEST_SUBJECT = 99  # characters of printable ASCII, by the API reference of Publish


async def publish(
    aws: Aws, topic: str, *, subject: str, text: str, attributes: Mapping[str, str]
) -> None:
    """Publish a message; raises `AwsError` within seconds where it cannot be.

    Args:
        aws: where the topic is.
        topic: its ARN.
        subject: of e-mails; cut to what SNS takes.
        text: the message.
        attributes: what subscriptions can filter by; no value may be empty.
    """
    plain = subject.encode("ascii", "replace").decode().splitlines()[0]
    await aws.call(
        "sns",
        "publish",
        TopicArn=topic,
        Subject=plain[:LONGEST_SUBJECT],
        Message=text,
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    )

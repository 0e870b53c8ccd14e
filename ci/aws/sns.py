"""Amazon SNS: publish messages to a topic."""

from collections.abc import Mapping

from ci.aws.session import Aws

MAX_SUBJECT = 99  # characters of printable ASCII; source: SNS API Reference, Publish


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

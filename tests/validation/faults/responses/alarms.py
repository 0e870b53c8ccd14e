"""Responses about alarms, their topic and log lines."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tests.validation.faults.fault import in_responses
from tests.validation.faults.scene import Answer, Reply, Scene, page

KINDS = ("unhealthy", "errors", "cpu", "memory")
NOTHING: dict[str, str] = {}


def _alarm(scene: Scene, agent: str, kind: str, **more: Any) -> dict[str, Any]:
    name = f"{scene.service(agent)}-{kind}"
    return {
        "AlarmName": name,
        "AlarmArn": scene.arn("cloudwatch", f"alarm:{name}"),
        "ActionsEnabled": True,
        "AlarmActions": [scene.topic],
        "StateValue": "OK",
        "StateReason": "Threshold Crossed: 1 datapoint was not greater than the threshold",
        "StateUpdatedTimestamp": scene.before(hours=3),
        "MetricName": "CPUUtilization",
        "Namespace": "AWS/ECS",
        "Statistic": "Average",
        "Dimensions": [
            {"Name": "ClusterName", "Value": scene.cluster},
            {"Name": "ServiceName", "Value": scene.service(agent)},
        ],
        "Period": 300,
        "EvaluationPeriods": 2,
        "Threshold": 80.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "missing",
        **more,
    }


def _alarms(scene: Scene, changes: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return all alarms of the template; changes are by the end of an alarm's name."""
    return [
        _alarm(scene, agent, kind, **changes.get(f"{agent}-{kind}", {}))
        for agent in scene.agents
        for kind in KINDS
    ]


def _described(good: Any, bad: Any) -> tuple[Answer, ...]:
    return (Answer(service="cloudwatch", operation="describe_alarms", good=good, bad=bad),)


def _pages(alarms: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Return alarms on two pages, of which the second has the last three."""
    return (
        {"MetricAlarms": alarms[:-3], "CompositeAlarms": [], "NextToken": "2"},
        {"MetricAlarms": alarms[-3:], "CompositeAlarms": []},
    )


ALARM = {"StateValue": "ALARM", "StateReason": "Threshold Crossed: 2 datapoints were greater"}


@in_responses("monitoring.alarms", wrong="An alarm on the second page of alarms is in ALARM.")
def alarm_on_the_second_page(scene: Scene) -> tuple[Answer, ...]:
    bad = _alarms(scene, {f"{scene.agents[-1]}-memory": ALARM})
    return _described(_pages(_alarms(scene, {})), _pages(bad))


@in_responses(
    "monitoring.alarms",
    wrong="The CPU alarm of a running agent has had no data for a week (INSUFFICIENT_DATA).",
)
def alarm_without_data(scene: Scene) -> tuple[Answer, ...]:
    blind = {
        "StateValue": "INSUFFICIENT_DATA",
        "StateReason": "Insufficient Data: 2 datapoints were unknown.",
        "StateUpdatedTimestamp": scene.before(days=7),
    }
    bad = _alarms(scene, {f"{scene.agents[2]}-cpu": blind})
    return _described(
        page(MetricAlarms=_alarms(scene, {}), CompositeAlarms=[]),
        page(MetricAlarms=bad, CompositeAlarms=[]),
    )


@in_responses(
    "monitoring.coverage",
    wrong="The environment has no alarm at all; the answer is an empty page.",
)
def no_alarms(scene: Scene) -> tuple[Answer, ...]:
    good = page(MetricAlarms=_alarms(scene, {}), CompositeAlarms=[])
    return _described(good, page(MetricAlarms=[], CompositeAlarms=[]))


@in_responses(
    wrong="Harmless: the alarms are on two pages, all of them in OK.",
)
def harmless_two_pages(scene: Scene) -> tuple[Answer, ...]:
    alarms = _alarms(scene, {})
    return _described(page(MetricAlarms=alarms, CompositeAlarms=[]), _pages(alarms))


def _subscriptions(scene: Scene, *bad: str) -> tuple[Answer, ...]:
    def subscribed(*arns: str) -> Any:
        found = [
            {
                "SubscriptionArn": arn,
                "Owner": scene.account,
                "Protocol": "email",
                "Endpoint": "operations@example.com",
                "TopicArn": scene.topic,
            }
            for arn in arns
        ]
        return page(Subscriptions=found)

    return (
        Answer(
            service="sns",
            operation="list_subscriptions_by_topic",
            arguments={"TopicArn": scene.topic},
            good=subscribed(f"{scene.topic}:12345678-1234-1234-1234-123456789012"),
            bad=subscribed(*bad),
        ),
    )


@in_responses("monitoring.actions", wrong="The topic of alarms has no subscription.")
def topic_without_subscription(scene: Scene) -> tuple[Answer, ...]:
    return _subscriptions(scene)


@in_responses(
    "monitoring.actions", wrong="The only subscription was never confirmed (PendingConfirmation)."
)
def subscription_not_confirmed(scene: Scene) -> tuple[Answer, ...]:
    return _subscriptions(scene, "PendingConfirmation")


@in_responses("integration.alarm", wrong="A raised alarm's notification never reaches the queue.")
def notification_never_arrives(scene: Scene) -> tuple[Answer, ...]:
    message = {
        "MessageId": "12345678-1234-1234-1234-123456789012",
        "ReceiptHandle": "AQEB",
        "Body": f'{{"Type": "Notification", "TopicArn": "{scene.topic}", "Message": "{{}}"}}',
    }
    return (
        Answer(
            service="sqs",
            operation="receive_message",
            good=page(Messages=[message]),
            bad=(NOTHING,),
        ),
    )


def _events(scene: Scene, *times: datetime) -> tuple[Mapping[str, Any], ...]:
    found = [
        {
            "logStreamName": f"{scene.agents[0]}/{scene.agents[0]}-agent/{'0' * 31}a",
            "timestamp": int(time.timestamp() * 1000),
            "ingestionTime": int(time.timestamp() * 1000),
            "message": "started",
            "eventId": "0",
        }
        for time in times
    ]
    return page(events=found, searchedLogStreams=[])


def _lines(scene: Scene, bad: Reply) -> tuple[Answer, ...]:
    good = _events(scene, scene.before(minutes=2))
    return (Answer(service="logs", operation="filter_log_events", good=good, bad=bad),)


@in_responses(
    "smoke.logs",
    wrong="The last lines of every task are of yesterday: logs stopped and tasks run on.",
)
def logs_of_yesterday(scene: Scene) -> tuple[Answer, ...]:
    return _lines(scene, _events(scene, scene.before(days=1)))


@in_responses(
    wrong="Harmless: a task's lines are on the second page; the first page of events is empty.",
)
def harmless_lines_on_the_second_page(scene: Scene) -> tuple[Answer, ...]:
    empty = {"events": [], "searchedLogStreams": [], "nextToken": "2"}
    return _lines(scene, (empty, *_events(scene, scene.before(minutes=2))))


def _log_group(scene: Scene, **key: str) -> tuple[Answer, ...]:
    def described(**encryption: str) -> tuple[Mapping[str, Any], ...]:
        group = {
            "logGroupName": scene.log_group,
            "arn": scene.arn("logs", f"log-group:{scene.log_group}:*"),
            "retentionInDays": 90,
            **encryption,
        }
        return page(logGroups=[group])

    return (
        Answer(
            service="logs",
            operation="describe_log_groups",
            good=described(kmsKeyId=scene.key),
            bad=described(**key),
        ),
    )


@in_responses("encryption.logs", wrong="The log group is not encrypted with a key of its own.")
def logs_without_key(scene: Scene) -> tuple[Answer, ...]:
    return _log_group(scene)


@in_responses("encryption.logs", wrong="The log group is encrypted with a key of another account.")
def logs_with_a_foreign_key(scene: Scene) -> tuple[Answer, ...]:
    return _log_group(scene, kmsKeyId=scene.key.replace(scene.account, "999999999999"))

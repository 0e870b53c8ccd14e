"""What breaks the checks of availability, performance, recovery, monitoring and the network."""

import datetime

from tests.unit.validation.production import names as good
from tests.unit.validation.production.access import ENCRYPTION, IAM
from tests.unit.validation.production.breaking import (
    Break,
    at,
    gone,
    measured,
    one_zone,
    opened,
    stray_group,
    without,
)
from tests.unit.validation.production.names import (
    AGENTS,
    PREFIX,
    SUPERVISOR,
    TABLES,
    group_of,
    now,
    revision,
)

SERVICE = ("ecs.DescribeServices", "services", 0)
GROUPS, ALARMS = ("logs.DescribeLogGroups", "logGroups", 0), "cloudwatch.DescribeAlarms"
RECOVERY = (
    f"dynamodb.DescribeContinuousBackups {TABLES[0]}",
    "ContinuousBackupsDescription",
    "PointInTimeRecoveryDescription",
)
DEPLOYMENT = (*SERVICE, "deploymentConfiguration")
LISTENERS, TARGETS = "elbv2.DescribeListeners", f"elbv2.DescribeTargetHealth {group_of(AGENTS[0])}"
SCALING = "application-autoscaling.DescribeScalableTargets"
PREVIOUS = f"ecs.DescribeTaskDefinition {revision(AGENTS[0], 1)}"
FIRST = f"{PREFIX}-{AGENTS[0]}"
OLD = now() - datetime.timedelta(hours=1)

AVAILABILITY = (
    Break("availability.desired", "an agent with one task", at(*SERVICE, desiredCount=1),
          f"{FIRST} wants 1 of 2 tasks"),
    Break("availability.zones", "all tasks in one zone", one_zone,
          f"{AGENTS[0]}: 2 tasks in us-east-1a"),
    Break("availability.deployment", "a deployment that stops all tasks",
          at(*DEPLOYMENT, minimumHealthyPercent=0), f"{FIRST} keeps 0 % of its tasks, not 50 %"),
    Break("availability.deployment", "no circuit breaker",
          without(*DEPLOYMENT, "deploymentCircuitBreaker"), f"{FIRST} has no circuit breaker"),
    Break("availability.deployment", "a circuit breaker without rollback",
          at(*DEPLOYMENT, "deploymentCircuitBreaker", rollback=False),
          f"{FIRST} does not roll back"),
    Break("availability.scaling", "the scaling target gone", at(SCALING, ScalableTargets=[]),
          f"{SUPERVISOR} is not scaled"),
    Break("availability.scaling", "other limits than those of acso.toml",
          at(SCALING, "ScalableTargets", 0, MaxCapacity=9), "from 2 to 9 tasks, not from 2 to 4"),
    Break("availability.scaling", "scaling suspended",
          at(SCALING, "ScalableTargets", 0, SuspendedState={"DynamicScalingOutSuspended": True}),
          "is suspended"),
    Break("availability.scaling", "the scaling policy gone",
          at("application-autoscaling.DescribeScalingPolicies", ScalingPolicies=[]),
          "has no policy"),
)  # fmt: skip
PERFORMANCE = (
    Break("performance.cpu", "an agent short of CPU", measured("cpu", 99.0, 90.0), "94.5 %"),
    Break("performance.memory", "an agent short of memory", measured("memory", 86.0), "86.0 %"),
    Break("performance.latency", "a minute of late answers", measured("latency", 0.1, 3.5),
          "3500.0 ms"),
    Break("performance.errors", "one answer of 50 an error", measured("errors", 20.0),
          "2.0 % of answers"),
    Break("performance.errors", "exactly the limit of errors", measured("errors", 10.0),
          "1.0 % of answers"),
)  # fmt: skip
RECOVERING = (
    Break("recovery.point-in-time", "point-in-time recovery off",
          at(*RECOVERY, PointInTimeRecoveryStatus="DISABLED"),
          f"{TABLES[0]}: point-in-time recovery is off"),
    Break("recovery.backups", "a last restorable moment an hour ago",
          at(*RECOVERY, LatestRestorableDateTime=OLD), f"{TABLES[0]}: last restorable "),
    Break("recovery.backups", "no restorable moment",
          without(*RECOVERY, "LatestRestorableDateTime"), "cannot be restored to any moment"),
    Break("recovery.previous", "a revision of the previous release inactive",
          at(PREVIOUS, "taskDefinition", status="INACTIVE"), f"{FIRST}:1 is inactive"),
    Break("recovery.previous", "a revision of the previous release gone", gone(PREVIOUS),
          f"{FIRST}:1 is gone"),
    Break("recovery.previous", "an image of the previous release gone",
          gone(f"ecr.DescribeImages acso-{AGENTS[0]}"), f"the image of {FIRST}:1 is gone"),
    Break("recovery.previous", "the record of the previous release gone",
          without("dynamodb.Query", "Items", 1), "r1 is not on record"),
    Break("recovery.previous", "a previous release that was rolled back",
          at("dynamodb.Query", "Items", 1, state={"S": "rolled_back"}), "r1 was rolled back"),
)  # fmt: skip
MONITORING = (
    Break("monitoring.coverage", "an alarm deleted", without(ALARMS, "MetricAlarms", 0),
          f"{AGENTS[0]} has no alarm of CPU"),
    Break("monitoring.coverage", "an alarm of another service",
          at(ALARMS, "MetricAlarms", 0, Dimensions=[{"Name": "ServiceName", "Value": "other"}]),
          f"{AGENTS[0]} has no alarm of CPU"),
    Break("monitoring.coverage", "an alarm that can never go off",
          at(ALARMS, "MetricAlarms", 0, Threshold=100.0), "can never go off"),
    Break("monitoring.actions", "an alarm's actions turned off",
          at(ALARMS, "MetricAlarms", 0, ActionsEnabled=False), "are off"),
    Break("monitoring.actions", "an alarm that notifies another topic",
          at(ALARMS, "MetricAlarms", 0, AlarmActions=[f"{good.TOPIC}2"]), "does not notify"),
    Break("monitoring.actions", "a topic without subscriptions",
          at("sns.ListSubscriptionsByTopic", Subscriptions=[]),
          "team@example.com is not subscribed"),
    Break("monitoring.actions", "a subscription that nobody confirmed",
          at("sns.ListSubscriptionsByTopic", "Subscriptions", 0,
             SubscriptionArn="PendingConfirmation"), "has not confirmed its subscription"),
    Break("monitoring.alarms", "an alarm that has gone off",
          at(ALARMS, "MetricAlarms", 7, StateValue="ALARM", StateReason="1 > 0"), "1 > 0"),
    Break("monitoring.logs-retention", "logs kept for ever", without(*GROUPS, "retentionInDays"),
          "keeps all days"),
    Break("monitoring.logs-retention", "logs kept too shortly", at(*GROUPS, retentionInDays=7),
          f"{good.GROUP} keeps 7 days"),
)  # fmt: skip
NETWORK = (
    Break("network.open-ports", "a range of ports open to the world in IPv6",
          opened(1, IpProtocol="tcp", FromPort=20, ToPort=25, Ipv6Ranges=[{"CidrIpv6": "::/0"}]),
          f"{PREFIX}-tasks opens tcp 20-25 to ::/0"),
    Break("network.open-ports", "half of the internet let in",
          opened(1, IpProtocol="tcp", FromPort=22, ToPort=22, IpRanges=[{"CidrIp": "128.0.0.0/1"}]),
          "opens tcp 22 to 128.0.0.0/1"),
    Break("network.open-ports", "another port of the load balancer open",
          opened(0, IpProtocol="tcp", FromPort=8080, ToPort=8080,
                 IpRanges=[{"CidrIp": "0.0.0.0/0"}]), "opens tcp 8080 to 0.0.0.0/0"),
    Break("network.open-ports", "a group added by hand, open for every protocol", stray_group,
          "by-hand opens every protocol and port to 0.0.0.0/0"),
    Break("network.private-subnets", "tasks with public addresses",
          at(*SERVICE, "networkConfiguration", "awsvpcConfiguration", assignPublicIp="ENABLED"),
          f"{FIRST} gives its tasks public addresses"),
    Break("network.private-subnets", "a subnet with a route to an internet gateway",
          at("ec2.DescribeRouteTables", "RouteTables", 0,
             Routes=[{"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1"}]),
          "subnet subnet-1 has a route to an internet gateway"),
    Break("network.tls", "an old policy of TLS",
          at(LISTENERS, "Listeners", 1, SslPolicy="ELBSecurityPolicy-2016-08"),
          "port 443 has the policy ELBSecurityPolicy-2016-08"),
    Break("network.tls", "HTTP that is not redirected",
          at(LISTENERS, "Listeners", 0, DefaultActions=[{"Type": "forward"}]),
          "port 80 does not redirect to HTTPS"),
    Break("network.tls", "no listener with TLS", without(LISTENERS, "Listeners", 1),
          "there is no listener with TLS"),
    Break("network.certificate", "a certificate that ends in a week",
          at("acm.DescribeCertificate", "Certificate",
             NotAfter=now() + datetime.timedelta(days=7)), "it ends in 7 days"),
    Break("network.certificate", "a certificate that is not issued",
          at("acm.DescribeCertificate", "Certificate", Status="PENDING_VALIDATION"),
          "it is PENDING_VALIDATION"),
    Break("network.endpoints", "an endpoint deleted",
          without("ec2.DescribeVpcEndpoints", "VpcEndpoints", 0), "the endpoint of s3 is missing"),
    Break("network.endpoints", "a NAT gateway that failed",
          at("ec2.DescribeNatGateways", "NatGateways", 0, State="failed"),
          "NAT gateway nat-1 is failed"),
    Break("network.endpoints", "a private subnet without a way out",
          at("ec2.DescribeRouteTables", "RouteTables", 0, Routes=[]),
          "1 of 2 private subnets have no way out"),
    Break("network.endpoints", "one NAT gateway where acso.toml wants one in each zone",
          lambda _: None, "1 of 2 NAT gateways are available", {"nat": "per-zone"}),
    Break("network.targets", "a target that is not healthy",
          at(TARGETS, "TargetHealthDescriptions", 0, "TargetHealth", State="unhealthy"),
          f"{AGENTS[0]}: 10.0.0.1 is unhealthy"),
    Break("network.targets", "a task that is no target",
          without(TARGETS, "TargetHealthDescriptions", 0), f"{AGENTS[0]} has 1 of 2 targets"),
)  # fmt: skip
BREAKS = (*IAM, *ENCRYPTION, *AVAILABILITY, *PERFORMANCE, *RECOVERING, *MONITORING, *NETWORK)

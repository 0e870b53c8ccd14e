"""What runs in a good environment, its network, and what is measured of it."""

import datetime

from tests.unit.validation.production.names import (
    AGENTS,
    ARN,
    CERTIFICATE,
    DIGEST,
    EXECUTION,
    METRICS,
    PREFIX,
    REGION,
    ROLES,
    SUBNETS,
    SUPERVISOR,
    TOPIC,
    group_of,
    now,
    revision,
)
from tests.unit.validation.production.wire import Answer


def ecs() -> dict[str, Answer]:
    found: dict[str, Answer] = {
        "ecs.DescribeClusters": {"clusters": [{"status": "ACTIVE"}]},
        "ecs.ListServices": {"serviceArns": [f"a/{PREFIX}-{agent}" for agent in AGENTS]},
        "ecs.DescribeServices": {"services": [_service(agent) for agent in AGENTS]},
        "ecs.ListTasks": {"taskArns": [f"t/{a}-{n}" for a in AGENTS for n in (1, 2)]},
        "ecs.DescribeTasks": {"tasks": [_task(a, n) for a in AGENTS for n in (1, 2)]},
    }
    for agent in AGENTS:
        for number in (1, 2):
            found[f"ecs.DescribeTaskDefinition {revision(agent, number)}"] = {
                "taskDefinition": {
                    "taskDefinitionArn": revision(agent, number),
                    "status": "ACTIVE",
                    "taskRoleArn": f"{ROLES}{PREFIX}-{agent}-task",
                    "executionRoleArn": ROLES + EXECUTION,
                    "containerDefinitions": [
                        {"name": f"{agent}-agent", "image": f"host/acso-{agent}@{DIGEST}"}
                    ],
                }
            }
        found[f"ecr.DescribeImages acso-{agent}"] = {"imageDetails": [{"imageDigest": DIGEST}]}
    return found


def _service(agent: str) -> Answer:
    return {
        "serviceName": f"{PREFIX}-{agent}",
        "status": "ACTIVE",
        "taskDefinition": revision(agent),
        "desiredCount": 2,
        "runningCount": 2,
        "deploymentConfiguration": {
            "minimumHealthyPercent": 100,
            "maximumPercent": 200,
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
        },
        "networkConfiguration": {
            "awsvpcConfiguration": {"subnets": list(SUBNETS), "assignPublicIp": "DISABLED"}
        },
        "loadBalancers": [{"targetGroupArn": group_of(agent), "containerName": f"{agent}-agent"}],
    }


def _task(agent: str, number: int) -> Answer:
    details = [{"name": "subnetId", "value": f"subnet-{number}"}]
    return {
        "taskArn": f"t/{agent}-{number}",
        "taskDefinitionArn": revision(agent),
        "group": f"service:{PREFIX}-{agent}",
        "lastStatus": "RUNNING",
        "availabilityZone": f"{REGION}{'ab'[number - 1]}",
        "attachments": [{"details": details}],
    }


def network() -> dict[str, Answer]:
    web = [_open("tcp", 80, "0.0.0.0/0"), _open("tcp", 443, "0.0.0.0/0")]
    inner = {"IpProtocol": "tcp", "FromPort": 8000, "ToPort": 8000, "UserIdGroupPairs": []}
    redirect = {
        "Type": "redirect",
        "RedirectConfig": {"Protocol": "HTTPS", "StatusCode": "HTTP_301"},
    }
    listeners = [
        {"Port": 80, "Protocol": "HTTP", "DefaultActions": [redirect]},
        {
            "Port": 443,
            "Protocol": "HTTPS",
            "SslPolicy": "ELBSecurityPolicy-TLS13-1-2-2021-06",
            "Certificates": [{"CertificateArn": CERTIFICATE}],
            "DefaultActions": [{"Type": "fixed-response"}],
        },
    ]
    tables = [
        {
            "RouteTableId": f"rtb-{n}",
            "Associations": [{"Main": False, "SubnetId": f"subnet-{n}"}],
            "Routes": [{"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": "nat-1"}],
        }
        for n in (1, 2)
    ]
    endpoints = [
        {"ServiceName": f"com.amazonaws.{REGION}.{name}", "State": "available"}
        for name in ("s3", "dynamodb")
    ]
    certificate = {
        "DomainName": "acso.example.com",
        "Status": "ISSUED",
        "NotAfter": now() + datetime.timedelta(days=200),
    }
    return {
        "ec2.DescribeSecurityGroups": {
            "SecurityGroups": [
                {"GroupId": "sg-1", "GroupName": f"{PREFIX}-load-balancer", "IpPermissions": web},
                {"GroupId": "sg-2", "GroupName": f"{PREFIX}-tasks", "IpPermissions": [inner]},
            ]
        },
        "ec2.DescribeRouteTables": {"RouteTables": tables},
        "ec2.DescribeVpcEndpoints": {"VpcEndpoints": endpoints},
        "ec2.DescribeNatGateways": {
            "NatGateways": [{"NatGatewayId": "nat-1", "State": "available"}]
        },
        "elbv2.DescribeListeners": {"Listeners": listeners},
        "acm.DescribeCertificate": {"Certificate": certificate},
        **{
            f"elbv2.DescribeTargetHealth {group_of(agent)}": {
                "TargetHealthDescriptions": [
                    {"Target": {"Id": f"10.0.0.{n}"}, "TargetHealth": {"State": "healthy"}}
                    for n in (1, 2)
                ]
            }
            for agent in AGENTS
        },
    }


def _open(protocol: str, port: int, cidr: str) -> Answer:
    return {
        "IpProtocol": protocol,
        "FromPort": port,
        "ToPort": port,
        "IpRanges": [{"CidrIp": cidr}],
    }


def _alarm(agent: str, name: str) -> Answer:
    namespace, metric, threshold = METRICS[name]
    place = (
        {"Name": "ServiceName", "Value": f"{PREFIX}-{agent}"}
        if namespace == "AWS/ECS"
        else {"Name": "TargetGroup", "Value": f"targetgroup/{agent}/1"}
    )
    return {
        "AlarmName": f"{PREFIX}-{agent}-{name}",
        "Namespace": namespace,
        "MetricName": metric,
        "Dimensions": [place],
        "Threshold": threshold,
        "ComparisonOperator": "GreaterThanThreshold",
        "Period": 60,
        "EvaluationPeriods": 5,
        "StateValue": "OK",
        "StateReason": "fine",
        "ActionsEnabled": True,
        "AlarmActions": [TOPIC],
        "AlarmConfigurationUpdatedTimestamp": now() - datetime.timedelta(days=1),
    }


def seen() -> dict[str, Answer]:
    values = {
        "cpu": [20.0, 30.0],
        "memory": [40.0],
        "latency": [0.2, 0.4],
        "requests": [500.0, 500.0],
        "errors": [1.0],
    }
    results = [
        {"Id": f"{name}{n}", "Label": name, "StatusCode": "Complete", "Values": found}
        for n in range(len(AGENTS))
        for name, found in values.items()
    ]
    resource = f"service/{PREFIX}-cluster/{SUPERVISOR}"
    scaling = {"ServiceNamespace": "ecs", "ResourceId": resource}
    dimension = {"ScalableDimension": "ecs:service:DesiredCount"}
    return {
        "cloudwatch.DescribeAlarms": {
            "MetricAlarms": [_alarm(agent, name) for agent in AGENTS for name in METRICS]
        },
        "cloudwatch.GetMetricData": {"MetricDataResults": results},
        "application-autoscaling.DescribeScalableTargets": {
            "ScalableTargets": [
                scaling
                | dimension
                | {
                    "MinCapacity": 2,
                    "MaxCapacity": 4,
                    "RoleARN": ROLES + "scaling",
                    "CreationTime": now(),
                }
            ]
        },
        "application-autoscaling.DescribeScalingPolicies": {
            "ScalingPolicies": [
                scaling
                | dimension
                | {
                    "PolicyName": "cpu",
                    "PolicyARN": ARN.format("autoscaling", "policy"),
                    "PolicyType": "TargetTrackingScaling",
                    "CreationTime": now(),
                }
            ]
        },
    }

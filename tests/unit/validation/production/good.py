"""A production environment in which everything is as it should be, as AWS describes it."""

import json
from dataclasses import replace
from typing import Any

from ci.aws.target import Target
from tests.unit.validation.production.names import (
    AGENTS,
    ARN,
    BALANCER,
    BUCKET,
    CONFIG,
    DEPLOY,
    DIGEST,
    EXECUTION,
    GROUP,
    ISSUER,
    KEY,
    METRICS,
    NUMBER,
    PEOPLE,
    PREFIX,
    REGION,
    ROLES,
    SUBNETS,
    TABLES,
    TOPIC,
    VPC,
    now,
    policy,
    revision,
    statement,
)
from tests.unit.validation.production.running import ecs, network, seen
from tests.unit.validation.production.wire import Account, Answer, FakeAws
from validation.model import CheckContext
from validation.production.iam import DANGEROUS


def context(**changes: Any) -> CheckContext:
    """Return what checks run on; with changes of the environment."""
    env = replace(CONFIG.environment("production"), **changes)
    target = Target(aws=FakeAws(region=REGION), config=CONFIG, env=env)
    return CheckContext(**vars(target), url="https://acso.example.com")


def account() -> Account:
    """Return an account with the environment."""
    return Account(answers={**_stack(), **_roles(), **_data(), **ecs(), **network(), **seen()})


def _stack() -> dict[str, Answer]:
    outputs = {
        "KeyArn": KEY,
        "Topic": TOPIC,
        "ReleasesTable": TABLES[1],
        "Subnets": ",".join(SUBNETS),
    }
    stack = {
        "StackName": PREFIX,
        "StackStatus": "CREATE_COMPLETE",
        "CreationTime": now(),
        "Parameters": [{"ParameterKey": "Embedded", "ParameterValue": "false"}],
        "Outputs": [{"OutputKey": k, "OutputValue": v} for k, v in outputs.items()],
    }
    resources = {
        "Vpc": ("AWS::EC2::VPC", VPC),
        "LoadBalancer": ("AWS::ElasticLoadBalancingV2::LoadBalancer", BALANCER),
        "LoadBalancerSecurity": ("AWS::EC2::SecurityGroup", "sg-1"),
        "TaskSecurity": ("AWS::EC2::SecurityGroup", "sg-2"),
        "Key": ("AWS::KMS::Key", "1"),
        "Alerts": ("AWS::SNS::Topic", TOPIC),
        "Logs": ("AWS::Logs::LogGroup", GROUP),
        "AccessLogBucket": ("AWS::S3::Bucket", BUCKET),
        "AgentsTable": ("AWS::DynamoDB::Table", TABLES[0]),
        "Releases": ("AWS::DynamoDB::Table", TABLES[1]),
        "PeopleToken": ("AWS::SecretsManager::Secret", PEOPLE),
        "ExecutionRole": ("AWS::IAM::Role", EXECUTION),
        "DeployRole": ("AWS::IAM::Role", DEPLOY),
        **{f"Role{a}": ("AWS::IAM::Role", f"{PREFIX}-{a}-task") for a in AGENTS},
        **{
            f"{name}{a}": ("AWS::CloudWatch::Alarm", f"{PREFIX}-{a}-{name}")
            for a in AGENTS
            for name in METRICS
        },
    }
    listed = [
        {
            "LogicalResourceId": name,
            "ResourceType": kind,
            "PhysicalResourceId": id_,
            "LastUpdatedTimestamp": now(),
            "ResourceStatus": "CREATE_COMPLETE",
        }
        for name, (kind, id_) in resources.items()
    ]
    return {
        "cloudformation.DescribeStacks": {"Stacks": [stack]},
        "cloudformation.ListStackResources": {"StackResourceSummaries": listed},
    }


def _role(name: str, trust: Answer, *statements: Answer) -> Answer:
    return {
        "RoleName": name,
        "Arn": ROLES + name,
        "AssumeRolePolicyDocument": policy(trust),
        "RolePolicyList": [{"PolicyName": "own", "PolicyDocument": policy(*statements)}],
        "AttachedManagedPolicies": [],
    }


def _roles() -> dict[str, Answer]:
    ecs = {
        "Effect": "Allow",
        "Principal": {"Service": "ecs-tasks.amazonaws.com"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": NUMBER}},
    }
    github = {
        "Effect": "Allow",
        "Principal": {"Federated": f"arn:aws:iam::{NUMBER}:oidc-provider/{ISSUER}"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {
            "StringEquals": {f"{ISSUER}:aud": "sts.amazonaws.com", f"{ISSUER}:sub": ["repo:a/b"]}
        },
    }
    table = ARN.format("dynamodb", f"table/{TABLES[0]}")
    passing = statement(
        "iam:PassRole",
        f"{ROLES}{PREFIX}-*",
        Condition={"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
    )
    read = statement("ecr:GetAuthorizationToken", "*")
    roles = [
        _role(EXECUTION, ecs, read),
        _role(DEPLOY, github, passing, statement("logs:DescribeLogGroups", "*")),
        _role("somebody-elses", ecs | {"Principal": {"AWS": "*"}}, statement("*", "*")),
        *(_role(f"{PREFIX}-{a}-task", ecs, statement("dynamodb:GetItem", table)) for a in AGENTS),
    ]
    decisions = [{"EvalActionName": name, "EvalDecision": "implicitDeny"} for name in DANGEROUS]
    return {
        "iam.GetAccountAuthorizationDetails": {"RoleDetailList": roles, "Policies": []},
        "iam.SimulatePrincipalPolicy": {"EvaluationResults": decisions},
        "accessanalyzer.ValidatePolicy": {"findings": []},
    }


def _data() -> dict[str, Answer]:
    denied = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": "*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    blocks = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    key = {
        "KeyId": "1",
        "Arn": KEY,
        "KeyState": "Enabled",
        "KeyManager": "CUSTOMER",
    }
    tables = {
        f"dynamodb.DescribeTable {name}": {
            "Table": {
                "TableName": name,
                "TableStatus": "ACTIVE",
                "SSEDescription": {
                    "Status": "ENABLED",
                    "SSEType": "KMS",
                    "KMSMasterKeyArn": KEY,
                },
            }
        }
        for name in TABLES
    }
    backups = {
        f"dynamodb.DescribeContinuousBackups {name}": {
            "ContinuousBackupsDescription": {
                "ContinuousBackupsStatus": "ENABLED",
                "PointInTimeRecoveryDescription": {
                    "PointInTimeRecoveryStatus": "ENABLED",
                    "LatestRestorableDateTime": now(),
                },
            }
        }
        for name in TABLES
    }
    repositories = [
        {
            "repositoryName": f"acso-{agent}",
            "encryptionConfiguration": {"encryptionType": "KMS"},
            "imageScanningConfiguration": {"scanOnPush": True},
            "imageTagMutability": "IMMUTABLE",
        }
        for agent in AGENTS
    ]
    group = {"logGroupName": GROUP, "kmsKeyId": KEY, "retentionInDays": 90}
    return {
        "logs.DescribeLogGroups": {"logGroups": [group]},
        f"kms.DescribeKey {KEY}": {"KeyMetadata": key},
        f"kms.DescribeKey alias/{PREFIX}-key": {"KeyMetadata": dict(key)},
        "kms.GetKeyRotationStatus": {"KeyRotationEnabled": True},
        "s3.ListBuckets": {"Buckets": [{"Name": BUCKET}, {"Name": "acso-staging-other"}]},
        "s3.GetBucketEncryption": {"ServerSideEncryptionConfiguration": {"Rules": [rule]}},
        "s3.GetPublicAccessBlock": {"PublicAccessBlockConfiguration": dict.fromkeys(blocks, True)},
        "s3.GetBucketPolicy": {"Policy": json.dumps(policy(denied))},
        "dynamodb.ListTables": {"TableNames": [*TABLES, "acso-staging-agents"]},
        **tables,
        **backups,
        "dynamodb.Query": {"Items": [_release(2, "validating"), _release(1, "succeeded")]},
        "ecr.DescribeRepositories": {"repositories": repositories},
        "sns.ListTopics": {"Topics": [{"TopicArn": TOPIC}]},
        "sns.GetTopicAttributes": {"Attributes": {"KmsMasterKeyId": KEY}},
        "sns.ListSubscriptionsByTopic": {
            "Subscriptions": [
                {"Endpoint": "team@example.com", "SubscriptionArn": f"{TOPIC}:1"},
            ]
        },
        "secretsmanager.ListSecrets": {
            "SecretList": [{"ARN": PEOPLE, "Name": "PeopleToken", "KmsKeyId": KEY}]
        },
    }


def _release(number: int, state: str) -> Answer:
    entries = [
        {
            "agent": agent,
            "service": f"{PREFIX}-{agent}",
            "after": {"revision": revision(agent, number), "digest": DIGEST},
        }
        for agent in AGENTS
    ]
    body = {"id": f"r{number}", "base": "r1" if number > 1 else "", "entries": entries}
    texts = {"pk": "release", "sk": str(number), "state": state, "owner": "me"}
    return {k: {"S": v} for k, v in (texts | {"body": json.dumps(body)}).items()}

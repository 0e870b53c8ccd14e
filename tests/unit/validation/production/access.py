"""What breaks the checks of roles and of encryption."""

from tests.unit.validation.production import names as good
from tests.unit.validation.production.breaking import (
    TASK,
    Break,
    allow,
    at,
    attach,
    gone,
    managed,
    stray_table,
    trusted,
    without,
)
from tests.unit.validation.production.names import (
    AGENTS,
    EXECUTION,
    ISSUER,
    KEY,
    PREFIX,
    TABLES,
    statement,
)

GROUPS = ("logs.DescribeLogGroups", "logGroups", 0)
TABLE = f"dynamodb.DescribeTable {TABLES[0]}"
PASSED = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}

IAM = (
    Break(
        "iam.attached-policies",
        "AdministratorAccess attached to a task's role",
        attach(TASK, "arn:aws:iam::aws:policy/AdministratorAccess"),
        f"{TASK} has AdministratorAccess",
    ),
    Break(
        "iam.attached-policies",
        "a FullAccess policy attached to the execution role",
        attach(EXECUTION, "arn:aws:iam::aws:policy/CloudWatchLogsFullAccess"),
        f"{EXECUTION} has CloudWatchLogsFullAccess",
    ),
    Break(
        "iam.inline-wildcards",
        "an inline statement with all actions of a service",
        allow(TASK, statement("s3:*", "arn:aws:s3:::one")),
        f"{TASK}, own: allows s3:*",
    ),
    Break(
        "iam.inline-wildcards",
        "a change of every resource",
        allow(TASK, statement(["dynamodb:PutItem"], "*")),
        f"{TASK}, own: allows dynamodb:PutItem on *",
    ),
    Break(
        "iam.inline-wildcards",
        "a change of every resource of a type",
        allow(TASK, statement("dynamodb:PutItem", "arn:aws:dynamodb:*:*:table/*")),
        "allows dynamodb:PutItem on arn:aws:dynamodb:*:*:table/*",
    ),
    Break(
        "iam.inline-wildcards",
        "all actions but some",
        allow(TASK, {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}),
        "allows all but some (NotAction)",
    ),
    Break(
        "iam.inline-wildcards",
        "a customer-managed policy that allows everything",
        managed,
        f"{TASK}, everything: allows *",
    ),
    Break(
        "iam.pass-role",
        "iam:PassRole of every role",
        allow(TASK, statement("iam:Pass*", "*", Condition=PASSED)),
        "iam:PassRole of *, which is no role of the environment",
    ),
    Break(
        "iam.pass-role",
        "iam:PassRole to any service",
        allow(TASK, statement("iam:PassRole", f"{good.ROLES}{PREFIX}-x")),
        "iam:PassRole to any service",
    ),
    Break(
        "iam.trust",
        "a role that trusts everybody",
        trusted(TASK, Principal={"AWS": "*"}),
        f"{TASK} trusts everybody",
    ),
    Break(
        "iam.trust",
        "a task's role that another service may assume",
        trusted(TASK, Principal={"Service": "lambda.amazonaws.com"}),
        f"{TASK} trusts lambda.amazonaws.com, not ecs-tasks.amazonaws.com alone",
    ),
    Break(
        "iam.trust",
        "a task's role without the account in its condition",
        trusted(TASK, Condition={}),
        f"{TASK} trusts ecs-tasks.amazonaws.com on behalf of any account",
    ),
    Break(
        "iam.trust",
        "an identity provider without the exact subject",
        trusted(
            good.DEPLOY,
            Condition={
                "StringEquals": {f"{ISSUER}:aud": "sts.amazonaws.com"},
                "StringLike": {f"{ISSUER}:sub": "repo:*"},
            },
        ),
        f"{good.DEPLOY} trusts tokens of any `sub`",
    ),
    Break(
        "iam.simulate",
        "IAM allows a task's role to pass roles",
        at("iam.SimulatePrincipalPolicy", "EvaluationResults", 9, EvalDecision="allowed"),
        "may do iam:PassRole on everything",
    ),
    Break(
        "iam.access-analyzer",
        "a security warning of Access Analyzer",
        at(
            "accessanalyzer.ValidatePolicy",
            findings=[
                {
                    "findingType": "SECURITY_WARNING",
                    "issueCode": "PASS_ROLE_WITH_STAR_IN_RESOURCE",
                    "findingDetails": "too broad",
                    "learnMoreLink": "https://docs",
                    "locations": [],
                }
            ],
        ),
        "PASS_ROLE_WITH_STAR_IN_RESOURCE (too broad)",
    ),
)
ENCRYPTION = (
    Break("encryption.logs", "a log group without a key", without(*GROUPS, "kmsKeyId"),
          f"{good.GROUP} has no KMS key"),
    Break("encryption.logs", "the key of the logs disabled",
          at(f"kms.DescribeKey {KEY}", "KeyMetadata", KeyState="Disabled"), "the key is Disabled"),
    Break("encryption.s3", "a bucket that may be public",
          at("s3.GetPublicAccessBlock", "PublicAccessBlockConfiguration", BlockPublicAcls=False),
          "may be public (BlockPublicAcls off)"),
    Break("encryption.s3", "a bucket without any block of public access",
          gone("s3.GetPublicAccessBlock"), "may be public"),
    Break("encryption.s3", "a bucket reached without TLS", gone("s3.GetBucketPolicy"),
          f"{good.BUCKET} is reached without TLS"),
    Break("encryption.s3", "a bucket added by hand, without a KMS key",
          lambda account: account["s3.ListBuckets"]["Buckets"].append({"Name": f"{PREFIX}-x"}),
          f"{PREFIX}-x is encrypted with AES256, not with a KMS key"),
    Break("encryption.dynamodb", "a table with DynamoDB's own key",
          without(TABLE, "Table", "SSEDescription"), f"{TABLES[0]}: no KMS key"),
    Break("encryption.dynamodb", "a table with another key",
          at(TABLE, "Table", "SSEDescription", KMSMasterKeyArn=f"{KEY}2"),
          "another key than the environment's"),
    Break("encryption.dynamodb", "a table added by hand, without a key", stray_table,
          f"{PREFIX}-extra: no KMS key"),
    Break("encryption.ecr", "a repository whose tags can be moved",
          at("ecr.DescribeRepositories", "repositories", 0, imageTagMutability="MUTABLE"),
          f"acso-{AGENTS[0]} has tags that can be moved"),
    Break("encryption.ecr", "a repository without scans",
          at("ecr.DescribeRepositories", "repositories", 0,
             imageScanningConfiguration={"scanOnPush": False}), "is not scanned on push"),
    Break("encryption.sns", "a topic without a key",
          without("sns.GetTopicAttributes", "Attributes", "KmsMasterKeyId"),
          f"{PREFIX}-alerts: no KMS key"),
    Break("encryption.secrets", "a secret with the account's key",
          without("secretsmanager.ListSecrets", "SecretList", 0, "KmsKeyId"),
          "PeopleToken has no KMS key"),
    Break("encryption.keys", "the key pending deletion",
          at(f"kms.DescribeKey {KEY}", "KeyMetadata", KeyState="PendingDeletion"),
          "the key is PendingDeletion"),
    Break("encryption.keys", "rotation turned off",
          at("kms.GetKeyRotationStatus", KeyRotationEnabled=False), "the key is not rotated"),
    Break("encryption.keys", "the alias gone", gone(f"kms.DescribeKey alias/{PREFIX}-key"),
          f"alias/{PREFIX}-key is another key"),
)  # fmt: skip

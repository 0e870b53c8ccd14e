"""Responses about data at rest: encryption and recovery of tables, buckets and topics."""

import json
from typing import Any

from tests.validation.faults.fault import in_responses
from tests.validation.faults.scene import Answer, Refusal, Scene, page

ENABLED, DISABLED = "ENABLED", "DISABLED"


def _table(scene: Scene, name: str, **more: Any) -> dict[str, Any]:
    table = scene.table(name)
    return {
        "Table": {
            "TableName": table,
            "TableArn": scene.arn("dynamodb", f"table/{table}"),
            "TableStatus": "ACTIVE",
            "ItemCount": 120,
            **more,
        }
    }


def _described(scene: Scene, name: str, good: Any, bad: Any) -> Answer:
    return Answer(
        service="dynamodb",
        operation="describe_table",
        arguments={"TableName": scene.table(name)},
        good=(_table(scene, name, **good),),
        bad=(_table(scene, name, **bad),),
    )


def _sse(scene: Scene, **more: Any) -> dict[str, Any]:
    found = {"Status": ENABLED, "SSEType": "KMS", "KMSMasterKeyArn": scene.key}
    return {"SSEDescription": found | more}


@in_responses(
    "encryption.dynamodb",
    wrong="The agents' table has the default encryption, not a KMS key (no SSEDescription).",
)
def table_without_key(scene: Scene) -> tuple[Answer, ...]:
    return (_described(scene, "agents", _sse(scene), {}),)


@in_responses(
    "encryption.dynamodb",
    wrong="The key of the table of releases cannot be used: the table is archived in a week.",
)
def table_with_inaccessible_key(scene: Scene) -> tuple[Answer, ...]:
    bad = _sse(scene, InaccessibleEncryptionDateTime=scene.before(hours=5)) | {
        "TableStatus": "INACCESSIBLE_ENCRYPTION_CREDENTIALS"
    }
    return (_described(scene, "releases", _sse(scene), bad),)


def _backups(status: str, **more: Any) -> dict[str, Any]:
    recovery = {"PointInTimeRecoveryStatus": status, **more}
    return {
        "ContinuousBackupsDescription": {
            "ContinuousBackupsStatus": ENABLED,
            "PointInTimeRecoveryDescription": recovery,
        }
    }


def _restorable(scene: Scene, latest: Any) -> dict[str, Any]:
    return _backups(
        ENABLED,
        EarliestRestorableDateTime=scene.before(days=34),
        LatestRestorableDateTime=latest,
        RecoveryPeriodInDays=35,
    )


def _recovery(scene: Scene, name: str, bad: Any) -> Answer:
    return Answer(
        service="dynamodb",
        operation="describe_continuous_backups",
        arguments={"TableName": scene.table(name)},
        good=(_restorable(scene, scene.before(minutes=5)),),
        bad=(bad,),
    )


@in_responses(
    "recovery.point-in-time",
    wrong="Point-in-time recovery of the agents' table is off; its continuous backups are on.",
)
def recovery_off(scene: Scene) -> tuple[Answer, ...]:
    return (_recovery(scene, "agents", _backups(DISABLED)),)


@in_responses(
    "recovery.point-in-time",
    wrong="Point-in-time recovery is off for the table of release records alone.",
)
def recovery_off_for_releases(scene: Scene) -> tuple[Answer, ...]:
    return (_recovery(scene, "releases", _backups(DISABLED)),)


@in_responses(
    "recovery.backups",
    wrong="The latest time that a table can be restored to is three days ago.",
)
def recovery_behind(scene: Scene) -> tuple[Answer, ...]:
    return (_recovery(scene, "agents", _restorable(scene, scene.before(days=3))),)


@in_responses(
    "recovery.restore",
    wrong="A restore to a scratch table is refused: the key may not be used for it.",
)
def restore_refused(scene: Scene) -> tuple[Answer, ...]:
    created = _table(scene, "agents", TableStatus="CREATING")
    return (
        Answer(
            service="dynamodb",
            operation="restore_table_to_point_in_time",
            arguments={"SourceTableName": scene.table()},
            good=({"TableDescription": created["Table"]},),
            bad=Refusal(
                code="AccessDeniedException",
                message="The ciphertext refers to a customer master key that does not exist",
            ),
        ),
    )


@in_responses(
    "recovery.restore",
    wrong="A restored table is ACTIVE and has no items; its source has 120.",
)
def restored_table_is_empty(scene: Scene) -> tuple[Answer, ...]:
    source = scene.arn("dynamodb", f"table/{scene.table()}")
    summary = {
        "SourceTableArn": source,
        "RestoreDateTime": scene.before(minutes=10),
        "RestoreInProgress": False,
    }
    full, empty = (
        _table(scene, "agents-restored", RestoreSummary=summary, ItemCount=count)
        for count in (120, 0)
    )
    count = {"Select": "COUNT"}
    # A check names its scratch table itself, so these are for any table but the source.
    return (
        Answer(service="dynamodb", operation="describe_table", good=(full,), bad=(empty,)),
        Answer(
            service="dynamodb",
            operation="scan",
            arguments=count,
            good=page(Count=120, ScannedCount=120),
            bad=page(Count=0, ScannedCount=0),
        ),
    )


def _encryption(algorithm: str, **key: str) -> dict[str, Any]:
    default = {"SSEAlgorithm": algorithm, **key}
    rule = {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": bool(key)}
    return {"ServerSideEncryptionConfiguration": {"Rules": [rule]}}


@in_responses(
    "encryption.s3",
    wrong="A bucket of data is encrypted with S3's own key (AES256), not with KMS.",
)
def bucket_without_kms(scene: Scene) -> tuple[Answer, ...]:
    return (
        Answer(
            service="s3",
            operation="get_bucket_encryption",
            arguments={"Bucket": f"{scene.prefix}-artifacts"},
            good=(_encryption("aws:kms", KMSMasterKeyID=scene.key),),
            bad=(_encryption("AES256"),),
        ),
    )


@in_responses(
    wrong="Harmless: the bucket of access logs has AES256; ELB writes with nothing else.",
)
def harmless_access_log_bucket(scene: Scene) -> tuple[Answer, ...]:
    return (
        Answer(
            service="s3",
            operation="get_bucket_encryption",
            arguments={"Bucket": scene.bucket},
            good=(_encryption("aws:kms", KMSMasterKeyID=scene.key),),
            bad=(_encryption("AES256"),),
        ),
    )


def _bucket_policy(scene: Scene, *statements: dict[str, Any]) -> dict[str, Any]:
    delivery = {
        "Effect": "Allow",
        "Principal": {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{scene.bucket}/*",
    }
    document = {"Version": "2012-10-17", "Statement": [delivery, *statements]}
    return {"Policy": json.dumps(document)}


def _tls(scene: Scene, *resources: str, value: str = "false") -> dict[str, Any]:
    return {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [f"arn:aws:s3:::{scene.bucket}{item}" for item in resources],
        "Condition": {"Bool": {"aws:SecureTransport": value}},
    }


def _policy_answer(scene: Scene, bad: Any) -> Answer:
    return Answer(
        service="s3",
        operation="get_bucket_policy",
        arguments={"Bucket": scene.bucket},
        good=(_bucket_policy(scene, _tls(scene, "", "/*")),),
        bad=bad,
    )


@in_responses("encryption.s3", wrong="A bucket's policy does not refuse requests without TLS.")
def bucket_without_tls(scene: Scene) -> tuple[Answer, ...]:
    return (_policy_answer(scene, (_bucket_policy(scene),)),)


@in_responses(
    "encryption.s3",
    wrong="A bucket's policy refuses requests with TLS: the condition is inverted.",
)
def bucket_with_inverted_tls(scene: Scene) -> tuple[Answer, ...]:
    inverted = _bucket_policy(scene, _tls(scene, "", "/*", value="true"))
    return (_policy_answer(scene, (inverted,)),)


@in_responses("encryption.s3", wrong="A bucket has no policy at all.")
def bucket_without_policy(scene: Scene) -> tuple[Answer, ...]:
    missing = Refusal(code="NoSuchBucketPolicy", message="The bucket policy does not exist")
    return (_policy_answer(scene, missing),)


def _block(**more: bool) -> dict[str, Any]:
    names = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")
    return {"PublicAccessBlockConfiguration": dict.fromkeys(names, True) | more}


@in_responses(
    "encryption.s3",
    wrong="Three of a bucket's four blocks of public access are on; public policies are allowed.",
)
def bucket_half_blocked(scene: Scene) -> tuple[Answer, ...]:
    return (
        Answer(
            service="s3",
            operation="get_public_access_block",
            arguments={"Bucket": scene.bucket},
            good=(_block(),),
            bad=(_block(BlockPublicPolicy=False),),
        ),
    )


@in_responses("encryption.ecr", wrong="The supervisor's repository is encrypted without KMS.")
def repository_without_kms(scene: Scene) -> tuple[Answer, ...]:
    def described(**encryption: str) -> dict[str, Any]:
        name = "acso-supervisor"
        repository = {
            "repositoryName": name,
            "repositoryArn": scene.arn("ecr", f"repository/{name}"),
            "imageTagMutability": "IMMUTABLE",
            "imageScanningConfiguration": {"scanOnPush": True},
            "encryptionConfiguration": encryption,
        }
        return {"repositories": [repository]}

    return (
        Answer(
            service="ecr",
            operation="describe_repositories",
            good=(described(encryptionType="KMS", kmsKey=scene.key),),
            bad=(described(encryptionType="AES256"),),
        ),
    )


@in_responses("encryption.sns", wrong="The topic of alarms has no KMS key.")
def topic_without_key(scene: Scene) -> tuple[Answer, ...]:
    attributes = {"TopicArn": scene.topic, "SubscriptionsConfirmed": "1"}
    return (
        Answer(
            service="sns",
            operation="get_topic_attributes",
            arguments={"TopicArn": scene.topic},
            good=page(Attributes=attributes | {"KmsMasterKeyId": scene.key}),
            bad=page(Attributes=attributes),
        ),
    )


@in_responses(
    "encryption.sns",
    "monitoring.actions",
    wrong="The topic has AWS's own key (alias/aws/sns), with which alarms cannot publish.",
)
def topic_with_the_key_of_aws(scene: Scene) -> tuple[Answer, ...]:
    attributes = {"TopicArn": scene.topic, "SubscriptionsConfirmed": "1"}
    return (
        Answer(
            service="sns",
            operation="get_topic_attributes",
            arguments={"TopicArn": scene.topic},
            good=page(Attributes=attributes | {"KmsMasterKeyId": scene.key}),
            bad=page(Attributes=attributes | {"KmsMasterKeyId": "alias/aws/sns"}),
        ),
    )

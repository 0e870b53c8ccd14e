"""CloudFormation: keep what a template says of encryption and backups, which ministack drops.

Source of the properties: CloudFormation User Guide, AWS::DynamoDB::Table (SSESpecification,
PointInTimeRecoverySpecification, TimeToLiveSpecification), AWS::SNS::Topic (KmsMasterKeyId), and
AWS::S3::Bucket (BucketEncryption). Secrets Manager API Reference, SecretListEntry (KmsKeyId).
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ci.local.aws.patching import replace, replace_entry, require

Provision = Callable[..., Any]
Keep = Callable[[str, Mapping[str, Any]], None]


def apply(provisioners: Any) -> None:
    """Keep the properties, each as the service's own API would.

    Args:
        provisioners: ministack's module.
    """
    from ministack.services import alb, dynamodb, s3, secretsmanager, sns

    # CloudFormation User Guide, AWS::ElasticLoadBalancingV2::TargetGroup, TargetGroupFullName: for
    # example targetgroup/my-target-group/cbf133c568e0d028. Alarms have it as a dimension.
    replace(alb, "_target_group_full_name_from_arn", lambda _: lambda arn: arn.rpartition(":")[2])
    require(dynamodb, "_tables", "_sse_description_from_spec", "_update_continuous_backups")
    require(dynamodb, "_update_ttl")
    require(sns, "_topics")
    require(s3, "_put_bucket_encryption")
    require(secretsmanager, "_secrets")
    replace(secretsmanager, "_list_secrets", partial(with_keys, secretsmanager))
    kinds: Mapping[str, Keep] = {
        "AWS::DynamoDB::Table": partial(_keep_of_table, dynamodb),
        "AWS::SNS::Topic": partial(_keep_of_topic, sns),
        "AWS::S3::Bucket": partial(_keep_of_bucket, s3),
    }
    for kind, keep in kinds.items():
        for action in ("create", "update"):
            replace_entry(provisioners._RESOURCE_HANDLERS[kind], action, partial(keeping, keep))


def keeping(keep: Keep, original: Provision) -> Provision:
    """Return a provisioner that also keeps what the original drops."""

    def provision(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        properties = next(item for item in reversed(arguments) if isinstance(item, dict))
        keep(str(result[0]), properties)
        return result

    return provision


def _keep_of_table(dynamodb: Any, name: str, properties: Mapping[str, Any]) -> None:
    encryption = properties.get("SSESpecification")
    if encryption:
        request = {**encryption, "Enabled": _true(encryption.get("SSEEnabled"))}
        description = dynamodb._sse_description_from_spec(request)
        dynamodb._tables[name]["SSEDescription"] = description
    recovery = _true(
        properties.get("PointInTimeRecoverySpecification", {}).get("PointInTimeRecoveryEnabled")
    )
    specification = {"PointInTimeRecoveryEnabled": recovery}
    dynamodb._update_continuous_backups(
        {"TableName": name, "PointInTimeRecoverySpecification": specification}
    )
    if expiry := properties.get("TimeToLiveSpecification"):
        expiry = {**expiry, "Enabled": _true(expiry.get("Enabled"))}
        dynamodb._update_ttl({"TableName": name, "TimeToLiveSpecification": expiry})


def _keep_of_topic(sns: Any, arn: str, properties: Mapping[str, Any]) -> None:
    if key := properties.get("KmsMasterKeyId"):
        sns._topics[arn]["attributes"]["KmsMasterKeyId"] = key


def _keep_of_bucket(s3: Any, name: str, properties: Mapping[str, Any]) -> None:
    rules = properties.get("BucketEncryption", {}).get("ServerSideEncryptionConfiguration", ())
    for rule in rules:
        default = rule.get("ServerSideEncryptionByDefault", {})
        key = default.get("KMSMasterKeyID")
        named = f"<KMSMasterKeyID>{key}</KMSMasterKeyID>" if key else ""
        body = (
            '<ServerSideEncryptionConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            "<Rule><ApplyServerSideEncryptionByDefault>"
            f"<SSEAlgorithm>{default.get('SSEAlgorithm')}</SSEAlgorithm>{named}"
            "</ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
        )
        s3._put_bucket_encryption(name, body.encode())


def _true(value: object) -> bool:
    """Return a template's Boolean, which may be a text."""
    return str(value).lower() == "true"


def with_keys(secretsmanager: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    """Add the keys of secrets to their list."""

    def listed(data: dict[str, Any]) -> Any:
        status, headers, body = original(data)
        if status != 200:
            return status, headers, body
        answer = json.loads(body)
        keys = {item["ARN"]: item.get("KmsKeyId") for _, item in secretsmanager._secrets.items()}
        for entry in answer["SecretList"]:
            if key := keys.get(entry["ARN"]):
                entry["KmsKeyId"] = key
        return status, headers, json.dumps(answer).encode()

    return listed

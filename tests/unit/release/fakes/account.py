"""A world with all that a release stands on, for a test to break one thing of."""

import copy
import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from ci import release
from ci.aws.elb import Answer
from ci.errors import AwsError
from tests.unit.release.conftest import CONFIG, ENV, Outputs, context, images
from tests.unit.release.fakes.world import World

ACCOUNT = "123456789012"
OUTPUTS = Outputs()
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "ecs-tasks.amazonaws.com"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceAccount": "0"}},
        }
    ],
}
CONFIGURATION = {"architecture": "amd64", "os": "linux"}


def denied(action: str) -> AwsError:
    """Return what a call is answered with that nobody allowed."""
    return AwsError(f"{action}: AccessDenied", code="AccessDenied", action=action)


def image_manifest() -> dict[str, Any]:
    """Return the manifest of an image of one platform."""
    return {"schemaVersion": 2, "config": {"digest": "sha256:configuration"}}


def target_group(arn: str) -> dict[str, Any]:
    """Return a target group as the template makes it."""
    return {
        "TargetGroupArn": arn,
        "VpcId": "vpc-1",
        "TargetType": "ip",
        "Protocol": "HTTP",
        "Port": 8000,
        "HealthCheckPath": "/health",
        "HealthCheckPort": "traffic-port",
    }


@dataclass
class ReadyAccount(World):
    """The account of an environment whose infrastructure stands and whose images are pushed."""

    cluster: str = "ACTIVE"
    log_groups: list[str] = field(default_factory=lambda: [ENV.log_group])
    subnets: dict[str, dict[str, str]] = field(
        default_factory=lambda: {
            id_: {"SubnetId": id_, "VpcId": "vpc-1", "State": "available"}
            for id_ in OUTPUTS.subnets
        }
    )
    groups: list[dict[str, Any]] = field(
        default_factory=lambda: [
            {
                "GroupId": "sg-1",
                "VpcId": "vpc-1",
                "IpPermissions": [{"IpProtocol": "tcp", "FromPort": 8000, "ToPort": 8000}],
            }
        ]
    )
    roles: dict[str, Any] = field(
        default_factory=lambda: {
            arn.rpartition("/")[2]: copy.deepcopy(TRUST)
            for arn in (OUTPUTS.execution_role, *OUTPUTS.task_roles.values())
        }
    )
    targets: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {arn: target_group(arn) for arn in OUTPUTS.target_groups.values()}
    )
    manifests: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {agent.repository: image_manifest() for agent in CONFIG.agents}
    )
    configuration: dict[str, Any] = field(default_factory=lambda: dict(CONFIGURATION))
    forbidden: set[str] = field(default_factory=set)  # to the execution role
    secrets: dict[str, str] = field(default_factory=dict)
    account: str = ACCOUNT

    def answer(self, url: str) -> Answer:  # noqa: ARG002
        return Answer(status=200, body=self.configuration)

    def get_caller_identity(self) -> dict[str, Any]:
        return {"Account": self.account}

    def assume_role(self, **_: Any) -> dict[str, Any]:
        raise denied("sts:AssumeRole")  # as the template's trust policy has it

    def describe_clusters(self, clusters: list[str]) -> dict[str, Any]:
        found = [{"clusterName": name, "status": self.cluster} for name in clusters]
        return {"clusters": found if self.cluster else []}

    def describe_log_groups(self, logGroupNamePrefix: str) -> list[dict[str, str]]:  # noqa: N803
        names = (name for name in self.log_groups if name.startswith(logGroupNamePrefix))
        return [{"logGroupName": name} for name in names]

    def describe_subnets(self, **_: Any) -> list[dict[str, str]]:
        return list(self.subnets.values())

    def describe_security_groups(self, **_: Any) -> list[dict[str, Any]]:
        return self.groups

    def describe_target_groups(self, TargetGroupArns: list[str]) -> dict[str, Any]:  # noqa: N803
        (arn,) = TargetGroupArns
        if arn not in self.targets:
            raise AwsError("not found", code="TargetGroupNotFound")
        return {"TargetGroups": [self.targets[arn]]}

    def get_role(self, RoleName: str) -> dict[str, Any]:  # noqa: N803
        if RoleName not in self.roles:
            raise AwsError("cannot be found", code="NoSuchEntity")
        trust = self.roles[RoleName]
        return {"Role": {"Arn": f"arn/{RoleName}", "AssumeRolePolicyDocument": trust}}

    def simulate_principal_policy(
        self,
        ActionNames: list[str],  # noqa: N803
        ResourceArns: list[str],  # noqa: N803
        **_: Any,
    ) -> list[dict[str, str]]:
        return [
            {
                "EvalActionName": name,
                "EvalResourceName": ResourceArns[0],
                "EvalDecision": "implicitDeny" if name in self.forbidden else "allowed",
            }
            for name in ActionNames
        ]

    def batch_get_image(
        self,
        imageIds: Any,  # noqa: N803, ARG002
        repositoryName: str = "",  # noqa: N803
        **_: Any,
    ) -> dict[str, Any]:
        manifest = self.manifests.get(repositoryName)
        found = [{"imageManifest": json.dumps(manifest)}] if manifest else []
        return {"images": found, "failures": []}

    def get_download_url_for_layer(self, **_: Any) -> dict[str, Any]:
        return {"downloadUrl": "https://layers/it?signature=canary"}

    def get_authorization_token(self) -> dict[str, Any]:
        return {"authorizationData": [{"authorizationToken": "QVdTOng="}]}

    def get_secret_value(self, SecretId: str) -> dict[str, str]:  # noqa: N803
        if SecretId not in self.secrets:
            raise AwsError("not there", code="ResourceNotFoundException")
        return {"SecretString": self.secrets[SecretId]}

    def get_parameters(self, Names: list[str], **_: Any) -> dict[str, list[str]]:  # noqa: N803
        return {"InvalidParameters": [name for name in Names if name not in self.secrets]}


def account_context(world: ReadyAccount) -> release.ReleaseContext:
    """Return the place whose account a world is."""
    env = dataclasses.replace(ENV, account=ACCOUNT, tls="none")
    return dataclasses.replace(context(world), env=env)


def pushed_images() -> list[release.Image]:
    """Return the images of a release."""
    return images("good")

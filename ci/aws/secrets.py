"""AWS Secrets Manager and Parameter Store: whether a task's secrets can be read, not their values.

Source of the names: Amazon ECS API Reference, Secret, `valueFrom`.
"""

import json
from dataclasses import dataclass

from ci.aws.session import Aws
from ci.errors import AwsError

MANAGER, PARAMETERS = "secretsmanager", "ssm"
ACTIONS = {MANAGER: "secretsmanager:GetSecretValue", PARAMETERS: "ssm:GetParameters"}


@dataclass(frozen=True, kw_only=True)
class Secret:
    """The location of a container's secret: service, ARN, and a key within it, if any."""

    service: str
    arn: str
    key: str = ""

    @property
    def action(self) -> str:
        """The permission that ECS needs to pass it to the container."""
        return ACTIONS[self.service]


def parse(value_from: str, *, partition: str, region: str, account: str) -> Secret:
    """Return the secret that a `valueFrom` names: an ARN, or a parameter of this region's name."""
    parts = value_from.split(":")
    if parts[0] == "arn" and parts[2] == MANAGER:
        # arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME[:KEY:STAGE:VERSION]
        return Secret(service=MANAGER, arn=":".join(parts[:7]), key=":".join(parts[7:8]))
    if parts[0] == "arn":
        return Secret(service=PARAMETERS, arn=value_from)
    name = value_from.removeprefix("/")
    arn = f"arn:{partition}:ssm:{region}:{account}:parameter/{name}"
    return Secret(service=PARAMETERS, arn=arn)


async def problem(aws: Aws, secret: Secret) -> str:
    """Read a secret, discard its value, and return what is wrong with it; empty if nothing is.

    Raises:
        AwsError: reading it is not allowed, or the call failed.
    """
    if secret.service == PARAMETERS:
        # By its ARN, which GetParameters accepts for parameters of any account.
        answer = await aws.call("ssm", "get_parameters", Names=[secret.arn], WithDecryption=True)
        return "the parameter does not exist" if answer.get("InvalidParameters") else ""
    try:
        answer = await aws.call("secretsmanager", "get_secret_value", SecretId=secret.arn)
    except AwsError as error:
        if error.code == "ResourceNotFoundException":
            return "the secret does not exist"
        raise
    return _without_key(answer.get("SecretString", ""), secret.key)


def _without_key(value: str, key: str) -> str:
    if not key:
        return ""
    try:
        keys = json.loads(value)
    except ValueError:
        return f"it is not a JSON object, so it has no key {key}"
    return "" if isinstance(keys, dict) and key in keys else f"it has no key {key}"

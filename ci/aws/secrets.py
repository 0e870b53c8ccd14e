"""AWS Secrets Manager and Parameter Store: names of tasks' secrets, and whether they can be read.

Their values are discarded. Source of the names: Amazon ECS API Reference, Secret, `valueFrom`.
"""

import json
import re
from dataclasses import dataclass

from ci.aws.partitions import partition
from ci.aws.session import Aws, expected_account
from ci.config import Environment
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
    def simulated(self) -> str:
        """Its ARN for a simulation of policies, with the end that a real one has."""
        if self.service == MANAGER and policy_resource(self.arn) != self.arn:
            return f"{self.arn}-000000"
        return self.arn

    @property
    def action(self) -> str:
        """The permission that ECS needs to pass it to the container."""
        return ACTIONS[self.service]


#: Secrets Manager ends a secret's ARN with six random characters, which a name does not have.
#: Source: AWS Secrets Manager User Guide, "Secret" (secret ARN).
SUFFIX = re.compile(r"-[A-Za-z0-9]{6}")
ANY_SUFFIX = "-??????"


def reference(text: str, aws: Aws, env: Environment) -> str:
    """Return the `valueFrom` of a secret as acso.toml names it; pure.

    Args:
        text: an ARN, a parameter's name (`/NAME`), or a secret's name (`NAME[:json-key]`).
        aws: its endpoint decides which account the environment is in.
        env: the environment, whose account and region a name is looked up in.
    """
    if text.startswith("arn:"):
        parts = text.split(":")
        return f"{text}::" if parts[2] == MANAGER and len(parts) == 8 else text
    here = f"{env.region}:{expected_account(env, aws.endpoint)}"
    if text.startswith("/"):
        return f"arn:{partition(env.region)}:{PARAMETERS}:{here}:parameter{text}"
    name, _, key = text.partition(":")
    arn = f"arn:{partition(env.region)}:{MANAGER}:{here}:secret:{name}"
    return f"{arn}:{key}::" if key else arn


def policy_resource(value_from: str) -> str:
    """Return the resource of a policy that allows to read the secret of a `valueFrom`; pure."""
    parts = value_from.split(":")
    if parts[2] != MANAGER:
        return value_from
    arn = ":".join(parts[:7])
    return arn if SUFFIX.fullmatch(arn[-7:]) else arn + ANY_SUFFIX


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

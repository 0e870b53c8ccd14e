"""AWS KMS: keys and their rotation."""

from dataclasses import dataclass

from ci.aws.session import Aws
from ci.errors import AwsError


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key. `manager` is CUSTOMER or AWS; AWS rotates its own, so `rotates` is None for them."""

    arn: str
    state: str  # Enabled, Disabled, PendingDeletion, ...
    manager: str
    rotates: bool | None


async def key(aws: Aws, name: str) -> Key | None:
    """Return a key by its id, ARN or alias; None if it does not exist."""
    try:
        found = (await aws.call("kms", "describe_key", KeyId=name))["KeyMetadata"]
    except AwsError as error:
        if error.code == "NotFoundException":
            return None
        raise
    manager, state = found.get("KeyManager", "CUSTOMER"), found["KeyState"]
    rotates = None
    if manager == "CUSTOMER" and state != "PendingDeletion":
        # Source: AWS KMS API Reference, GetKeyRotationStatus: not of a key pending deletion.
        answer = await aws.call("kms", "get_key_rotation_status", KeyId=found["KeyId"])
        rotates = bool(answer["KeyRotationEnabled"])
    return Key(arn=found["Arn"], state=state, manager=manager, rotates=rotates)

"""What lives long: CloudFormation, one stack for the registry and one for each environment."""

from ci.aws.cloudformation import ResourceChange
from ci.infra.environment import (
    Outputs,
    Standing,
    apply,
    apply_registry,
    delete,
    outputs,
    preview,
    standing,
)

__all__ = [
    "Outputs",
    "ResourceChange",
    "Standing",
    "apply",
    "apply_registry",
    "delete",
    "outputs",
    "preview",
    "standing",
]

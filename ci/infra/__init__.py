"""What lives long: CloudFormation, one stack for the registry and one for each environment."""

from ci.aws.cloudformation import ResourceChange
from ci.infra.environment import (
    PENDING,
    Outputs,
    Standing,
    apply,
    apply_registry,
    delete,
    outputs,
    preview,
    standing,
    with_new_agents,
)

__all__ = [
    "PENDING",
    "Outputs",
    "ResourceChange",
    "Standing",
    "apply",
    "apply_registry",
    "delete",
    "outputs",
    "preview",
    "standing",
    "with_new_agents",
]

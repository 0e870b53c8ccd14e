"""Long-lived infrastructure: a CloudFormation stack for the registry, and one per environment."""

from ci.aws.cloudformation import ResourceChange
from ci.infra.environment import (
    PENDING,
    Outputs,
    StackFacts,
    apply,
    apply_registry,
    delete,
    outputs,
    preview,
    stack_facts,
    with_new_agents,
)
from ci.infra.environment_stack import EnvironmentStack

__all__ = [
    "PENDING",
    "EnvironmentStack",
    "Outputs",
    "ResourceChange",
    "StackFacts",
    "apply",
    "apply_registry",
    "delete",
    "outputs",
    "preview",
    "stack_facts",
    "with_new_agents",
]

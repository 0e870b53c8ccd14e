"""Application Auto Scaling: targets of ECS services."""

from collections.abc import Sequence
from dataclasses import dataclass

from ci.aws.session import Aws


@dataclass(frozen=True, kw_only=True)
class ScalingTarget:
    """The least and most tasks of a service, and the names of the policies that choose."""

    least: int
    most: int
    policies: tuple[str, ...]
    suspended: bool


async def targets(aws: Aws, cluster: str, services: Sequence[str]) -> dict[str, ScalingTarget]:
    """Return the scaling targets of these services that exist, by service."""
    ids = [f"service/{cluster}/{name}" for name in services]
    found = await aws.pages(
        "application-autoscaling",
        "describe_scalable_targets",
        "ScalableTargets",
        ServiceNamespace="ecs",
        ResourceIds=ids,
        ScalableDimension="ecs:service:DesiredCount",
    )
    policies = await aws.pages(
        "application-autoscaling",
        "describe_scaling_policies",
        "ScalingPolicies",
        ServiceNamespace="ecs",
    )
    return {
        item["ResourceId"].rpartition("/")[2]: ScalingTarget(
            least=item["MinCapacity"],
            most=item["MaxCapacity"],
            policies=tuple(
                policy["PolicyName"]
                for policy in policies
                if policy["ResourceId"] == item["ResourceId"]
            ),
            suspended=any(item.get("SuspendedState", {}).values()),
        )
        for item in found
        if item["ResourceId"] in ids
    }

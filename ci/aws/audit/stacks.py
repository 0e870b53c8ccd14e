"""AWS CloudFormation: the resources of a stack."""

from dataclasses import dataclass

from ci.aws.session import Aws


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One resource of a stack: its name in the template, its type, and its id in AWS."""

    logical_id: str
    kind: str
    id: str


async def resources(aws: Aws, stack: str) -> list[Resource]:
    """Return the resources of a stack that exist."""
    found = await aws.pages(
        "cloudformation", "list_stack_resources", "StackResourceSummaries", StackName=stack
    )
    return [
        Resource(
            logical_id=item["LogicalResourceId"],
            kind=item["ResourceType"],
            id=item.get("PhysicalResourceId", ""),
        )
        for item in found
        if item["ResourceStatus"] != "DELETE_COMPLETE"
    ]

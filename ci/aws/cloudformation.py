"""AWS CloudFormation: stacks, change sets and events as values."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ci.aws.session import Aws
from ci.errors import AwsError

CAPABILITIES = ["CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack: its status and why, what it was made of, and whether it refuses to be deleted."""

    name: str
    status: str
    reason: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    protected: bool = False

    @property
    def busy(self) -> bool:
        """Whether an operation on it is under way; a stack in review waits for nothing."""
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened to a resource of a stack."""

    id: str
    resource: str
    kind: str
    status: str
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether it tells of a failure, and not of one that only follows from another."""
        return self.status.endswith("_FAILED") and "cancelled" not in self.reason.lower()


@dataclass(frozen=True, kw_only=True)
class ResourceChange:
    """What a change set would do to one resource."""

    action: str
    logical_id: str
    kind: str
    replacement: bool = False  # it is made anew, and what it holds is lost
    may_replace: bool = False  # whether it is, AWS knows only when it does it

    def __str__(self) -> str:
        note = " (may be replaced)" if self.may_replace else ""
        note = " (replaced)" if self.replacement else note
        return f"{self.action.lower():<7} {self.logical_id} {self.kind}{note}"


@dataclass(frozen=True, kw_only=True)
class ChangeSet:
    """A change set: its status and why, and the changes in it."""

    status: str
    reason: str
    changes: tuple[ResourceChange, ...]

    @property
    def done(self) -> bool:
        """Whether CloudFormation has worked out the changes."""
        return not self.status.endswith(("_PENDING", "_IN_PROGRESS"))

    @property
    def empty(self) -> bool:
        """Whether nothing would change. AWS calls that FAILED and says so in two sentences."""
        told = ("didn't contain changes", "No updates are to be performed")
        return self.status == "FAILED" and any(text in self.reason for text in told)


async def stack(aws: Aws, name: str) -> Stack | None:
    """Return a stack, None if there is none of this name."""
    try:
        answer = await aws.call("cloudformation", "describe_stacks", StackName=name)
    except AwsError as error:
        if _absent(error):
            return None
        raise
    found = answer["Stacks"][0]
    return Stack(
        name=name,
        status=found["StackStatus"],
        reason=found.get("StackStatusReason", ""),
        parameters=_pairs(found, "Parameters", "ParameterKey", "ParameterValue"),
        tags=_pairs(found, "Tags", "Key", "Value"),
        outputs=_pairs(found, "Outputs", "OutputKey", "OutputValue"),
        protected=found.get("EnableTerminationProtection", False),
    )


async def template(aws: Aws, name: str) -> str:
    """Return the template that a stack was made of, as it was handed in."""
    answer = await aws.call(
        "cloudformation", "get_template", StackName=name, TemplateStage="Original"
    )
    return str(answer["TemplateBody"])


async def last_event(aws: Aws, name: str) -> str:
    """Return the id of a stack's newest event, empty where there is none."""
    found, _ = await _page_of_events(aws, name, "")
    return found[0].id if found else ""


async def events(aws: Aws, name: str, *, since: str) -> list[Event]:
    """Return what happened to a stack and its resources after an event, oldest first.

    Nothing if the stack is gone. AWS tells the newest first, a hundred a page, back to the
    stack's beginning: no more is asked for than is new.
    """
    new: list[Event] = []
    token = ""
    while True:
        found, token = await _page_of_events(aws, name, token)
        for event in found:
            if event.id == since:
                return new[::-1]
            new.append(event)
        if not token:
            return new[::-1]


async def _page_of_events(aws: Aws, name: str, token: str) -> tuple[list[Event], str]:
    """Return a page of events, newest first, and the token of the next page."""
    more = {"NextToken": token} if token else {}
    try:
        answer = await aws.call("cloudformation", "describe_stack_events", StackName=name, **more)
    except AwsError as error:
        if _absent(error):
            return [], ""
        raise
    found = [
        Event(
            id=item["EventId"],
            resource=item.get("LogicalResourceId", ""),
            kind=item.get("ResourceType", ""),
            status=item.get("ResourceStatus", ""),
            reason=item.get("ResourceStatusReason", ""),
        )
        for item in answer["StackEvents"]
    ]
    return found, answer.get("NextToken", "")


@dataclass(frozen=True, kw_only=True)
class DesiredStack:
    """A stack as it should be."""

    name: str
    template: str
    parameters: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)


async def create_change_set(aws: Aws, wanted: DesiredStack, name: str, *, new: bool) -> None:
    """Have CloudFormation work out what bringing a stack to what is wanted would change."""
    await aws.call(
        "cloudformation",
        "create_change_set",
        StackName=wanted.name,
        ChangeSetName=name,
        ChangeSetType="CREATE" if new else "UPDATE",
        TemplateBody=wanted.template,
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value}
            for key, value in wanted.parameters.items()
        ],
        Capabilities=CAPABILITIES,
        Tags=[{"Key": key, "Value": value} for key, value in wanted.tags.items()],
    )


async def change_set(aws: Aws, stack: str, name: str) -> ChangeSet:
    """Return a change set."""
    answer = await aws.call(
        "cloudformation", "describe_change_set", StackName=stack, ChangeSetName=name
    )
    changes = list(answer.get("Changes", []))
    while answer.get("NextToken"):
        answer = await aws.call(
            "cloudformation",
            "describe_change_set",
            StackName=stack,
            ChangeSetName=name,
            NextToken=answer["NextToken"],
        )
        changes += answer.get("Changes", [])
    return ChangeSet(
        status=answer["Status"],
        reason=answer.get("StatusReason", ""),
        changes=tuple(_change(item["ResourceChange"]) for item in changes),
    )


async def execute_change_set(aws: Aws, stack: str, name: str) -> None:
    """Begin the changes of a change set."""
    await aws.call("cloudformation", "execute_change_set", StackName=stack, ChangeSetName=name)


async def delete_change_set(aws: Aws, stack: str, name: str) -> None:
    """Remove a change set that was not executed; one that is gone already is no error."""
    await aws.call("cloudformation", "delete_change_set", StackName=stack, ChangeSetName=name)


async def change_sets(aws: Aws, stack: str) -> dict[str, datetime.datetime]:
    """Return when each of a stack's change sets that nobody executed was made, by name."""
    found = await aws.pages("cloudformation", "list_change_sets", "Summaries", StackName=stack)
    return {
        item["ChangeSetName"]: item["CreationTime"]
        for item in found
        if not item.get("ExecutionStatus", "").startswith("EXECUTE_")
    }


async def delete_stack(aws: Aws, name: str) -> None:
    """Begin to delete a stack."""
    await aws.call("cloudformation", "delete_stack", StackName=name)


async def protect(aws: Aws, name: str, *, protected: bool) -> None:
    """Set whether a stack refuses to be deleted."""
    await aws.call(
        "cloudformation",
        "update_termination_protection",
        StackName=name,
        EnableTerminationProtection=protected,
    )


def _pairs(found: Mapping[str, Any], items: str, key: str, value: str) -> dict[str, str]:
    return {item[key]: item[value] for item in found.get(items, [])}


def _absent(error: AwsError) -> bool:
    # CloudFormation has no code of its own for a stack that is not there.
    return error.code == "ValidationError" and "does not exist" in str(error)


def _change(item: Mapping[str, Any]) -> ResourceChange:
    return ResourceChange(
        action=item["Action"],
        logical_id=item["LogicalResourceId"],
        kind=item["ResourceType"],
        replacement=item.get("Replacement") == "True",
        may_replace=item.get("Replacement") == "Conditional",
    )

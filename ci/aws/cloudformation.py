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
    """A stack; `protected` is termination protection."""

    name: str
    status: str
    reason: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    protected: bool = False

    @property
    def busy(self) -> bool:
        """Whether an operation is in progress; a stack in review has none."""
        return self.status.endswith("_IN_PROGRESS") and self.status != "REVIEW_IN_PROGRESS"


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event of a stack's resource."""

    id: str
    resource: str
    kind: str
    status: str
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether it reports a failure of its own, not one cancelled after another's failure."""
        return self.status.endswith("_FAILED") and "cancelled" not in self.reason.lower()


@dataclass(frozen=True, kw_only=True)
class ResourceChange:
    """What a change set would do to one resource."""

    action: str
    logical_id: str
    kind: str
    replacement: bool = False  # the resource is created again, and its data is lost
    may_replace: bool = False  # CloudFormation decides that only when it executes the change

    def __str__(self) -> str:
        note = " (may be replaced)" if self.may_replace else ""
        note = " (replaced)" if self.replacement else note
        return f"{self.action.lower():<7} {self.logical_id} {self.kind}{note}"


@dataclass(frozen=True, kw_only=True)
class ChangeSet:
    """A change set: its status, the reason for it, and its changes."""

    status: str
    reason: str
    changes: tuple[ResourceChange, ...]

    @property
    def done(self) -> bool:
        """Whether CloudFormation has computed the changes."""
        return not self.status.endswith(("_PENDING", "_IN_PROGRESS"))

    @property
    def empty(self) -> bool:
        """Whether nothing would change: AWS reports FAILED with one of two reasons."""
        reasons = ("didn't contain changes", "No updates are to be performed")
        return self.status == "FAILED" and any(text in self.reason for text in reasons)


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
    """Return a stack's template as it was submitted."""
    answer = await aws.call(
        "cloudformation", "get_template", StackName=name, TemplateStage="Original"
    )
    return str(answer["TemplateBody"])


async def last_event(aws: Aws, name: str) -> str:
    """Return the id of a stack's newest event, empty if there is none."""
    found, _ = await _page_of_events(aws, name, "")
    return found[0].id if found else ""


async def events(aws: Aws, name: str, *, since: str) -> list[Event]:
    """Return the events of a stack after a known one, oldest first; empty if the stack is gone.

    AWS returns the newest first, a hundred on each page; only pages with new events are read.
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
    """The desired content of a stack.

    With `imports`, its creation takes over resources that exist under the names in the template.
    """

    name: str
    template: str
    parameters: Mapping[str, str]
    tags: Mapping[str, str] = field(default_factory=dict)
    imports: bool = field(default=False, compare=False)


async def create_change_set(aws: Aws, wanted: DesiredStack, name: str, *, new: bool) -> str:
    """Let CloudFormation compute the changes from a stack to the desired one; return the ARN."""
    answer = await aws.call(
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
        **({"ImportExistingResources": True} if new and wanted.imports else {}),
    )
    return str(answer.get("Id") or name)


async def validation_failures(aws: Aws, change_set: str) -> list[str]:
    """Return what CloudFormation's early validation found wrong, by a change set's ARN.

    The change set itself says only that it failed. Source: CloudFormation User Guide, "Validate
    stack deployments".
    """
    found = await aws.pages(
        "cloudformation", "describe_events", "OperationEvents", ChangeSetName=change_set
    )
    return [
        " ".join(
            part
            for part in (
                item.get("LogicalResourceId", ""),
                f"({item['ResourceType']})" if item.get("ResourceType") else "",
                item.get("ValidationPath", ""),
            )
            if part
        )
        + f": {item.get('ValidationStatusReason') or item.get('ValidationName')}"
        for item in found
        if item.get("ValidationStatus") == "FAILED"
    ]


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
    """Start to execute a change set."""
    await aws.call("cloudformation", "execute_change_set", StackName=stack, ChangeSetName=name)


async def delete_change_set(aws: Aws, stack: str, name: str) -> None:
    """Delete a change set that was not executed; no error if it does not exist."""
    await aws.call("cloudformation", "delete_change_set", StackName=stack, ChangeSetName=name)


async def change_sets(aws: Aws, stack: str) -> dict[str, datetime.datetime]:
    """Return the creation times of a stack's unexecuted change sets, by name."""
    found = await aws.pages("cloudformation", "list_change_sets", "Summaries", StackName=stack)
    return {
        item["ChangeSetName"]: item["CreationTime"]
        for item in found
        if not item.get("ExecutionStatus", "").startswith("EXECUTE_")
    }


async def delete_stack(aws: Aws, name: str) -> None:
    """Start to delete a stack."""
    await aws.call("cloudformation", "delete_stack", StackName=name)


async def protect(aws: Aws, name: str, *, protected: bool) -> None:
    """Turn termination protection of a stack on or off."""
    await aws.call(
        "cloudformation",
        "update_termination_protection",
        StackName=name,
        EnableTerminationProtection=protected,
    )


def _pairs(found: Mapping[str, Any], items: str, key: str, value: str) -> dict[str, str]:
    return {item[key]: item[value] for item in found.get(items, [])}


def _absent(error: AwsError) -> bool:
    # CloudFormation has no error code of its own for a stack that does not exist.
    return error.code == "ValidationError" and "does not exist" in str(error)


def _change(item: Mapping[str, Any]) -> ResourceChange:
    return ResourceChange(
        action=item["Action"],
        logical_id=item["LogicalResourceId"],
        kind=item["ResourceType"],
        replacement=item.get("Replacement") == "True",
        may_replace=item.get("Replacement") == "Conditional",
    )

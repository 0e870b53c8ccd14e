"""CloudFormation stacks of environments: change sets, updates that take their time, outputs.

Sources: AWS CloudFormation API Reference, CreateChangeSet and ExecuteChangeSet; User Guide, "Stack
status codes".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ci.infra.templates import mapped
from tests.unit.release.badday.timeline import RefusedError, Timeline

COMPUTING, UPDATING, CLEANUP = 4.0, 40.0, 6.0  # seconds
UNCHANGED = (
    "The submitted information didn't contain changes. "
    "Submit different information to create a change set."
)


@dataclass
class Content:
    """What a stack is made from."""

    template: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def agents(self) -> dict[str, str]:
        """Return the names of the agents that it has resources for, by key."""
        keys = self.parameters.get("Agents", "").split(",")
        return {key: item["Name"] for key, item in mapped(self.template).items() if key in keys}


@dataclass
class ChangeSet:
    """A change set."""

    name: str
    stack: str
    content: Content
    created: Any
    status: str = "CREATE_IN_PROGRESS"
    reason: str = ""
    execution: str = "UNAVAILABLE"
    changes: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Stack:
    """A stack with its events, newest first."""

    name: str
    status: str = "REVIEW_IN_PROGRESS"
    content: Content = field(default_factory=Content)
    events: list[dict[str, Any]] = field(default_factory=list)
    sets: dict[str, ChangeSet] = field(default_factory=dict)


@dataclass
class CloudFormation:
    """The stacks of an account."""

    time: Timeline
    account: str
    stacks: dict[str, Stack] = field(default_factory=dict)

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Answer one operation."""
        answer: dict[str, Any] = getattr(self, f"_{operation}")(request)
        return answer

    def target_groups(self) -> set[str]:
        """Return the ARNs of all target groups."""
        return {
            self.target_group(stack.name, key)
            for stack in self.stacks.values()
            for key in stack.content.agents()
        }

    def target_group(self, stack: str, key: str) -> str:
        """Return the ARN of a stack's target group."""
        name = f"{stack}-{key}"[:32]
        prefix = f"arn:aws:elasticloadbalancing:us-east-1:{self.account}"
        return f"{prefix}:targetgroup/{name}/0123456789abcdef"

    def _stack(self, name: str) -> Stack:
        if name not in self.stacks:
            raise RefusedError("ValidationError", f"Stack with id {name} does not exist")
        return self.stacks[name]

    def _describe_stacks(self, request: Mapping[str, Any]) -> dict[str, Any]:
        stack = self._stack(request["StackName"])
        content = stack.content
        found = {
            "StackName": stack.name,
            "StackId": f"arn:aws:cloudformation:us-east-1:{self.account}:stack/{stack.name}/1",
            "StackStatus": stack.status,
            "CreationTime": self.time.date(),
            "Parameters": _listed(content.parameters, "ParameterKey", "ParameterValue"),
            "Tags": _listed(content.tags, "Key", "Value"),
            "Outputs": _listed(self._outputs(stack), "OutputKey", "OutputValue"),
        }
        return {"Stacks": [found]}

    def _outputs(self, stack: Stack) -> dict[str, str]:
        if not stack.content.template:
            return {}
        role = f"arn:aws:iam::{self.account}:role/{stack.name}"
        agents = {
            f"{kind}{key}": value
            for key, name in stack.content.agents().items()
            for kind, value in (
                ("TargetGroup", self.target_group(stack.name, key)),
                ("TaskRole", f"{role}-{name}-task"),
            )
        }
        return agents | {
            "Subnets": "subnet-0a,subnet-0b",
            "SecurityGroup": "sg-0a",
            "Cluster": f"{stack.name}-cluster",
            "ExecutionRole": f"{role}-execution",
            "LogGroup": f"/aws/acso/{stack.name.removeprefix('acso-')}/agents",
            "LoadBalancerName": f"{stack.name}-alb",
            "LoadBalancerHost": f"{stack.name}-alb.us-east-1.elb.amazonaws.com",
            "ReleasesTable": f"{stack.name}-releases",
            "StateTable": f"{stack.name}-state",
            "PeopleSecret": f"arn:aws:secretsmanager:us-east-1:{self.account}:secret:people",
            "AgentsSecret": f"arn:aws:secretsmanager:us-east-1:{self.account}:secret:agents",
            "Topic": f"arn:aws:sns:us-east-1:{self.account}:{stack.name}-alerts",
            "KeyArn": f"arn:aws:kms:us-east-1:{self.account}:key/1",
        }

    def _get_template(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"TemplateBody": self._stack(request["StackName"]).content.template}

    def _describe_stack_events(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {"StackEvents": list(self._stack(request["StackName"]).events)}

    def _create_change_set(self, request: Mapping[str, Any]) -> dict[str, Any]:
        name, kind = request["StackName"], request.get("ChangeSetType", "UPDATE")
        if kind == "CREATE":
            self.stacks.setdefault(name, Stack(name))
        stack = self._stack(name)
        review = stack.status == "REVIEW_IN_PROGRESS"
        if review != (kind == "CREATE") or (stack.status.endswith("_IN_PROGRESS") and not review):
            text = f"Stack:{name} is in {stack.status} state and can not be updated."
            raise RefusedError("ValidationError", text)
        if request["ChangeSetName"] in stack.sets:
            raise RefusedError("AlreadyExistsException", "ChangeSet already exists")
        content = Content(
            request["TemplateBody"],
            {item["ParameterKey"]: item["ParameterValue"] for item in request["Parameters"]},
            {item["Key"]: item["Value"] for item in request["Tags"]},
        )
        made = ChangeSet(request["ChangeSetName"], name, content, self.time.date())
        stack.sets[made.name] = made
        self.time.after(COMPUTING, lambda: _compute(stack, made))
        arn = f"arn:aws:cloudformation:us-east-1:{self.account}:changeSet/{made.name}/1"
        return {"Id": arn, "StackId": name}

    def _find(self, request: Mapping[str, Any]) -> tuple[Stack, ChangeSet]:
        stack = self._stack(request["StackName"])
        if request["ChangeSetName"] not in stack.sets:
            raise RefusedError("ChangeSetNotFound", "ChangeSet does not exist")
        return stack, stack.sets[request["ChangeSetName"]]

    def _describe_change_set(self, request: Mapping[str, Any]) -> dict[str, Any]:
        _, found = self._find(request)
        return {"Status": found.status, "StatusReason": found.reason, "Changes": found.changes}

    def _list_change_sets(self, request: Mapping[str, Any]) -> dict[str, Any]:
        found = self._stack(request["StackName"]).sets.values()
        return {
            "Summaries": [
                {
                    "ChangeSetName": item.name,
                    "CreationTime": item.created,
                    "ExecutionStatus": item.execution,
                }
                for item in found
            ]
        }

    def _delete_change_set(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._stack(request["StackName"]).sets.pop(request["ChangeSetName"], None)
        return {}

    def _execute_change_set(self, request: Mapping[str, Any]) -> dict[str, Any]:
        stack, found = self._find(request)
        if found.execution != "AVAILABLE" or stack.status.endswith("PROGRESS") != (
            stack.status == "REVIEW_IN_PROGRESS"
        ):
            text = f"ChangeSet [{found.name}] cannot be executed in its current state"
            raise RefusedError("InvalidChangeSetStatus", text)
        verb = "CREATE" if stack.status == "REVIEW_IN_PROGRESS" else "UPDATE"
        found.execution = "EXECUTE_IN_PROGRESS"
        stack.sets.clear()  # the others are outdated: CloudFormation deletes them
        self._move(stack, f"{verb}_IN_PROGRESS")
        self.time.after(UPDATING, lambda: self._updated(stack, found, verb))
        return {}

    def _updated(self, stack: Stack, done: ChangeSet, verb: str) -> None:
        stack.content = done.content
        if verb == "CREATE":
            self._move(stack, "CREATE_COMPLETE")
            return
        self._move(stack, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
        self.time.after(CLEANUP, lambda: self._move(stack, "UPDATE_COMPLETE"))

    def _move(self, stack: Stack, status: str) -> None:
        stack.status = status
        event = {"EventId": f"{stack.name}-{len(stack.events)}", "StackName": stack.name}
        kind = {"LogicalResourceId": stack.name, "ResourceType": "AWS::CloudFormation::Stack"}
        stack.events.insert(0, {**event, **kind, "ResourceStatus": status})


def _compute(stack: Stack, made: ChangeSet) -> None:
    if made.content == stack.content:
        made.status, made.reason = "FAILED", UNCHANGED
        return
    old, new = stack.content.agents(), made.content.agents()
    changes = [("Add", key) for key in new if key not in old]
    changes += [("Remove", key) for key in old if key not in new]
    made.changes = [
        {
            "Type": "Resource",
            "ResourceChange": {
                "Action": action,
                "LogicalResourceId": f"TargetGroup{key}",
                "ResourceType": "AWS::ElasticLoadBalancingV2::TargetGroup",
            },
        }
        for action, key in changes
    ]
    made.status, made.execution = "CREATE_COMPLETE", "AVAILABLE"


def _listed(pairs: Mapping[str, str], key: str, value: str) -> list[dict[str, str]]:
    return [{key: name, value: text} for name, text in pairs.items()]

"""Applying a stack: what is waited for, told, refused and cleaned up, by the API's own shapes."""

import dataclasses
import datetime
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.stub import ANY, Stubber

from ci.aws import cloudformation
from ci.aws.cloudformation import ChangeSet, DesiredStack, Event, ResourceChange
from ci.aws.session import Aws, Credentials
from ci.errors import AwsError, InfrastructureError
from ci.infra import stacks

KEYS = Credentials(access_key_id="AKIATEST", secret_access_key="none")
NOW = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.UTC)
DESIRED = DesiredStack(name="s", template="{}", parameters={})
TEMPLATE = "Resources: {}"
ARN = "arn:aws:cloudformation:us-east-1:123456789012:stack/s/1"
TOPIC = {"LogicalResourceId": "Topic", "ResourceType": "AWS::SNS::Topic"}


@pytest.fixture
def aws() -> Aws:
    return Aws(region="us-east-1", credentials=KEYS)


@pytest.fixture
def stub(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    """CloudFormation's answers, in order; what is scripted must be asked for."""
    monkeypatch.setattr(stacks, "FIRST_PAUSE", 0.001)
    with Stubber(aws.client("cloudformation")) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def is_(stub: Stubber, status: str | None, **more: Any) -> None:
    """Answer the next look at the stack; None: there is none."""
    if status is None:
        absent(stub, "describe_stacks")
        return
    stack = {"StackName": "s", "CreationTime": NOW, "StackStatus": status, **more}
    stub.add_response("describe_stacks", {"Stacks": [stack]})


def absent(stub: Stubber, operation: str) -> None:
    stub.add_client_error(operation, "ValidationError", "Stack with id s does not exist")


def happened(stub: Stubber, *events: tuple[str, str, str]) -> None:
    """Answer the next look at the events (resource, status, reason), given oldest first."""
    found = [
        {
            "StackId": ARN,
            "StackName": "s",
            "EventId": f"{number}",
            "Timestamp": NOW,
            "LogicalResourceId": resource,
            "ResourceType": "AWS::SNS::Topic",
            "ResourceStatus": status,
            **({"ResourceStatusReason": reason} if reason else {}),
        }
        for number, (resource, status, reason) in enumerate(events)
    ]
    stub.add_response("describe_stack_events", {"StackEvents": found[::-1]})


def made(stub: Stubber, *, kind: str, status: str = "CREATE_COMPLETE", reason: str = "") -> None:
    """Answer a new change set and the look at what it holds."""
    expected = {"ChangeSetType": kind, "StackName": "s", "TemplateBody": "{}"}
    rest = dict.fromkeys(("ChangeSetName", "Parameters", "Capabilities", "Tags"), ANY)
    stub.add_response("create_change_set", {"Id": "c", "StackId": ARN}, expected | rest)
    change = {"Type": "Resource", "ResourceChange": {"Action": "Add", **TOPIC}}
    found = {"Status": status, "StatusReason": reason, "Changes": [change]}
    stub.add_response("describe_change_set", found)


def no_change_sets(stub: Stubber) -> None:
    stub.add_response("list_change_sets", {"Summaries": []})


def made_of(stub: Stubber, template: str) -> None:
    """Answer the look at what the stack was made of."""
    expected = {"StackName": "s", "TemplateStage": "Original"}
    stub.add_response("get_template", {"TemplateBody": template}, expected)


async def test_an_up_to_date_stack_is_not_changed(aws: Aws, stub: Stubber) -> None:
    same = {
        "Parameters": [{"ParameterKey": "A", "ParameterValue": "1"}],
        "Tags": [{"Key": "project", "Value": "acso"}],
    }
    desired = dataclasses.replace(
        DESIRED, template=TEMPLATE, parameters={"A": "1"}, tags={"project": "acso"}
    )
    is_(stub, "UPDATE_COMPLETE", **same)
    no_change_sets(stub)
    made_of(stub, TEMPLATE)
    assert (await stacks.create_or_update(aws, desired, print)).status == "UPDATE_COMPLETE"
    is_(stub, "UPDATE_COMPLETE", **same)
    made_of(stub, TEMPLATE)
    assert await stacks.changes(aws, desired) == []


@pytest.mark.parametrize(
    ("status", "parameters", "tags"),
    [
        ("UPDATE_ROLLBACK_COMPLETE", {"A": "1"}, {"project": "acso"}),
        ("CREATE_COMPLETE", {"A": "2"}, {"project": "acso"}),
        ("CREATE_COMPLETE", {"A": "1", "B": "1"}, {"project": "acso"}),
        ("CREATE_COMPLETE", {"A": "1"}, {}),
    ],
)
async def test_a_stack_that_differs_gets_a_change_set(
    aws: Aws, stub: Stubber, status: str, parameters: dict[str, str], tags: dict[str, str]
) -> None:
    is_(
        stub,
        status,
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
        Tags=[{"Key": k, "Value": v} for k, v in tags.items()],
    )
    made(stub, kind="UPDATE")
    stub.add_response("delete_change_set", {})
    desired = dataclasses.replace(DESIRED, parameters={"A": "1"}, tags={"project": "acso"})
    assert len(await stacks.changes(aws, desired)) == 1


async def test_no_more_events_are_read_than_are_new(aws: Aws, stub: Stubber) -> None:
    def page(*numbers: int, **more: str) -> dict[str, Any]:
        rest = {"StackId": ARN, "StackName": "s", "Timestamp": NOW}
        return {"StackEvents": [{"EventId": str(n), **rest} for n in numbers], **more}

    stub.add_response("describe_stack_events", page(9, 8, NextToken="p2"))
    stub.add_response(
        "describe_stack_events", page(7, 6, NextToken="p3"), {"StackName": "s", "NextToken": "p2"}
    )
    found = await cloudformation.events(aws, "s", since="6")
    assert [event.id for event in found] == ["7", "8", "9"]


async def test_a_stack_is_deleted_after_an_earlier_run_s_operation(aws: Aws, stub: Stubber) -> None:
    is_(stub, "UPDATE_IN_PROGRESS")
    happened(stub)
    is_(stub, "UPDATE_COMPLETE")
    happened(stub)
    happened(stub)
    stub.add_response("delete_stack", {})
    is_(stub, None)
    lines: list[str] = []
    await stacks.remove(aws, "s", lines.append)
    assert lines == ["s: waiting for UPDATE_IN_PROGRESS of an earlier run"]


async def test_an_update_is_waited_for_and_each_event_reported_once(
    aws: Aws, stub: Stubber
) -> None:
    old = ("s", "CREATE_COMPLETE", "")
    begun = ("Topic", "UPDATE_IN_PROGRESS", "")
    done = ("Topic", "UPDATE_COMPLETE", "as asked")
    is_(stub, "CREATE_COMPLETE")
    no_change_sets(stub)
    made_of(stub, "older")
    made(stub, kind="UPDATE")
    happened(stub, old)
    stub.add_response("execute_change_set", {})
    is_(stub, "UPDATE_IN_PROGRESS")
    happened(stub, old, begun)
    is_(stub, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS")
    happened(stub, old, begun, done)
    is_(stub, "UPDATE_COMPLETE", Outputs=[{"OutputKey": "A", "OutputValue": "b"}])
    happened(stub, old, begun, done)
    lines: list[str] = []
    stack = await stacks.create_or_update(aws, DESIRED, lines.append)
    assert stack.outputs == {"A": "b"}
    assert lines == ["s: 1 changes", "Topic UPDATE_IN_PROGRESS", "Topic UPDATE_COMPLETE: as asked"]


async def test_the_first_failure_is_the_reason_not_those_that_follow(
    aws: Aws, stub: Stubber
) -> None:
    is_(stub, None)
    made(stub, kind="CREATE")
    happened(stub)
    stub.add_response("execute_change_set", {})
    is_(stub, "ROLLBACK_COMPLETE", StackStatusReason="The following resource(s) failed")
    happened(
        stub,
        ("Other", "CREATE_FAILED", "Resource creation cancelled"),
        ("Topic", "CREATE_FAILED", "name taken"),
        ("Third", "CREATE_FAILED", "no quota"),
    )
    with pytest.raises(InfrastructureError, match=r"ROLLBACK_COMPLETE: Topic \(.*\): name taken$"):
        await stacks.create_or_update(aws, DESIRED, print)


async def test_a_killed_run_s_operation_is_waited_for_first(aws: Aws, stub: Stubber) -> None:
    old = ("s", "CREATE_COMPLETE", "")
    is_(stub, "UPDATE_ROLLBACK_IN_PROGRESS")
    happened(stub, old)
    is_(stub, "UPDATE_ROLLBACK_IN_PROGRESS")
    happened(stub, old, ("Topic", "UPDATE_FAILED", "x"))
    is_(stub, "UPDATE_ROLLBACK_COMPLETE")
    happened(stub, old, ("Topic", "UPDATE_FAILED", "x"))
    no_change_sets(stub)
    made(stub, kind="UPDATE", status="FAILED", reason="No updates are to be performed.")
    stub.add_response("delete_change_set", {})
    lines: list[str] = []
    await stacks.create_or_update(aws, DESIRED, lines.append)
    assert lines == [
        "s: waiting for UPDATE_ROLLBACK_IN_PROGRESS of an earlier run",
        "Topic UPDATE_FAILED: x",
    ]


async def test_a_stack_that_disappears_between_two_polls_is_no_error(
    aws: Aws, stub: Stubber
) -> None:
    is_(stub, "CREATE_COMPLETE")
    happened(stub)
    stub.add_response("delete_stack", {})
    is_(stub, "DELETE_IN_PROGRESS")
    absent(stub, "describe_stack_events")
    is_(stub, None)
    await stacks.remove(aws, "s", print)


async def test_a_first_change_set_that_fails_leaves_no_stack_in_review(
    aws: Aws, stub: Stubber
) -> None:
    is_(stub, None)
    made(stub, kind="CREATE", status="FAILED", reason="Transform failed: no such map")
    stub.add_response("delete_change_set", {})
    is_(stub, "REVIEW_IN_PROGRESS")
    stub.add_response("delete_stack", {})
    with pytest.raises(InfrastructureError, match="no such map"):
        await stacks.create_or_update(aws, DESIRED, print)


EARLY = "The following hook(s)/validation failed: [AWS::EarlyValidation::PropertyValidation]."


async def test_what_early_validation_found_is_reported(aws: Aws, stub: Stubber) -> None:
    failed = {
        **TOPIC,
        "ValidationStatus": "FAILED",
        "ValidationPath": "/Resources/Topic/Properties/Nmae",
        "ValidationStatusReason": "extraneous key [Nmae] is not permitted",
    }
    is_(stub, "CREATE_COMPLETE")
    made_of(stub, "older")
    made(stub, kind="UPDATE", status="FAILED", reason=EARLY)
    stub.add_response("describe_events", {"OperationEvents": [failed]}, {"ChangeSetName": "c"})
    stub.add_response("delete_change_set", {})
    with pytest.raises(InfrastructureError) as caught:
        await stacks.changes(aws, DESIRED)
    path = "Topic (AWS::SNS::Topic) /Resources/Topic/Properties/Nmae"
    assert str(caught.value).endswith(f"{path}: extraneous key [Nmae] is not permitted")


async def test_a_missing_permission_for_the_reason_does_not_hide_the_failure(
    aws: Aws, stub: Stubber
) -> None:
    is_(stub, "CREATE_COMPLETE")
    no_change_sets(stub)
    made_of(stub, "older")
    made(stub, kind="UPDATE", status="FAILED", reason=EARLY)
    stub.add_client_error("describe_events", "AccessDenied", "not you")
    stub.add_response("delete_change_set", {})
    with pytest.raises(
        InfrastructureError, match=r"EarlyValidation(?s:.*)cannot be read: .*not you"
    ):
        await stacks.create_or_update(aws, DESIRED, print)


async def test_a_preview_does_not_delete_a_stack_that_another_run_begins_to_fill(
    aws: Aws, stub: Stubber
) -> None:
    is_(stub, None)
    made(stub, kind="CREATE")
    stub.add_response("delete_change_set", {})
    is_(stub, "CREATE_IN_PROGRESS")
    assert [str(change) for change in await stacks.changes(aws, DESIRED)] == [
        "add     Topic AWS::SNS::Topic"
    ]


async def test_cleaning_up_does_not_hide_why(aws: Aws, stub: Stubber) -> None:
    is_(stub, "CREATE_COMPLETE")
    no_change_sets(stub)
    made_of(stub, "older")
    stub.add_client_error("create_change_set", "AccessDenied", "not you")
    stub.add_client_error("delete_change_set", "AccessDenied", "nor this")
    with pytest.raises(AwsError, match="not you"):
        await stacks.create_or_update(aws, DESIRED, print)


async def test_read_only_credentials_list_what_an_administrator_must_apply(
    aws: Aws, stub: Stubber
) -> None:
    is_(stub, "CREATE_COMPLETE")
    no_change_sets(stub)
    made_of(stub, "older")
    made(stub, kind="UPDATE")
    happened(stub)
    stub.add_client_error("execute_change_set", "AccessDenied", "not you")
    stub.add_response("delete_change_set", {})
    with pytest.raises(InfrastructureError, match="add     Topic") as caught:
        await stacks.create_or_update(aws, DESIRED, print)
    assert "administrator" in caught.value.hint


async def test_waiting_ends(aws: Aws, stub: Stubber, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(stacks, "FIRST_PAUSE", 10.0)
    is_(stub, "UPDATE_IN_PROGRESS")
    happened(stub)
    is_(stub, "UPDATE_IN_PROGRESS")
    happened(stub)
    with pytest.raises(InfrastructureError, match="still busy"):
        await stacks.create_or_update(aws, DESIRED, print)


@pytest.mark.parametrize("status", ["UPDATE_ROLLBACK_FAILED", "DELETE_FAILED"])
async def test_a_stuck_stack_is_reported_with_the_command_to_continue(
    aws: Aws, stub: Stubber, status: str
) -> None:
    for use in (stacks.changes(aws, DESIRED), stacks.create_or_update(aws, DESIRED, print)):
        is_(stub, status, StackStatusReason="Topic is in use")
        with pytest.raises(InfrastructureError, match="Topic is in use") as caught:
            await use
        assert "--stack-name s" in caught.value.hint


async def test_a_preview_of_a_busy_stack_is_refused(aws: Aws, stub: Stubber) -> None:
    is_(stub, "UPDATE_IN_PROGRESS")
    with pytest.raises(InfrastructureError, match="UPDATE_IN_PROGRESS"):
        await stacks.changes(aws, DESIRED)


async def test_a_long_change_set_is_read_to_its_end(aws: Aws, stub: Stubber) -> None:
    def page(name: str, **more: str) -> dict[str, Any]:
        change = {**TOPIC, "Action": "Modify", "LogicalResourceId": name, "Replacement": "True"}
        changes = [{"Type": "Resource", "ResourceChange": change}]
        return {"Status": "CREATE_COMPLETE", "Changes": changes, **more}

    stub.add_response("describe_change_set", page("A", NextToken="2"))
    stub.add_response(
        "describe_change_set",
        page("B"),
        {"StackName": "s", "ChangeSetName": "c", "NextToken": "2"},
    )
    found = await cloudformation.change_set(aws, "s", "c")
    assert [change.logical_id for change in found.changes] == ["A", "B"]
    assert str(found.changes[0]) == "modify  A AWS::SNS::Topic (replaced)"


def test_only_old_change_sets_of_ours_are_leftovers() -> None:
    made = {
        "acso-old": NOW - datetime.timedelta(hours=1),
        "acso-new": NOW - datetime.timedelta(minutes=1),
        "somebody-s": NOW - datetime.timedelta(hours=1),
    }
    assert stacks.stale_change_sets(made, NOW) == ["acso-old"]


@pytest.mark.parametrize(
    ("status", "reason", "done", "empty"),
    [
        ("CREATE_PENDING", "", False, False),
        ("CREATE_IN_PROGRESS", "", False, False),
        ("CREATE_COMPLETE", "", True, False),
        ("FAILED", "The submitted information didn't contain changes. Submit ...", True, True),
        ("FAILED", "No updates are to be performed.", True, True),
        ("FAILED", "Transform AWS::LanguageExtensions failed", True, False),
    ],
)
def test_a_change_set_is_read_by_status_and_reason(
    status: str, reason: str, done: bool, empty: bool
) -> None:
    found = ChangeSet(status=status, reason=reason, changes=())
    assert (found.done, found.empty) == (done, empty)


def test_what_a_failure_cancelled_did_not_fail() -> None:
    def event(status: str, reason: str) -> Event:
        return Event(id="1", resource="R", kind="K", status=status, reason=reason)

    assert event("CREATE_FAILED", "name taken").failed
    assert not event("CREATE_FAILED", "Resource creation cancelled").failed
    assert not event("CREATE_COMPLETE", "").failed


def test_a_change_reads_as_a_line() -> None:
    change = ResourceChange(action="Remove", logical_id="Old", kind="AWS::SNS::Topic")
    assert str(change) == "remove  Old AWS::SNS::Topic"
    table = ResourceChange(action="Modify", logical_id="T", kind="Table", may_replace=True)
    assert str(table) == "modify  T Table (may be replaced)"

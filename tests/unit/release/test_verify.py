"""Looking at all that a release stands on at once; what could not be seen is never a pass."""

import dataclasses
from typing import Any

import anyio
import pytest

from ci.errors import AwsError, VerifyError
from ci.release import Verification, running_images, verify
from ci.release.prerequisites.findings import Finding, Status
from tests.unit.json_documents import result
from tests.unit.release.conftest import CONFIG, COUNT, Pipeline
from tests.unit.release.fakes.account import (
    OUTPUTS,
    ReadyAccount,
    account_context,
    denied,
    pushed_images,
)
from tests.unit.release.fakes.world import Handle

HUNTER = "threat-hunter"


async def found(account: ReadyAccount) -> Verification:
    return await verify(account_context(account), pushed_images())


async def test_a_correct_environment_passes_every_check(account: ReadyAccount) -> None:
    verified = await found(account)
    assert verified.ok
    assert {item.status for item in verified.findings} == {Status.PASS}
    assert len(verified.findings) == 7 + 3 * COUNT + 2 + COUNT
    result("verify").validate(verified.data())
    verified.raise_for_failure()


@pytest.mark.parametrize(
    ("operation", "action", "what"),
    [
        ("describe_subnets", "ec2:DescribeSubnets", "subnets"),
        ("get_role", "iam:GetRole", "execution role"),
        ("simulate_principal_policy", "iam:SimulatePrincipalPolicy", "execution role: write logs"),
        ("batch_get_image", "ecr:BatchGetImage", f"image of {HUNTER}"),
    ],
)
async def test_a_check_without_permission_is_an_error_with_the_missing_action(
    account: ReadyAccount, operation: str, action: str, what: str
) -> None:
    account.errors[operation] = denied(action)
    verified = await found(account)
    assert not verified.ok
    problem = next(item for item in verified.problems if item.what == what)
    assert (problem.status, problem.action) == (Status.ERROR, action)
    assert (
        problem.fix
        == f"allow {action} for your role, as DeployRole in ci/infra/environment.yaml does"
    )


async def test_an_operation_is_skipped_only_if_the_endpoint_says_it_lacks_it(
    account: ReadyAccount,
) -> None:
    error = AwsError("unknown action", service="iam", operation="get_role", code="InvalidAction")
    account.errors["get_role"] = error
    verified = await found(account)
    assert verified.ok
    skipped = [item for item in verified.findings if item.status is Status.SKIP]
    assert len(skipped) == 6
    assert "this AWS endpoint does not have iam get_role" in skipped[0].message
    account.errors["get_role"] = AwsError("it broke", code="InternalFailure")
    assert not (await found(account)).ok


async def test_an_answer_that_never_comes_is_an_error(
    account: ReadyAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Handle.call

    async def hang(self: Handle, service: str, operation: str, /, **arguments: Any) -> Any:
        if operation == "get_role":
            await anyio.sleep_forever()
        return await call(self, service, operation, **arguments)

    monkeypatch.setattr(Handle, "call", hang)
    problems = (await found(account)).problems
    assert len(problems) == 6
    assert problems[0].message == "no answer within 30 s"


async def test_a_broken_check_does_not_hide_others(account: ReadyAccount) -> None:
    account.manifests[f"acso-{HUNTER}"] = {"nothing": "known"}
    account.log_groups = []
    statuses = {item.what: item.status for item in (await found(account)).problems}
    assert statuses == {"log group": Status.FAIL, f"image of {HUNTER}": Status.ERROR}


async def test_an_unreadable_configuration_is_an_error_without_its_signed_url(
    account: ReadyAccount,
) -> None:
    account.configuration = {"text": "<Error>"}
    problems = (await found(account)).problems
    assert {item.status for item in problems} == {Status.ERROR}
    assert "canary" not in "".join(item.message for item in problems)


async def test_an_image_without_a_digest_is_refused(account: ReadyAccount) -> None:
    images = [dataclasses.replace(pushed_images()[0], reference="registry/acso-supervisor:latest")]
    (problem,) = (await verify(account_context(account), images)).problems
    assert problem.message == "is not referenced by digest"


async def test_without_anything_running_images_are_skipped(account: ReadyAccount) -> None:
    verified = await verify(account_context(account), [])
    assert verified.ok
    skipped = [item.what for item in verified.findings if item.status is Status.SKIP]
    assert skipped == [f"image of {agent.name}" for agent in CONFIG.agents]


async def test_an_agent_without_infrastructure_is_reported_as_such(
    account: ReadyAccount,
) -> None:
    here = account_context(account)
    roles = {name: arn for name, arn in OUTPUTS.task_roles.items() if name != HUNTER}
    groups = {name: arn for name, arn in OUTPUTS.target_groups.items() if name != HUNTER}
    outputs = dataclasses.replace(OUTPUTS, task_roles=roles, target_groups=groups)
    verified = await verify(dataclasses.replace(here, outputs=outputs), [])
    assert [item.what for item in verified.problems] == [
        f"role of {HUNTER}",
        f"target group of {HUNTER}",
    ]
    assert {item.fix for item in verified.problems} == {"./acso deploy --env staging"}


def test_a_problem_is_shown_with_all_that_helps_and_a_pass_in_one_line() -> None:
    bad = Finding(
        status=Status.FAIL,
        what="log group",
        message="does not exist",
        resource="/aws/x",
        fix="make it",
    )
    good = Finding(status=Status.PASS, what="cluster", message="ACTIVE", resource="c")
    verified = Verification(environment="staging", findings=(bad, good))
    with pytest.raises(VerifyError) as raised:
        verified.raise_for_failure()
    assert raised.value.details == verified.data()
    assert verified.text().splitlines() == [
        "staging: 1 of 2 passed, 1 failed",
        "  FAIL   log group  does not exist",
        "         resource: /aws/x",
        "         fix: make it",
        "  PASS   cluster    ACTIVE",
    ]


def test_no_checks_is_not_a_pass() -> None:
    assert not Verification(environment="staging", findings=()).ok


async def test_without_a_release_the_images_are_those_that_run(pipeline: Pipeline) -> None:
    assert await running_images(pipeline.context) == []
    await pipeline.deploy("good")
    assert [image.reference for image in await running_images(pipeline.context)] == [
        image.reference for image in pushed_images()
    ]

"""What a release stands on: every problem found, each with its resource, what lacks and the fix."""

import dataclasses
from collections.abc import Callable
from importlib import import_module
from typing import Any

import anyio
import pytest

from ci.aws import elb
from ci.aws.elb import Answer
from ci.errors import AwsError, VerifyError
from ci.release import Verified, running, verify, wanted
from ci.release.findings import Finding, Status
from tests.unit.release.conftest import CONFIG, ENV, Pipeline
from tests.unit.release.fake import Handle
from tests.unit.release.standing import OUTPUTS, Standing, denied, pushed, stand

HUNTER = "threat-hunter"
GROUP = OUTPUTS.target_groups[HUNTER]
Break = Callable[[Standing], object]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Standing:
    made = Standing()

    async def get(url: str, *, seconds: float = 5.0) -> Answer:  # noqa: ARG001
        return made.answer(url)

    monkeypatch.setattr(elb, "get", get)
    return made


async def found(world: Standing) -> Verified:
    return await verify(stand(world), pushed())


async def test_an_environment_as_it_should_be_passes_every_look(world: Standing) -> None:
    verified = await found(world)
    assert verified.ok
    assert {item.status for item in verified.findings} == {Status.PASS}
    assert len(verified.findings) == 6 + 3 * 5 + 7
    verified.raise_for_failure()


def hunter(**changes: Any) -> Break:
    return lambda world: world.targets[GROUP].update(changes)


def trust(**changes: Any) -> Break:
    return lambda world: world.roles["execution"]["Statement"][0].update(changes)


def manifest(**changes: Any) -> Break:
    return lambda world: world.manifests.update({f"acso-{HUNTER}": changes})


def index(*architectures: str) -> Break:
    platforms = [{"os": "linux", "architecture": name} for name in architectures]
    attestation = {"platform": {"os": "unknown", "architecture": "unknown"}}
    return manifest(manifests=[*({"platform": item} for item in platforms), attestation])


IMAGE = f"registry/acso-{HUNTER}@sha256:good"
DRIFT = "aws cloudformation detect-stack-drift --stack-name acso-staging"
ECR = f"arn:aws:ecr:us-east-1:0:repository/acso-{HUNTER}"
STREAM = f"arn:aws:logs:us-east-1:0:log-group:{ENV.log_group}:log-stream:any"
#: How it is broken; what is found: at what, told how, of which resource, and the fix.
PROBLEMS: dict[str, tuple[Break, str, str, str, str]] = {
    "another account": (
        lambda w: setattr(w, "account", "999999999999"),
        "account and region",
        "credentials are of account 999999999999",
        "123456789012",
        "use that account's credentials",
    ),
    "no cluster": (
        lambda w: setattr(w, "cluster", ""),
        "cluster",
        "there is none",
        ENV.cluster,
        DRIFT,
    ),
    "a deleted cluster": (
        lambda w: setattr(w, "cluster", "INACTIVE"),
        "cluster",
        "INACTIVE",
        ENV.cluster,
        DRIFT,
    ),
    "no log group": (
        lambda w: setattr(w, "log_groups", [ENV.log_group + "-old"]),
        "log group",
        "there is none",
        ENV.log_group,
        f"aws logs create-log-group --log-group-name {ENV.log_group}",
    ),
    "a subnet is gone": (
        lambda w: w.subnets.pop("subnet-2"),
        "subnets",
        "subnet-2 does not exist",
        "subnet-1, subnet-2",
        DRIFT,
    ),
    "a subnet that cannot be used": (
        lambda w: w.subnets["subnet-1"].update(State="failed"),
        "subnets",
        "subnet-1 is failed",
        "subnet-1, subnet-2",
        DRIFT,
    ),
    "no security group": (
        lambda w: w.groups.clear(),
        "security group",
        "there is none",
        "sg-1",
        DRIFT,
    ),
    "the port is closed": (
        lambda w: w.groups[0].update(IpPermissions=[]),
        "security group",
        "lets nobody in to port 8000",
        "sg-1",
        DRIFT,
    ),
    "a security group of another network": (
        lambda w: w.groups[0].update(VpcId="vpc-2"),
        "security group",
        "is of vpc-2",
        "sg-1",
        DRIFT,
    ),
    "no execution role": (
        lambda w: w.roles.pop("execution"),
        "execution role",
        "there is none",
        OUTPUTS.execution_role,
        DRIFT,
    ),
    "a role for another service": (
        trust(Principal={"Service": "ec2.amazonaws.com"}),
        "execution role",
        "does not trust ecs-tasks.amazonaws.com",
        OUTPUTS.execution_role,
        DRIFT,
    ),
    "a role for another account's tasks": (
        trust(Condition={"StringEquals": {"aws:SourceAccount": "1"}}),
        "execution role",
        "does not trust ecs-tasks.amazonaws.com",
        OUTPUTS.execution_role,
        DRIFT,
    ),
    "a role that denies": (
        trust(Effect="Deny"),
        "execution role",
        "does not trust ecs-tasks.amazonaws.com",
        OUTPUTS.execution_role,
        DRIFT,
    ),
    "no task role": (
        lambda w: w.roles.pop(HUNTER),
        f"role of {HUNTER}",
        "there is none",
        OUTPUTS.task_roles[HUNTER],
        DRIFT,
    ),
    "no target group": (
        lambda w: w.targets.pop(GROUP),
        f"target group of {HUNTER}",
        "there is none",
        GROUP,
        DRIFT,
    ),
    "another health path": (
        hunter(HealthCheckPath="/alive"),
        f"target group of {HUNTER}",
        "health path is /alive, not /health",
        GROUP,
        f"modify-target-group --target-group-arn {GROUP} --health-check-path /health",
    ),
    "another health port": (
        hunter(HealthCheckPort="9000"),
        f"target group of {HUNTER}",
        "health port is 9000, not 8000",
        GROUP,
        "--health-check-port traffic-port",
    ),
    "another protocol": (
        hunter(Protocol="HTTPS"),
        f"target group of {HUNTER}",
        "protocol is HTTPS, not HTTP",
        GROUP,
        DRIFT,
    ),
    "another port": (
        hunter(Port=80, HealthCheckPort="8000"),
        f"target group of {HUNTER}",
        "port is 80, not 8000",
        GROUP,
        DRIFT,
    ),
    "another target type": (
        hunter(TargetType="instance"),
        f"target group of {HUNTER}",
        "target type is instance, not ip",
        GROUP,
        DRIFT,
    ),
    "no image": (
        lambda w: w.manifests.pop(f"acso-{HUNTER}"),
        f"image of {HUNTER}",
        "is not in the registry",
        IMAGE,
        "./acso publish --env staging",
    ),
    "an image of another architecture": (
        index("arm64"),
        f"image of {HUNTER}",
        "is for linux/arm64, the task is linux/amd64",
        IMAGE,
        "of linux/amd64",
    ),
    "no registry login": (
        lambda w: w.forbidden.add("ecr:GetAuthorizationToken"),
        "execution role: log in to the registry",
        "ecr:GetAuthorizationToken is not allowed",
        "*",
        "allow ecr:GetAuthorizationToken on * in the policy of execution",
    ),
    "no logs": (
        lambda w: w.forbidden.add("logs:PutLogEvents"),
        "execution role: write logs",
        "logs:PutLogEvents is not allowed",
        STREAM,
        f"allow logs:PutLogEvents on {STREAM}",
    ),
}


@pytest.mark.parametrize("case", PROBLEMS.values(), ids=PROBLEMS)
async def test_each_problem_is_found_with_its_resource_and_its_fix(
    world: Standing, case: tuple[Break, str, str, str, str]
) -> None:
    broken, what, told, resource, fix = case
    broken(world)
    verified = await found(world)
    (problem,) = verified.problems
    assert (problem.status, problem.what, problem.resource) == (Status.FAIL, what, resource)
    assert told in problem.told
    assert fix in problem.fix
    with pytest.raises(VerifyError) as raised:
        verified.raise_for_failure()
    assert fix in str(raised.value)


async def test_all_problems_are_told_at_once(world: Standing) -> None:
    for name in ("no log group", "no task role", "another health path", "no image"):
        PROBLEMS[name][0](world)
    world.forbidden.add("ecr:BatchGetImage")
    verified = await found(world)
    whats = [item.what for item in verified.problems]
    assert whats[:4] == [
        "log group",
        f"image of {HUNTER}",
        f"role of {HUNTER}",
        f"target group of {HUNTER}",
    ]
    pulls = [item for item in verified.problems if item.action == "ecr:BatchGetImage"]
    assert len(pulls) == 5
    assert ECR in {item.resource for item in pulls}
    assert verified.summary() == "19 of 28 passed, 9 failed"
    with pytest.raises(VerifyError) as raised:
        verified.raise_for_failure()
    assert all(item.fix in str(raised.value) for item in verified.problems)


@pytest.mark.parametrize(
    "fine",
    [
        pytest.param(index("arm64", "amd64"), id="an index with the platform"),
        pytest.param(trust(Principal={"Service": ["a", "ecs-tasks.amazonaws.com"]}), id="a list"),
        pytest.param(trust(Action=["sts:TagSession", "sts:AssumeRole"]), id="several actions"),
        pytest.param(trust(Condition={}), id="any account's tasks"),
        pytest.param(hunter(HealthCheckPort="8000"), id="the health port by number"),
        pytest.param(
            lambda w: w.groups[0].update(IpPermissions=[{"IpProtocol": "-1"}]), id="all ports"
        ),
    ],
)
async def test_another_spelling_of_what_is_right_is_right(world: Standing, fine: Break) -> None:
    fine(world)
    assert (await found(world)).problems == ()


@pytest.mark.parametrize(
    ("operation", "action", "what"),
    [
        ("describe_subnets", "ec2:DescribeSubnets", "subnets"),
        ("get_role", "iam:GetRole", "execution role"),
        ("simulate_principal_policy", "iam:SimulatePrincipalPolicy", "execution role: write logs"),
        ("batch_get_image", "ecr:BatchGetImage", f"image of {HUNTER}"),
    ],
)
async def test_what_may_not_be_looked_at_is_an_error_with_the_action_and_no_pass(
    world: Standing, operation: str, action: str, what: str
) -> None:
    world.errors[operation] = denied(action)
    verified = await found(world)
    assert not verified.ok
    problem = next(item for item in verified.problems if item.what == what)
    assert (problem.status, problem.action) == (Status.ERROR, action)
    assert (
        problem.fix == f"allow who asks {action}, as DeployRole in ci/infra/environment.yaml does"
    )


async def test_what_this_aws_does_not_have_is_skipped_only_if_it_says_so(world: Standing) -> None:
    error = AwsError("unknown action", service="iam", operation="get_role", code="InvalidAction")
    world.errors["get_role"] = error
    verified = await found(world)
    assert verified.ok
    skipped = [item for item in verified.findings if item.status is Status.SKIP]
    assert len(skipped) == 6
    assert "this AWS has no iam get_role" in skipped[0].told
    world.errors["get_role"] = AwsError("it broke", code="InternalFailure")
    assert not (await found(world)).ok


async def test_an_answer_that_never_comes_is_an_error(
    world: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Handle.call

    async def hang(self: Handle, service: str, operation: str, /, **arguments: Any) -> Any:
        if operation == "get_role":
            await anyio.sleep_forever()
        return await call(self, service, operation, **arguments)

    monkeypatch.setattr(Handle, "call", hang)
    problems = (await found(world)).problems
    assert len(problems) == 6
    assert problems[0].told == "no answer within 30 s"


async def test_a_broken_look_hides_no_other(world: Standing) -> None:
    world.manifests[f"acso-{HUNTER}"] = {"nothing": "known"}
    PROBLEMS["no log group"][0](world)
    statuses = {item.what: item.status for item in (await found(world)).problems}
    assert statuses == {"log group": Status.FAIL, f"image of {HUNTER}": Status.ERROR}


async def test_an_unreadable_configuration_is_an_error_without_its_signed_url(
    world: Standing,
) -> None:
    world.configuration = {"text": "<Error>"}
    problems = (await found(world)).problems
    assert {item.status for item in problems} == {Status.ERROR}
    assert "canary" not in "".join(item.told for item in problems)


async def test_an_image_not_named_by_digest_is_refused(world: Standing) -> None:
    images = [dataclasses.replace(pushed()[0], reference="registry/acso-supervisor:latest")]
    (problem,) = (await verify(stand(world), images)).problems
    assert problem.told == "is not named by digest"


async def test_without_anything_running_images_are_skipped(world: Standing) -> None:
    verified = await verify(stand(world), [])
    assert verified.ok
    skipped = [item.what for item in verified.findings if item.status is Status.SKIP]
    assert skipped == [f"image of {agent.name}" for agent in CONFIG.agents]


async def test_an_agent_that_the_infrastructure_lacks_is_told_as_that(world: Standing) -> None:
    here = stand(world)
    roles = {name: arn for name, arn in OUTPUTS.task_roles.items() if name != HUNTER}
    groups = {name: arn for name, arn in OUTPUTS.target_groups.items() if name != HUNTER}
    outputs = dataclasses.replace(OUTPUTS, task_roles=roles, target_groups=groups)
    verified = await verify(dataclasses.replace(here, outputs=outputs), [])
    assert [item.what for item in verified.problems] == [
        f"role of {HUNTER}",
        f"target group of {HUNTER}",
    ]
    assert {item.fix for item in verified.problems} == {"./acso deploy --env staging"}


def assumable(world: Standing, monkeypatch: pytest.MonkeyPatch, *forbidden: str) -> None:
    """Let who asks assume the execution role, which may not do some things when tried."""

    class Assumed(Handle):
        async def call(self, service: str, operation: str, /, **arguments: Any) -> Any:
            if operation in forbidden:
                raise denied(f"{service}:{operation}")
            return await super().call(service, operation, **arguments)

    async def assume(*_: Any, **__: Any) -> Handle:
        return Assumed(world)

    # By import: under its name the package has the function.
    monkeypatch.setattr(import_module("ci.release.verify"), "assume", assume)


async def test_where_the_role_may_be_assumed_pulling_is_tried_too(
    world: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    assumable(world, monkeypatch, "get_download_url_for_layer")
    problems = (await found(world)).problems
    assert {item.action for item in problems} == {"ecr:get_download_url_for_layer"}
    assert len(problems) == 5


async def test_who_may_try_need_not_simulate(
    world: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    assumable(world, monkeypatch)
    world.errors["simulate_principal_policy"] = denied("iam:SimulatePrincipalPolicy")
    verified = await found(world)
    # Writing a line to the logs would change something: that alone is left unseen.
    assert [item.what for item in verified.problems] == ["execution role: write logs"]
    pulled = next(item for item in verified.findings if "pull" in item.what)
    assert pulled.told == "allowed (tried)"


SECRET = "arn:aws:secretsmanager:us-east-1:0:secret:db-a1b2c3"


@pytest.fixture
def with_secret(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives every agent's container a secret from where the argument says."""

    def give(value_from: str) -> None:
        made = wanted.task_definition

        def definition(*arguments: Any) -> dict[str, Any]:
            request = made(*arguments)
            secret = {"name": "DB", "valueFrom": value_from}
            request["containerDefinitions"][0]["secrets"] = [secret]
            return request

        monkeypatch.setattr(wanted, "task_definition", definition)

    return give


@pytest.mark.parametrize(
    ("value_from", "action", "resource"),
    [
        (SECRET, "secretsmanager:GetSecretValue", SECRET),
        (f"{SECRET}:password::", "secretsmanager:GetSecretValue", SECRET),
        ("/acso/db", "ssm:GetParameters", "arn:aws:ssm:us-east-1:0:parameter/acso/db"),
        ("db", "ssm:GetParameters", "arn:aws:ssm:us-east-1:0:parameter/db"),
    ],
)
async def test_a_secret_that_the_role_may_not_read_is_told(
    world: Standing,
    with_secret: Callable[[str], None],
    value_from: str,
    action: str,
    resource: str,
) -> None:
    with_secret(value_from)
    assert (await found(world)).ok
    world.forbidden.add(action)
    (problem,) = (await found(world)).problems
    assert (problem.action, problem.resource) == (action, resource)


@pytest.mark.parametrize(
    ("value_from", "kept", "told"),
    [
        (SECRET, {}, "there is no such secret"),
        (SECRET, {SECRET: "x"}, ""),
        (f"{SECRET}:password::", {SECRET: '{"user": "x"}'}, "it has no key password"),
        (f"{SECRET}:password::", {SECRET: "canary"}, "it is no JSON object"),
        (f"{SECRET}:password::", {SECRET: '{"password": "canary"}'}, ""),
        ("/acso/db", {}, "there is no such parameter"),
    ],
)
async def test_a_secret_is_read_as_the_role_and_shown_to_nobody(
    world: Standing,
    monkeypatch: pytest.MonkeyPatch,
    with_secret: Callable[[str], None],
    value_from: str,
    kept: dict[str, str],
    told: str,
) -> None:
    with_secret(value_from)
    world.secrets = kept
    assumable(world, monkeypatch)
    verified = await found(world)
    assert [told in item.told for item in verified.problems] == [True] * bool(told)
    assert "canary" not in verified.text()


def test_a_problem_is_shown_with_all_that_helps_and_a_pass_in_one_line() -> None:
    bad = Finding(
        status=Status.FAIL,
        what="log group",
        told="there is none",
        resource="/aws/x",
        fix="make it",
    )
    good = Finding(status=Status.PASS, what="cluster", told="ACTIVE", resource="c")
    text = Verified(environment="staging", findings=(bad, good)).text()
    assert text.splitlines() == [
        "staging: 1 of 2 passed, 1 failed",
        "  FAIL   log group  there is none",
        "         resource: /aws/x",
        "         fix: make it",
        "  PASS   cluster    ACTIVE",
    ]


def test_nothing_looked_at_is_no_pass() -> None:
    assert not Verified(environment="staging", findings=()).ok


async def test_without_a_release_the_images_are_those_that_run(pipeline: Pipeline) -> None:
    assert await running(pipeline.place) == []
    await pipeline.deploy("good")
    assert [image.reference for image in await running(pipeline.place)] == [
        image.reference for image in pushed()
    ]
